//! What a handle does by itself, over the store of the guide: which names it takes, who watches it, how long it
//! waits.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use feature_core::{
    BackendWrapper, BatchRows, CallContext, Capabilities, EntityKey, Error, ErrorKind, FeatureWrite,
    Features, OnlineStore, OnlineStoreBackend, PutOutcome, Record, RecordKey, RecordPut, RequestInfo,
    RequestObserver, Result, SYSTEM_TENANT, Scope, SystemClock, Timestamp, Ttl, VersionedRecord, ViewKey,
    WriteReport,
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

/// A store with limits.
fn limited(limit: impl FnOnce(&mut Capabilities)) -> OnlineStore {
    let mut capabilities = Capabilities::new("limited");
    limit(&mut capabilities);
    OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock)).with_capabilities(capabilities)))
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
        let store = limited(|capabilities| capabilities.max_key_bytes = Some(limit));
        let written = write(&store, "acme").await;
        assert_eq!(written.map_err(|e| e.kind()), if fits { Ok(()) } else { Err(ErrorKind::LimitExceeded) });
    }
}

#[tokio::test]
async fn a_record_may_live_as_long_as_the_store_takes_and_no_longer() {
    let longest = Duration::from_secs(60);
    let store = limited(|capabilities| capabilities.max_ttl = Some(longest));
    for (ttl, expected) in [
        (Ttl::After(longest), Ok(())),
        (Ttl::After(longest + Duration::from_micros(1)), Err(ErrorKind::LimitExceeded)),
        (Ttl::Never, Ok(())),
    ] {
        let written = store.write_features("acme", "v", &entity(), [("a", 1)], None, Some(ttl)).await;
        assert_eq!(written.map(drop).map_err(|error| error.kind()), expected, "{ttl:?}");
    }
}

/// A feature with the number and so many bytes.
fn blob(number: usize, bytes: usize) -> Features {
    Features::new().with(format!("f{number}"), vec![7u8; bytes])
}

#[tokio::test]
async fn rows_too_large_for_the_store_fail_without_those_that_fit() {
    let at = Timestamp::from_micros(0);
    let limit = Record::of_write(at, None, blob(0, 100)).encode().unwrap().len();
    for (sizes, stored) in [
        (&[100][..], &[0][..]),
        (&[101, 10], &[1]),
        (&[10, 101], &[0]),
        (&[101, 10, 101, 20, 102], &[1, 3]),
        (&[101, 102], &[]),
        // Each fits, and both together do not.
        (&[60, 60], &[]),
    ] {
        let store = limited(|capabilities| capabilities.max_record_bytes = Some(limit));
        let row = |(number, bytes): (usize, &usize)| FeatureWrite::new(entity(), blob(number, *bytes)).at(at);
        let report = store.batch_write("acme", "v", sizes.iter().enumerate().map(row)).await.unwrap();
        for (row, outcome) in report.rows().iter().enumerate() {
            let failed = outcome.as_ref().err().map(Error::kind);
            let expected = (!stored.contains(&row)).then_some(ErrorKind::LimitExceeded);
            assert_eq!(failed, expected, "row {row} of {sizes:?}");
        }
        let found = store.read_features("acme", "v", &entity(), None).await.unwrap();
        let names: Vec<_> = found.iter().flat_map(|row| row.names().iter().map(str::to_owned)).collect();
        let expected: Vec<_> = stored.iter().map(|row| format!("f{row}")).collect();
        assert_eq!(names, expected, "{sizes:?}");
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

/// Refuses some puts without a word, and then fails.
#[derive(Debug)]
struct Failing {
    store: MapStore,
    refusals: AtomicUsize,
    reads: bool,
    kind: ErrorKind,
}

impl Failing {
    fn error(&self) -> Error {
        Error::new(self.kind, "failed")
    }
}

impl BackendWrapper for Failing {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        if self.reads { self.inner().get(keys, call).await } else { self.error().for_rows(keys.len()) }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.inner().delete(keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        let refuses =
            self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match refuses {
            Ok(_) => puts.iter().map(|_| Ok(PutOutcome::Refused(None))).collect(),
            Err(_) => self.error().for_rows(puts.len()),
        }
    }
}

/// The refusal may be the work of an attempt that had got no answer.
#[tokio::test]
async fn a_write_that_was_refused_and_then_failed_may_have_taken_effect() {
    for (kind, after_refusal) in [
        (ErrorKind::Unavailable, true),
        (ErrorKind::DeadlineExceeded, true),
        (ErrorKind::Throttled, false),
        (ErrorKind::Internal, false),
    ] {
        for (refusals, reads) in [(0, true), (1, true), (1, false)] {
            let store = MapStore::new(Arc::new(SystemClock));
            let failing = Failing { store, refusals: AtomicUsize::new(refusals), reads, kind };
            let error = write(&OnlineStore::new(Arc::new(failing)), "acme").await.unwrap_err();
            assert_eq!((error.kind(), error.in_doubt()), (kind, after_refusal && refusals > 0), "{error}");
        }
    }
}

/// Refuses without what stands in the way, and counts the puts.
#[derive(Debug)]
struct Curt(MapStore, AtomicUsize);

impl BackendWrapper for Curt {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.0
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.inner().get(keys, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.inner().delete(keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let curt = |outcome| match outcome {
            PutOutcome::Refused(_) => PutOutcome::Refused(None),
            PutOutcome::Stored => PutOutcome::Stored,
        };
        self.inner().put(puts, call).await.into_iter().map(|row| row.map(curt)).collect()
    }
}

#[tokio::test]
async fn what_stood_in_the_way_is_read_where_the_refusal_does_not_say() {
    let curt = Arc::new(Curt(MapStore::new(Arc::new(SystemClock)), AtomicUsize::new(0)));
    let store = OnlineStore::new(curt.clone());
    for name in ["a", "b"] {
        store.write_features("acme", "v", &entity(), [(name, 1)], None, None).await.unwrap();
    }
    let row = store.read_features("acme", "v", &entity(), None).await.unwrap().unwrap();
    assert!(row.get("a").is_some() && row.get("b").is_some());
    // The second write was refused once, and then merged.
    assert_eq!(curt.1.load(Ordering::Relaxed), 3);
}
