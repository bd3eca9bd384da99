//! What a handle does by itself, over the store of the guide: which names it takes, who watches it, how long it
//! waits.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use feature_core::{
    BackendWrapper, BatchRows, CallContext, Capabilities, EntityKey, ErrorKind, FeatureWrite, OnlineStore,
    OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, RequestInfo, RequestObserver, Result,
    SYSTEM_TENANT, Scope, SystemClock, VersionedRecord, ViewKey, WriteReport,
};
use futures::future::{BoxFuture, pending};
use futures::stream::TryStreamExt;
use store_testkit::{MapStore, async_trait};

fn entity() -> EntityKey {
    EntityKey::new("id", 1).unwrap()
}

fn map() -> Arc<dyn OnlineStoreBackend> {
    Arc::new(MapStore::new(Arc::new(SystemClock)))
}

async fn write(store: &OnlineStore, tenant: &str) -> Result<()> {
    store.write_features(tenant, "v", &entity(), [("a", 1)], None, None).await.map(drop)
}

async fn tenants(store: &OnlineStore) -> Vec<String> {
    let mut tenants: Vec<_> = store
        .scan(&Scope::Store)
        .map_ok(|(key, _)| key.view().tenant().to_owned())
        .try_collect()
        .await
        .unwrap();
    tenants.sort_unstable();
    tenants
}

#[tokio::test]
async fn the_tenant_of_the_software_itself_is_out_of_reach_where_the_handle_leaves_it_out() {
    let all = OnlineStore::new(map());
    let others = OnlineStore::builder(Arc::clone(all.backend())).without_system_tenant().build().unwrap();
    for store in [&all, &others] {
        write(store, "acme").await.unwrap();
    }
    write(&all, SYSTEM_TENANT).await.unwrap();
    assert_eq!(write(&others, SYSTEM_TENANT).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let read = others.read_features(SYSTEM_TENANT, "v", &entity(), None).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(tenants(&all).await, [SYSTEM_TENANT, "acme"]);
    assert_eq!(tenants(&others).await, ["acme"]);
}

#[tokio::test]
async fn a_key_may_be_as_long_as_the_store_takes_and_no_longer() {
    let key = RecordKey::new(ViewKey::new("acme", "v").unwrap(), entity());
    for (limit, fits) in [(key.text_len(), true), (key.text_len() - 1, false)] {
        let mut capabilities = Capabilities::new("narrow");
        capabilities.max_key_bytes = Some(limit);
        let store = MapStore::new(Arc::new(SystemClock)).with_capabilities(capabilities);
        let written = write(&OnlineStore::new(Arc::new(store)), "acme").await;
        assert_eq!(written.map_err(|e| e.kind()), if fits { Ok(()) } else { Err(ErrorKind::LimitExceeded) });
    }
}

/// Counts the requests.
#[derive(Debug, Default)]
struct Counter(AtomicUsize);

impl Counter {
    async fn count<T>(&self, request: RequestInfo<'_>, work: BoxFuture<'_, T>) -> T {
        assert_eq!((request.tenant_id, request.feature_view, request.rows), ("acme", Some("v"), 2));
        self.0.fetch_add(1, Ordering::Relaxed);
        work.await
    }
}

#[async_trait]
impl RequestObserver for Counter {
    async fn read(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<Vec<BatchRows>>>,
    ) -> Result<Vec<BatchRows>> {
        self.count(request, work).await
    }

    async fn write(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<WriteReport>>,
    ) -> Result<WriteReport> {
        self.count(request, work).await
    }

    async fn delete(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<Vec<Result<bool>>>>,
    ) -> Result<Vec<Result<bool>>> {
        self.count(request, work).await
    }
}

#[tokio::test]
async fn each_request_is_watched_once_unless_nobody_is_to() {
    let counter = Arc::new(Counter::default());
    let store = OnlineStore::builder(map()).observer(counter.clone()).build().unwrap();
    let (seen, keys) = (|| counter.0.load(Ordering::Relaxed), [entity(), EntityKey::new("id", 2).unwrap()]);
    for (store, expected) in [(&store, 3), (&store.unobserved(), 3)] {
        let rows = keys.iter().map(|key| FeatureWrite::new(key.clone(), [("a", 1)]));
        assert_eq!(store.batch_write("acme", "v", rows).await.unwrap().rows().len(), 2);
        assert_eq!(store.batch_read("acme", "v", &keys, None).await.unwrap().len(), 2);
        let gone = store.delete("acme", "v", &keys).await.unwrap();
        assert!(gone.into_iter().all(|row| row.unwrap()));
        assert_eq!(seen(), expected);
    }
}

/// Never answers.
#[derive(Debug)]
struct Silent(MapStore);

impl BackendWrapper for Silent {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.0
    }

    async fn get(&self, _: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        pending().await
    }

    async fn put(&self, _: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        pending().await
    }

    async fn delete(&self, _: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_waits_as_long_as_it_is_told_to() {
    let store = OnlineStore::new(Arc::new(Silent(MapStore::new(Arc::new(SystemClock)))));
    for deadline in [Duration::from_millis(20), Duration::from_secs(7)] {
        let (store, begun) = (store.with_deadline(deadline), tokio::time::Instant::now());
        let error = write(&store, "acme").await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::DeadlineExceeded, deadline));
        assert!(format!("{store:?}").contains(&format!("deadline: {deadline:?}")), "{store:?}");
    }
}

/// Answers with a row too few.
#[derive(Debug)]
struct Miscounting(MapStore);

fn without_the_first<T>(mut rows: Vec<T>) -> Vec<T> {
    rows.remove(0);
    rows
}

impl BackendWrapper for Miscounting {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.0
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        without_the_first(self.inner().get(keys, call).await)
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        without_the_first(self.inner().put(puts, call).await)
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        without_the_first(self.inner().delete(keys, call).await)
    }
}

/// There is no telling which row belongs to which key.
#[tokio::test]
async fn of_an_answer_with_a_row_too_few_nothing_is_believed() {
    let store = OnlineStore::new(Arc::new(Miscounting(MapStore::new(Arc::new(SystemClock)))));
    let keys = [entity(), EntityKey::new("id", 2).unwrap()];
    let rows = keys.iter().map(|key| FeatureWrite::new(key.clone(), [("a", 1)]));
    let written = store.batch_write("acme", "v", rows).await.unwrap();
    let read = store.batch_read("acme", "v", &keys, None).await.unwrap();
    let deleted = store.delete("acme", "v", &keys).await.unwrap();
    let kinds = [
        written.rows().iter().map(|row| row.as_ref().unwrap_err().kind()).collect::<Vec<_>>(),
        read.iter().map(|row| row.as_ref().unwrap_err().kind()).collect(),
        deleted.iter().map(|row| row.as_ref().unwrap_err().kind()).collect(),
    ];
    assert_eq!(kinds, [const { [ErrorKind::Internal; 2] }; 3]);
}
