//! A backend of one's own, on a map in memory, and the URL scheme that opens it.
//!
//! It is small because the handle does all that is not moving bytes, and complete: it passes the conformance
//! suite of the crate `store-testkit`, as `tests/own_backend.rs` shows.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example checks what it shows")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use feature_store::bytes::Bytes;
use feature_store::futures::stream::{self, BoxStream, StreamExt};
use feature_store::{
    CallContext, Capabilities, ConnectOptions, Connector, EntityKey, Error, ErrorKind, Health,
    OnlineStoreBackend, Precondition, PurgeProgress, PurgeReport, PutOutcome, RecordHeader, RecordKey,
    RecordPut, Result, Scheme, Scope, StoreUrl, VersionedRecord, async_trait,
};

/// `None` once it is closed. By canonical text, so that a scope is a range.
type Records = Option<BTreeMap<String, (RecordKey, Bytes)>>;

#[derive(Debug, Default)]
struct MapBackend(Mutex<Records>);

/// What a backend that compares the bytes themselves gives: it needs no version.
fn versioned(bytes: &Bytes) -> VersionedRecord {
    VersionedRecord { bytes: bytes.clone(), version: 0 }
}

impl MapBackend {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One outcome for each row. The lock makes a precondition and its write one step.
    fn rows<A, T>(
        &self,
        rows: impl IntoIterator<Item = A>,
        mut row: impl FnMut(&mut BTreeMap<String, (RecordKey, Bytes)>, A) -> Result<T>,
    ) -> Vec<Result<T>> {
        let mut records = self.records();
        let outcomes = rows.into_iter().map(|argument| match records.as_mut() {
            Some(records) => row(records, argument),
            None => Err(closed()),
        });
        outcomes.collect()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}

#[async_trait]
impl OnlineStoreBackend for MapBackend {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("map");
        capabilities.durable = false;
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.rows(keys, |records, key| Ok(records.get(&key.to_string()).map(|(_, bytes)| versioned(bytes))))
    }

    async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        self.rows(puts, |records, put| {
            let text = put.key.to_string();
            let stored = records.get(&text).map(|(_, bytes)| versioned(bytes));
            let holds = match (&stored, &put.precondition) {
                (stored, Precondition::Unchanged(expected)) => stored == expected,
                (None, _) => true,
                (Some(stored), precondition) => {
                    let header = RecordHeader::parse(&stored.bytes)?;
                    let same_shape = header.shape == put.shape || *precondition == Precondition::NotNewer;
                    same_shape && header.event_time <= put.event_time
                }
            };
            if !holds {
                return Ok(PutOutcome::Refused(stored));
            }
            // A store may reclaim what has expired, and need not: it is never served.
            records.insert(text, (put.key, put.bytes));
            Ok(PutOutcome::Stored)
        })
    }

    async fn delete(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        self.rows(keys, |records, key| Ok(records.remove(&key.to_string()).is_some()))
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let prefix = scope.prefix();
        let found = match &*self.records() {
            Some(records) => records
                .range(prefix.clone()..)
                .take_while(|(text, _)| text.starts_with(&prefix))
                .map(|(_, (key, bytes))| Ok((key.clone(), versioned(bytes))))
                .collect(),
            None => vec![Err(closed())],
        };
        stream::iter(found).boxed()
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let mut records = self.records();
        let records = records.as_mut().ok_or_else(closed)?;
        let (prefix, before) = (scope.prefix(), records.len());
        records.retain(|text, _| !text.starts_with(&prefix));
        let removed = (before - records.len()) as u64;
        progress.add(removed);
        Ok(PurgeReport { removed })
    }

    async fn check(&self) -> Result<Health> {
        let records = self.records().as_ref().map(BTreeMap::len).ok_or_else(closed)?;
        Ok(Health { facts: vec![("records".to_owned(), records.to_string())], warnings: Vec::new() })
    }

    async fn close(&self) -> Result<()> {
        *self.records() = None;
        Ok(())
    }
}

/// `map:`, without anything to say about it.
pub(crate) struct MapScheme;

#[async_trait]
impl Scheme for MapScheme {
    fn name(&self) -> &str {
        "map"
    }

    fn example(&self) -> &str {
        "map:"
    }

    fn check(&self, url: &StoreUrl) -> Result<()> {
        if !url.hosts().is_empty() || !url.path().is_empty() {
            return Err(Error::invalid_argument("a map has neither host nor name: write map:"));
        }
        url.params().finish()
    }

    async fn connect(&self, url: &StoreUrl, _: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>> {
        self.check(url)?;
        Ok(Arc::new(MapBackend(Mutex::new(Some(BTreeMap::new())))))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let connector = Connector::new().scheme(MapScheme);
    let store = connector.open("map:").await?;
    let customer = EntityKey::new("customer_id", 7)?;
    let noon = Some("2026-01-01T12:00:00Z".parse()?);
    let eleven = Some("2026-01-01T11:00:00Z".parse()?);
    store.write_features("acme", "customers", &customer, [("orders", 42_i64)], noon, None).await?;
    store
        .write_features("acme", "customers", &customer, [("orders", 41_i64), ("visits", 7)], eleven, None)
        .await?;

    // What holds on one backend holds on all: the late write has brought `visits` and left `orders`.
    let row = store.read_features("acme", "customers", &customer, None).await?.expect("a record");
    assert_eq!((row.get("orders"), row.get("visits")), (Some(&42_i64.into()), Some(&7_i64.into())));
    println!("{row:?}");

    let purged = store.purge(&Scope::tenant("acme")?).await?;
    assert_eq!(purged.removed, 1);
    store.close().await?;
    let late = store.read_features("acme", "customers", &customer, None).await;
    assert_eq!(late.map_err(|error| error.kind()), Err(ErrorKind::Unavailable));

    // A wrong URL is refused before anything is opened.
    println!("{}", connector.parse("map:mine").expect_err("a name"));
    Ok(())
}

#[test]
fn it_runs() -> Result<()> {
    main()
}
