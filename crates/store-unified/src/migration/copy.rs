//! Copies what the source has, while writes go on.

use std::num::NonZeroU32;
use std::time::Duration;

use feature_core::{CallContext, Error, ErrorKind, OnlineStoreBackend, RecordKey, Result, Scope};
use futures::StreamExt;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use super::compare::Pair;
use super::progress::{MigrationProgress, Step};
use crate::wrappers::settle::{Settled, Task, settle};

/// How many records are copied at a time.
const ROWS: usize = 500;
/// How often the source is told how far the copy has come.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a copy came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Copied {
    pub(super) looked_at: u64,
    pub(super) copied: u64,
    pub(super) failed: u64,
    /// Why the first that failed did.
    pub(super) failure: Option<Error>,
}

impl Copied {
    fn fail(&mut self, error: Error, progress: &MigrationProgress) {
        self.failed += 1;
        progress.fail(1);
        self.failure.get_or_insert(error);
    }
}

/// Copies a scope, at a limited pace.
pub(super) struct Copy<'a> {
    pub(super) pair: &'a Pair,
    pub(super) scope: &'a Scope,
    pub(super) progress: &'a MigrationProgress,
    limiter: Option<(DefaultDirectRateLimiter, NonZeroU32)>,
    rows: usize,
    copied: Copied,
}

impl<'a> Copy<'a> {
    pub(super) fn new(
        pair: &'a Pair,
        scope: &'a Scope,
        progress: &'a MigrationProgress,
        rows_per_second: Option<NonZeroU32>,
    ) -> Self {
        let rows = ROWS.min(pair.max_rows());
        let burst = NonZeroU32::new(u32::try_from(rows).unwrap_or(1)).unwrap_or(NonZeroU32::MIN);
        let limiter = rows_per_second.map(|rate| {
            let burst = burst.min(rate);
            (RateLimiter::direct(Quota::per_second(rate).allow_burst(burst)), burst)
        });
        let rows = limiter.as_ref().map_or(rows, |(_, burst)| burst.get() as usize);
        Self { pair, scope, progress, limiter, rows, copied: Copied::default() }
    }

    /// Goes once through what the source has, and, if the target may have been left in the middle of
    /// something, through what that has. `tell` is called with the counts from time to time.
    ///
    /// # Errors
    /// That of `tell`. What goes wrong with records is in what it gives.
    pub(super) async fn run<F: Future<Output = Result<()>>>(
        mut self,
        sweep: bool,
        tell: impl Fn(u64, u64) -> F,
    ) -> Result<Copied> {
        self.progress.enter(Step::Copying);
        let source = self.pair.source.clone();
        self.pass(&*source, &tell).await?;
        if sweep {
            self.progress.enter(Step::Sweeping);
            let target = self.pair.target.clone();
            self.pass(&*target, &tell).await?;
        }
        Ok(self.copied)
    }

    /// Settles every record that a store has of the scope.
    async fn pass<F: Future<Output = Result<()>>>(
        &mut self,
        store: &dyn OnlineStoreBackend,
        tell: &impl Fn(u64, u64) -> F,
    ) -> Result<()> {
        let mut told = Instant::now();
        let mut chunks = store.scan(self.scope).chunks(self.rows);
        while let Some(chunk) = chunks.next().await {
            let mut keys: Vec<RecordKey> = Vec::with_capacity(chunk.len());
            for row in chunk {
                match row {
                    Ok((key, _)) => keys.push(key),
                    Err(error) => {
                        self.copied.looked_at += 1;
                        self.copied.fail(error, self.progress);
                    }
                }
            }
            // A scan may give a record twice, a call may not.
            keys.sort_by_cached_key(ToString::to_string);
            keys.dedup();
            self.chunk(keys).await;
            if told.elapsed() >= TELL_EVERY {
                tell(self.copied.looked_at, self.copied.copied).await?;
                told = Instant::now();
            }
        }
        Ok(())
    }

    async fn chunk(&mut self, keys: Vec<RecordKey>) {
        let rows = keys.len();
        if let (Some((limiter, _)), Some(rows)) =
            (&self.limiter, u32::try_from(rows).ok().and_then(NonZeroU32::new))
        {
            // Never more rows than the burst, so there is nothing to fail.
            let _ = limiter.until_n_ready(rows).await;
        }
        let tasks = keys.iter().cloned().map(Task::new).collect();
        let call = CallContext::with_timeout(self.pair.patience);
        let settled = tokio::time::timeout_at(call.deadline, settle(self.pair.link(), tasks, call)).await;
        let settled = settled.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::DeadlineExceeded, "the copy of some records took too long");
            error.for_rows(keys.len())
        });
        for (key, settled) in keys.iter().zip(settled) {
            match settled {
                Ok(Settled::Equal) => {}
                Ok(Settled::Changed) => {
                    self.copied.copied += 1;
                    self.progress.copy(1);
                    self.pair.copied.increment(1);
                }
                Err(error) => self.copied.fail(error.with_key(key), self.progress),
            }
        }
        self.copied.looked_at += rows as u64;
        self.progress.look(rows);
    }
}
