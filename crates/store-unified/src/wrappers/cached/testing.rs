//! What the tests of the cache share: records that are a number, and stores that are held up.

use std::collections::BTreeMap;

use bytes::Bytes;
use feature_core::{EntityKey, Features, ManualClock, Precondition, Record, RecordHeader};
use store_testkit::MapStore;
use tokio::sync::Semaphore;

use super::*;

pub(super) const TTL: Duration = Duration::from_secs(10);
pub(super) const START: Timestamp = Timestamp::from_micros(1_000_000_000);

pub(super) fn key(view: &str, n: usize) -> RecordKey {
    RecordKey::new(ViewKey::new("t", view).unwrap(), EntityKey::new("id", n as u64).unwrap())
}

pub(super) fn keys(numbers: impl IntoIterator<Item = usize>) -> Vec<RecordKey> {
    numbers.into_iter().map(|n| key("v", n)).collect()
}

/// The record of this value, and when it expires.
pub(super) fn put(key: RecordKey, value: i64, expires_at: Option<Timestamp>) -> RecordPut {
    let record = Record::of_write(Timestamp::from_micros(value), expires_at, Features::from([("n", value)]));
    RecordPut {
        key,
        bytes: Bytes::from(record.encode().unwrap()),
        event_time: record.event_time,
        shape: record.shape().unwrap(),
        ttl: None,
        precondition: Precondition::NotNewer,
    }
}

pub(super) fn value(row: &Row) -> Option<i64> {
    let record = row.as_ref().unwrap().as_ref()?;
    Some(RecordHeader::parse(&record.bytes).unwrap().event_time.as_micros())
}

pub(super) fn values(rows: &[Row]) -> Vec<Option<i64>> {
    rows.iter().map(value).collect()
}

pub(super) fn is_stored(row: &Result<PutOutcome>) -> bool {
    matches!(row, Ok(PutOutcome::Stored))
}

pub(super) fn call() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(5))
}

pub(super) fn map(clock: &ManualClock) -> Arc<MapStore> {
    Arc::new(MapStore::new(Arc::new(clock.clone())))
}

/// A cache of everything over a store.
pub(super) fn cached(store: Arc<dyn OnlineStoreBackend>, clock: &ManualClock) -> Cached {
    Cached::new(store, Arc::new(clock.clone()), CacheSettings { ttl: Some(TTL), ..CacheSettings::default() })
}

/// Holds each call until a permit comes, before it has its effect and again before it answers.
#[derive(Debug)]
pub(super) struct Gated {
    inner: Arc<dyn OnlineStoreBackend>,
    gates: BTreeMap<(&'static str, &'static str), Semaphore>,
}

impl Gated {
    /// Gates that are all open but for these.
    pub(super) fn new(
        inner: Arc<dyn OnlineStoreBackend>,
        closed: &[(&'static str, &'static str)],
    ) -> Arc<Self> {
        Arc::new(Self { inner, gates: closed.iter().map(|gate| (*gate, Semaphore::new(0))).collect() })
    }

    pub(super) fn open(&self, operation: &'static str, moment: &'static str) {
        self.gates[&(operation, moment)].add_permits(1);
    }

    async fn pass<T>(&self, operation: &'static str, work: impl Future<Output = T>) -> T {
        let through = |moment| async move {
            if let Some(gate) = self.gates.get(&(operation, moment)) {
                gate.acquire().await.unwrap().forget();
            }
        };
        through("before").await;
        let output = work.await;
        through("after").await;
        output
    }
}

/// Implements a backend that does to each call with rows, and to purges, what its `pass` does.
macro_rules! passes {
    ($store:ty) => {
        #[async_trait]
        impl OnlineStoreBackend for $store {
            fn capabilities(&self) -> Capabilities {
                self.inner.capabilities()
            }

            async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Row> {
                self.pass("get", self.inner.get(keys, call)).await
            }

            async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
                self.pass("put", self.inner.put(puts, call)).await
            }

            async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
                self.pass("delete", self.inner.delete(keys, call)).await
            }

            fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
                self.inner.scan(scope)
            }

            async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
                self.pass("purge", self.inner.purge(scope, progress)).await
            }

            async fn check(&self) -> Result<Health> {
                self.inner.check().await
            }

            async fn close(&self) -> Result<()> {
                self.inner.close().await
            }
        }
    };
}

pub(super) use passes;

passes!(Gated);
