//! Compares what two stores have, while writes go on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feature_core::{
    CallContext, Clock, Error, ErrorKind, OnlineStoreBackend, RecordKey, Result, Scope, Timestamp,
    VersionedRecord,
};
use futures::StreamExt;

use super::ledger::Verified;
use super::progress::{MigrationProgress, Step};
use crate::wrappers::rows::counted;
use crate::wrappers::settle::{Link, Task, alive, same, settle};
use metrics::Counter;

/// How many records are compared at a time.
const ROWS: usize = 1_000;
/// After what times records that differ are looked at again, before they count.
const LOOK_AGAIN_AFTER: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// More than writes under way can make differ: then there is no point in looking again.
const MOST: usize = 100_000;
/// How many records that differ are named.
const NAMED: usize = 10;

/// The two stores of a migration.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) source: Arc<dyn OnlineStoreBackend>,
    pub(super) target: Arc<dyn OnlineStoreBackend>,
    pub(super) clock: Arc<dyn Clock>,
    /// How long a call may take.
    pub(super) patience: Duration,
    /// Records copied, for the metrics.
    pub(super) copied: Counter,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The counts.
    pub counts: Verified,
    /// The first records that differ, with what is the matter.
    pub examples: Vec<(RecordKey, Difference)>,
    /// How many of those that differed were given what the source has.
    pub repaired: u64,
}

/// How a record differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The source has it, the target has not.
    Missing,
    /// The target has it, the source has not.
    Surplus,
    /// Both have it, but not the same.
    Other,
}

impl Difference {
    /// The difference in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => "the target lacks it",
            Self::Surplus => "the source does not have it",
            Self::Other => "the stores have it differently",
        }
    }
}

impl Pair {
    pub(super) fn link(&self) -> Link<'_> {
        Link { source: &*self.source, target: &*self.target, clock: &*self.clock, until: None }
    }

    /// How many rows a call may have.
    pub(super) fn max_rows(&self) -> usize {
        let most = |store: &dyn OnlineStoreBackend| store.capabilities().max_batch_rows.unwrap_or(usize::MAX);
        most(&*self.source).min(most(&*self.target)).max(1)
    }

    fn call(&self) -> CallContext {
        CallContext::with_timeout(self.patience)
    }

    /// Compares every record of the scope, both ways. What differs is looked at again and again, since
    /// writes go on; what differs still is counted, or, with `repair`, given what the source has.
    ///
    /// # Errors
    /// What either store reports: what could not be read has not been compared.
    pub(super) async fn compare(
        &self,
        scope: &Scope,
        repair: bool,
        progress: &MigrationProgress,
    ) -> Result<Comparison> {
        progress.enter(Step::Comparing);
        let (source_records, mut differing) =
            self.one_way(&self.source, &self.target, scope, progress).await?;
        let (target_records, surplus) = self.one_way(&self.target, &self.source, scope, progress).await?;
        differing.extend(surplus);
        differing.sort_by_cached_key(ToString::to_string);
        differing.dedup();

        progress.enter(Step::LookingAgain);
        let mut examples = Vec::new();
        let mut pauses = LOOK_AGAIN_AFTER.into_iter();
        while !differing.is_empty()
            && let Some(pause) = pauses.next()
        {
            progress.differ(differing.len());
            tokio::time::sleep(pause).await;
            (differing, examples) = self.look_again(&differing, progress).await?;
        }
        let mut repaired = 0;
        if repair {
            for keys in differing.chunks(ROWS.min(self.max_rows())) {
                let tasks = keys.iter().cloned().map(Task::new).collect();
                for settled in settle(self.link(), tasks, self.call()).await {
                    settled?;
                    repaired += 1;
                }
            }
            (differing, examples) = self.look_again(&differing, progress).await?;
        }
        progress.differ(differing.len());
        let at = self.clock.now();
        let counts = Verified { at, source_records, target_records, differing: differing.len() as u64 };
        Ok(Comparison { counts, examples, repaired })
    }

    /// Goes through what one store has; gives how many records that is, and those that the other has
    /// otherwise.
    async fn one_way(
        &self,
        from: &Arc<dyn OnlineStoreBackend>,
        other: &Arc<dyn OnlineStoreBackend>,
        scope: &Scope,
        progress: &MigrationProgress,
    ) -> Result<(u64, Vec<RecordKey>)> {
        let (mut records, mut differing) = (0, Vec::new());
        let mut chunks = from.scan(scope).chunks(ROWS.min(self.max_rows()));
        while let Some(chunk) = chunks.next().await {
            let mut found: Vec<(RecordKey, VersionedRecord)> = chunk.into_iter().collect::<Result<_>>()?;
            found.sort_by_cached_key(|(key, _)| key.to_string());
            found.dedup_by(|a, b| a.0 == b.0);
            let keys: Vec<RecordKey> = found.iter().map(|(key, _)| key.clone()).collect();
            let others = counted(other.get(&keys, self.call()).await, keys.len());
            let now = self.clock.now();
            for ((key, record), other) in found.into_iter().zip(others) {
                let other = other.map_err(|e| e.with_key(&key))?;
                records += u64::from(alive(&record.bytes, now).is_some());
                if !same(other.as_ref().map(|other| &other.bytes), Some(&record.bytes), now) {
                    differing.push(key);
                }
            }
            progress.look(keys.len());
            progress.differ(differing.len());
            if differing.len() > MOST {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("more than {MOST} records differ; copy again before comparing them"),
                )
                .with_retryable(false));
            }
        }
        Ok((records, differing))
    }

    /// Those of the records that differ, and what is the matter with some of them.
    async fn look_again(
        &self,
        keys: &[RecordKey],
        progress: &MigrationProgress,
    ) -> Result<(Vec<RecordKey>, Vec<(RecordKey, Difference)>)> {
        let (mut differing, mut examples) = (Vec::new(), Vec::new());
        for keys in keys.chunks(ROWS.min(self.max_rows())) {
            let targets = counted(self.target.get(keys, self.call()).await, keys.len());
            let sources = counted(self.source.get(keys, self.call()).await, keys.len());
            let now = self.clock.now();
            for (key, (source, target)) in keys.iter().zip(sources.into_iter().zip(targets)) {
                let whose = |error: Error| error.with_key(key);
                let (source, target) = (source.map_err(whose)?, target.map_err(whose)?);
                if let Some(difference) = difference(source.as_ref(), target.as_ref(), now) {
                    differing.push(key.clone());
                    if examples.len() < NAMED {
                        examples.push((key.clone(), difference));
                    }
                }
            }
            progress.look(keys.len());
        }
        Ok((differing, examples))
    }
}

fn difference(
    source: Option<&VersionedRecord>,
    target: Option<&VersionedRecord>,
    now: Timestamp,
) -> Option<Difference> {
    let (source, target) = (source.map(|record| &record.bytes), target.map(|record| &record.bytes));
    let has = |bytes: Option<&Bytes>| bytes.is_some_and(|bytes| alive(bytes, now).is_some());
    match (has(source), has(target)) {
        _ if same(target, source, now) => None,
        (true, false) => Some(Difference::Missing),
        (true, true) => Some(Difference::Other),
        (false, _) => Some(Difference::Surplus),
    }
}
