//! What the tests of the wrappers share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feature_core::{
    CallContext, EntityKey, Error, ErrorKind, OnlineStoreBackend, Precondition, PutOutcome, RecordKey,
    RecordPut, Result, SystemClock, Timestamp, VersionedRecord, ViewKey,
};
use store_testkit::{Call, Fault, FaultyBackend, MapStore};

pub(crate) fn keys(count: usize) -> Vec<RecordKey> {
    let view = ViewKey::new("acme", "customers").unwrap();
    let key = |number| RecordKey::new(view.clone(), EntityKey::new("customer_id", number).unwrap());
    (0..count as u64).map(key).collect()
}

pub(crate) fn put_of(key: &RecordKey, text: &str) -> RecordPut {
    RecordPut {
        key: key.clone(),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        event_time: Timestamp::from_micros(0),
        shape: 0,
        ttl: None,
        precondition: Precondition::NotNewer,
    }
}

pub(crate) fn call(timeout: Duration) -> CallContext {
    CallContext::with_timeout(timeout)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "connection refused")
}

/// A store in which each of these records is this text.
pub(crate) async fn store_of(keys: &[RecordKey], text: &str) -> Arc<MapStore> {
    let store = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let puts = keys.iter().map(|key| put_of(key, text)).collect();
    assert!(store.put(puts, call(ms(1000))).await.iter().all(Result::is_ok));
    store
}

/// The same with faults.
pub(crate) async fn faulty(
    keys: &[RecordKey],
    text: &str,
    script: impl Fn(Call) -> Fault + Send + Sync + 'static,
) -> Arc<FaultyBackend> {
    Arc::new(FaultyBackend::new(store_of(keys, text).await, script))
}

/// Each row in a word: the record's text, `-` without one, or the kind of the error.
pub(crate) fn words(answers: Vec<Result<Option<VersionedRecord>>>) -> Vec<String> {
    let word = |row: Result<Option<VersionedRecord>>| match row {
        Ok(Some(record)) => String::from_utf8(record.bytes.to_vec()).unwrap(),
        Ok(None) => "-".to_owned(),
        Err(error) => error.kind().to_string(),
    };
    answers.into_iter().map(word).collect()
}

/// A store that answers reads as told, after a while; it does nothing else.
#[derive(Debug)]
pub(crate) struct Told {
    rows: Vec<(RecordKey, Result<Option<String>>)>,
    after: Duration,
    beside: MapStore,
}

impl Told {
    pub(crate) fn new(rows: Vec<(RecordKey, Result<Option<String>>)>, after: Duration) -> Arc<Self> {
        Arc::new(Self { rows, after, beside: MapStore::new(Arc::new(SystemClock)) })
    }
}

impl feature_core::BackendWrapper for Told {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.beside
    }

    async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        tokio::time::sleep(self.after).await;
        let told = |key| self.rows.iter().find(|(own, _)| own == key).map(|(_, row)| row.clone());
        let record = |text: String| VersionedRecord { bytes: text.into(), version: 1 };
        keys.iter().map(|key| told(key).unwrap_or(Ok(None)).map(|text| text.map(record))).collect()
    }

    async fn put(&self, _: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        Vec::new()
    }

    async fn delete(&self, _: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        Vec::new()
    }
}
