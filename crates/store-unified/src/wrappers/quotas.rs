//! No tenant takes more than its share.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    CallContext, Error, ErrorKind, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result,
    VersionedRecord, format_duration,
};
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use metrics::Counter;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::observe::names::QUOTA_REFUSED_ROWS;
use crate::pattern::Pattern;

/// How much a tenant may do. A rate that is `None` is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Reading calls per second.
    pub reads_per_s: Option<NonZeroU32>,
    /// Writing or deleting calls per second.
    pub writes_per_s: Option<NonZeroU32>,
    /// Rows per second, read, written or deleted.
    pub rows_per_s: Option<NonZeroU32>,
    /// How much may come at once after a pause: what each rate gives in this time, and at least one.
    /// Default 1 s. A call with more rows than that never passes.
    pub burst: Duration,
}

impl Default for Quota {
    fn default() -> Self {
        Self { reads_per_s: None, writes_per_s: None, rows_per_s: None, burst: Duration::from_secs(1) }
    }
}

/// Memory that the buckets of all tenants may take together, in bytes.
const MAX_BUCKETS_BYTES: u64 = 32 << 20;
/// What a tenant's buckets take besides its name, in bytes.
const BUCKETS_OVERHEAD: usize = 512;

/// Refuses what is over a tenant's quota, before anything is sent: with `Throttled` and the time after which
/// it would pass, or with `LimitExceeded` what is more than may ever come at once.
///
/// Calls on the backend are counted. So a large batch that the handle sends in several calls counts as
/// several, as do the read and the second put of a write that has to be merged. Scans, purges and checks are
/// not limited. Rows of several tenants in one call are judged by tenant.
///
/// The tenants of a process that are not idle are remembered in up to 32 MiB. Beyond that those that call
/// least are forgotten, so a caller that invents tenant names takes neither the memory nor the place of the
/// busy ones; a tenant that was forgotten starts with a full burst.
pub struct Quotas {
    store: Arc<dyn OnlineStoreBackend>,
    quotas: Vec<(Pattern, Quota)>,
    /// By tenant.
    buckets: Cache<String, Arc<Buckets>>,
    /// Rows refused, by [`Limit`].
    refused: [Counter; 3],
    clock: SinceStart,
}

impl Quotas {
    /// Gives each tenant a quota of its own: that of the first pattern that matches its name. A tenant that
    /// none matches is not limited.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, quotas: Vec<(Pattern, Quota)>) -> Self {
        // Buckets that have filled up again are as good as new ones.
        let full_again = quotas.iter().map(|(_, quota)| quota.burst).max().unwrap_or_default();
        let idle = full_again.clamp(Duration::from_secs(60), Duration::from_secs(86_400));
        let weigh =
            |tenant: &String, _: &_| u32::try_from(tenant.len() + BUCKETS_OVERHEAD).unwrap_or(u32::MAX);
        Self {
            store,
            quotas,
            buckets: Cache::builder()
                .max_capacity(MAX_BUCKETS_BYTES)
                .weigher(weigh)
                .time_to_idle(idle)
                .build(),
            refused: Limit::ALL.map(|limit| QUOTA_REFUSED_ROWS.counter([limit.name()])),
            clock: SinceStart(Instant::now()),
        }
    }

    /// Why this many rows of a tenant may not pass; `None` if they may.
    fn refusal(&self, tenant: &str, rows: usize, calls: Limit) -> Option<Error> {
        let (_, quota) = self.quotas.iter().find(|(pattern, _)| pattern.matches(tenant))?;
        let new = || Arc::new(Buckets::new(quota, self.clock));
        let buckets = self.buckets.get_with_by_ref(tenant, new);
        [(calls, 1), (Limit::Rows, rows)].into_iter().find_map(|(limit, number)| {
            let bucket = buckets.0[limit as usize].as_ref()?;
            let refusal = bucket.take(number)?;
            self.refused[limit as usize].increment(rows as u64);
            Some(refusal.into_error(tenant, limit, bucket.per_s))
        })
    }

    /// For each row the error it has; `None` where all may pass.
    fn refusals<A>(&self, rows: &[A], key: fn(&A) -> &RecordKey, calls: Limit) -> Option<Vec<Option<Error>>> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let same = |a: &A, b: &A| key(a).view() == key(b).view();
        for run in rows.chunk_by(same) {
            *numbers.entry(key(&run[0]).view().tenant()).or_default() += run.len();
        }
        let refusal = |(tenant, rows)| Some((tenant, self.refusal(tenant, rows, calls)?));
        let refused: HashMap<&str, Error> = numbers.into_iter().filter_map(refusal).collect();
        let error = |row| refused.get(key(row).view().tenant()).cloned();
        (!refused.is_empty()).then(|| rows.iter().map(error).collect())
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Reads,
    Writes,
    Rows,
}

impl Limit {
    const ALL: [Self; 3] = [Self::Reads, Self::Writes, Self::Rows];

    const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Rows => "rows",
        }
    }
}

/// A tenant's buckets, by [`Limit`].
struct Buckets([Option<Bucket>; 3]);

impl Buckets {
    fn new(quota: &Quota, clock: SinceStart) -> Self {
        let rates = [quota.reads_per_s, quota.writes_per_s, quota.rows_per_s];
        Self(rates.map(|rate| rate.map(|per_s| Bucket::new(per_s, quota.burst, clock))))
    }
}

struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, SinceStart, NoOpMiddleware<Duration>>,
    per_s: NonZeroU32,
}

impl Bucket {
    fn new(per_s: NonZeroU32, burst: Duration, clock: SinceStart) -> Self {
        let at_once = u128::from(per_s.get()) * burst.as_nanos() / Duration::from_secs(1).as_nanos();
        let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
        let quota = governor::Quota::per_second(per_s)
            .allow_burst(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN));
        Self { limiter: RateLimiter::direct_with_clock(quota, clock), per_s }
    }

    /// Takes this many, or says why not.
    fn take(&self, number: usize) -> Option<Refusal> {
        let number = NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX))?;
        match self.limiter.check_n(number) {
            Ok(Ok(())) => None,
            Ok(Err(not_yet)) => Some(Refusal::NotYet(not_yet.wait_time_from(self.limiter.clock().now()))),
            Err(capacity) => Some(Refusal::Never { asked: number.get(), at_once: capacity.0 }),
        }
    }
}

/// Why a bucket does not give what it is asked for.
enum Refusal {
    /// Not before this time has passed.
    NotYet(Duration),
    /// More than it ever holds.
    Never { asked: u32, at_once: u32 },
}

impl Refusal {
    fn into_error(self, tenant: &str, limit: Limit, per_s: NonZeroU32) -> Error {
        let tenant: String = tenant.chars().take(80).collect();
        let quota = format!("quota of {per_s} {} per second", limit.name());
        match self {
            Self::NotYet(wait) => {
                let wait = Duration::from_millis(wait.as_nanos().div_ceil(1_000_000) as u64);
                let message = format!(
                    "tenant `{tenant}` is over its {quota}; send it again after {}",
                    format_duration(wait)
                );
                Error::new(ErrorKind::Throttled, message).with_retry_after(wait)
            }
            Self::Never { asked, at_once } => {
                let unit = limit.name();
                let message = format!(
                    "a call of tenant `{tenant}` has {asked} {unit}, of which its {quota} never lets more than \
                     {at_once} through at once; send fewer in a call, or raise the quota or its burst"
                );
                Error::new(ErrorKind::LimitExceeded, message)
            }
        }
    }
}

/// The time since an instant, by the runtime's clock.
#[derive(Clone, Copy, Debug)]
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas")
            .field("store", &self.store)
            .field("quotas", &self.quotas)
            .finish_non_exhaustive()
    }
}

/// The answers of the rows that had no error, and the errors of the others, in order.
fn merged<T>(errors: Vec<Option<Error>>, answers: Vec<Result<T>>) -> Vec<Result<T>> {
    let mut answers = answers.into_iter();
    errors.into_iter().filter_map(|error| error.map(Err).or_else(|| answers.next())).collect()
}

/// The rows that have no error.
fn passing<A: Clone>(rows: &[A], errors: &[Option<Error>]) -> Vec<A> {
    rows.iter().zip(errors).filter(|(_, error)| error.is_none()).map(|(row, _)| row.clone()).collect()
}

impl feature_core::BackendWrapper for Quotas {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match self.refusals(keys, |key| key, Limit::Reads) {
            None => self.store.get(keys, call).await,
            Some(errors) => {
                let answers = self.store.get(&passing(keys, &errors), call).await;
                merged(errors, answers)
            }
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        match self.refusals(&puts, |put| &put.key, Limit::Writes) {
            None => self.store.put(puts, call).await,
            Some(errors) => {
                let answers = self.store.put(passing(&puts, &errors), call).await;
                merged(errors, answers)
            }
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match self.refusals(keys, |key| key, Limit::Writes) {
            None => self.store.delete(keys, call).await,
            Some(errors) => {
                let answers = self.store.delete(&passing(keys, &errors), call).await;
                merged(errors, answers)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use feature_core::{EntityKey, ManualClock, Precondition, PurgeProgress, Scope, Timestamp, ViewKey};
    use futures::StreamExt;
    use proptest::prelude::*;
    use store_testkit::{FaultyBackend, MapStore, Operation};

    use super::*;

    fn keys(tenant: &str, rows: usize) -> Vec<RecordKey> {
        let view = ViewKey::new(tenant, "v").unwrap();
        (0..rows).map(|n| RecordKey::new(view.clone(), EntityKey::new("id", n as i64).unwrap())).collect()
    }

    fn quotas(quotas: &[(&str, Quota)]) -> (Arc<FaultyBackend>, Quotas) {
        let map = MapStore::new(Arc::new(ManualClock::at(Timestamp::from_micros(1))));
        let store = Arc::new(FaultyBackend::counting(Arc::new(map)));
        let quotas = quotas.iter().map(|(pattern, quota)| (pattern.parse().unwrap(), *quota)).collect();
        (store.clone(), Quotas::new(store, quotas))
    }

    fn quota(reads: u32, writes: u32, rows: u32) -> Quota {
        Quota {
            reads_per_s: NonZeroU32::new(reads),
            writes_per_s: NonZeroU32::new(writes),
            rows_per_s: NonZeroU32::new(rows),
            ..Quota::default()
        }
    }

    fn call() -> CallContext {
        CallContext::with_timeout(Duration::from_secs(1))
    }

    /// The error of the rows, where there is one; all must have the same.
    async fn get(store: &Quotas, keys: &[RecordKey]) -> Option<Error> {
        let mut errors: Vec<_> = store.get(keys, call()).await.into_iter().map(Result::err).collect();
        assert_eq!(errors.len(), keys.len());
        errors.dedup_by_key(|error| error.as_ref().map(ToString::to_string));
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.pop().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_a_tenants_quota_is_refused_before_it_is_sent() {
        let (below, store) = quotas(&[("small-*", quota(2, 0, 0)), ("*", quota(3, 0, 0))]);
        for tenant in ["small-a", "small-b"] {
            assert!(get(&store, &keys(tenant, 1)).await.is_none());
            assert!(get(&store, &keys(tenant, 5)).await.is_none());
            let refused = get(&store, &keys(tenant, 5)).await.unwrap();
            assert_eq!(refused.kind(), ErrorKind::Throttled);
            assert_eq!(refused.retry_after(), Some(Duration::from_millis(500)));
            let message = format!(
                "Throttled: tenant `{tenant}` is over its quota of 2 reads per second; send it again after 500ms"
            );
            assert_eq!(refused.to_string(), message);
        }
        assert_eq!(below.calls().iter().filter(|call| call.rows > 0).count(), 4);
        for _ in 0..3 {
            assert!(get(&store, &keys("large", 1)).await.is_none(), "it has the quota of `*`, of its own");
        }
        assert!(get(&store, &keys("large", 1)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_larger_than_the_burst_is_told_how_much_fits() {
        let burst = Duration::from_millis(100);
        let (below, store) = quotas(&[("*", Quota { burst, ..quota(0, 0, 1000) })]);
        let refused = get(&store, &keys("t", 101)).await.unwrap();
        assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
        assert!(!refused.is_retryable() && refused.retry_after().is_none());
        let message = refused.to_string();
        assert!(message.contains("101 rows") && message.contains("100 through at once"), "{message}");
        assert_eq!(below.count(Operation::Get), 1);
        assert!(get(&store, &keys("t", 100)).await.is_none(), "what was refused has taken nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_several_tenants_are_judged_by_tenant() {
        let (_, store) = quotas(&[("a", quota(0, 0, 2)), ("b", quota(0, 0, 3))]);
        // Neither tenant's rows stand together.
        let mixed: Vec<_> =
            (0..3).flat_map(|n| ["a", "b", "free"].map(|tenant| keys(tenant, 3).swap_remove(n))).collect();
        let kinds = |rows: Vec<Result<bool>>| -> Vec<_> {
            rows.into_iter().map(|row| row.err().map(|error| error.kind())).collect()
        };
        let of_a = [Some(ErrorKind::LimitExceeded), None, None];
        assert_eq!(kinds(store.delete(&mixed, call()).await), of_a.repeat(3));
        let of_b = [Some(ErrorKind::LimitExceeded), Some(ErrorKind::Throttled), None];
        assert_eq!(kinds(store.delete(&mixed, call()).await), of_b.repeat(3));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_have_their_own_quota_and_what_is_not_limited_passes() {
        let (_, store) = quotas(&[("*", quota(1, 2, 0))]);
        let key = keys("t", 1).remove(0);
        let put = || RecordPut {
            key: key.clone(),
            bytes: bytes::Bytes::from_static(b"x"),
            event_time: Timestamp::from_micros(1),
            shape: 1,
            ttl: None,
            precondition: Precondition::NotNewer,
        };
        assert!(store.put(vec![put()], call()).await[0].is_ok());
        assert!(store.delete(std::slice::from_ref(&key), call()).await[0].is_ok());
        assert_eq!(
            store.put(vec![put()], call()).await[0].as_ref().unwrap_err().kind(),
            ErrorKind::Throttled
        );
        assert!(get(&store, std::slice::from_ref(&key)).await.is_none());
        assert!(get(&store, std::slice::from_ref(&key)).await.is_some());
        let scope = Scope::tenant("t").unwrap();
        for _ in 0..10 {
            assert_eq!(store.scan(&scope).count().await, 0);
            store.purge(&scope, &PurgeProgress::default()).await.unwrap();
            store.check().await.unwrap();
        }
        assert!(store.get(&[], call()).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn invented_tenants_take_neither_the_memory_nor_the_place_of_a_busy_one() {
        let (_, store) = quotas(&[("*", quota(5, 0, 0))]);
        let busy = keys("busy", 1);
        let mut passed = 0;
        for number in 0..2_000 {
            passed += usize::from(get(&store, &busy).await.is_none());
            let invented = format!("{number:0>50000}");
            assert!(get(&store, &keys(&invented, 1)).await.is_none());
        }
        store.buckets.run_pending_tasks();
        let (bytes, names) = (store.buckets.weighted_size(), 2_000 * 50_000);
        assert!(bytes <= MAX_BUCKETS_BYTES && names > 2 * MAX_BUCKETS_BYTES, "{bytes}");
        assert_eq!(passed, 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// In any time no more passes than the burst and what the rate gives meanwhile, and what is refused
        /// passes after the time it was told.
        #[test]
        fn no_more_passes_than_the_quota_and_a_refused_call_passes_when_it_was_told(
            per_s in 1u32..2_000,
            burst_ms in 0u64..3_000,
            steps in prop::collection::vec((0u64..300_000, 1usize..200), 1..60),
        ) {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().start_paused(true).build().unwrap().block_on(async move {
                let burst = Duration::from_millis(burst_ms);
                let (_, store) = quotas(&[("*", Quota { burst, ..quota(0, 0, per_s) })]);
                let at_once = (u64::from(per_s) * burst_ms / 1000).max(1);
                let (start, mut passed) = (Instant::now(), 0);
                for (micros, rows) in steps {
                    tokio::time::advance(Duration::from_micros(micros)).await;
                    let keys = keys("t", rows);
                    let refused = match get(&store, &keys).await {
                        Some(error) if rows as u64 > at_once => {
                            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
                            continue;
                        }
                        refused => refused,
                    };
                    if let Some(wait) = refused.map(|error| error.retry_after().unwrap()) {
                        tokio::time::advance(wait - Duration::from_millis(1)).await;
                        assert!(wait.as_millis() == 1 || get(&store, &keys).await.is_some(), "too long a wait");
                        tokio::time::advance(Duration::from_millis(1)).await;
                        assert!(get(&store, &keys).await.is_none(), "refused after {wait:?}");
                    }
                    passed += rows as u64;
                    let given = start.elapsed().as_nanos() * u128::from(per_s) / 1_000_000_000;
                    // The interval between two rows is cut off to nanoseconds.
                    assert!(u128::from(passed) <= u128::from(at_once) + given + given / 100_000 + 1);
                }
            });
        }
    }
}
