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

/// What is done around a call.
pub(super) trait Pass: Send + Sync + fmt::Debug + 'static {
    fn pass<T: Send>(
        &self,
        operation: &'static str,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = T> + Send;
}

/// A store around whose calls with rows, and purges, something is done.
#[derive(Debug)]
pub(super) struct Passing<P> {
    pub(super) store: Arc<dyn OnlineStoreBackend>,
    pub(super) through: P,
}

impl<P: Pass> feature_core::BackendWrapper for Passing<P> {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Row> {
        self.through.pass("get", self.store.get(keys, call)).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.through.pass("put", self.store.put(puts, call)).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.through.pass("delete", self.store.delete(keys, call)).await
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.through.pass("purge", self.store.purge(scope, progress)).await
    }
}

/// Holds each call until a permit comes, before it has its effect and again before it answers.
#[derive(Debug)]
pub(super) struct Gates(BTreeMap<(&'static str, &'static str), Semaphore>);

pub(super) type Gated = Passing<Gates>;

impl Gated {
    /// Gates that are all open but for these.
    pub(super) fn new(
        store: Arc<dyn OnlineStoreBackend>,
        closed: &[(&'static str, &'static str)],
    ) -> Arc<Self> {
        let gates = closed.iter().map(|gate| (*gate, Semaphore::new(0))).collect();
        Arc::new(Self { store, through: Gates(gates) })
    }

    pub(super) fn open(&self, operation: &'static str, moment: &'static str) {
        self.through.0[&(operation, moment)].add_permits(1);
    }
}

impl Pass for Gates {
    async fn pass<T: Send>(&self, operation: &'static str, work: impl Future<Output = T> + Send) -> T {
        let through = |moment| async move {
            if let Some(gate) = self.0.get(&(operation, moment)) {
                gate.acquire().await.unwrap().forget();
            }
        };
        through("before").await;
        let output = work.await;
        through("after").await;
        output
    }
}
