//! One record as it lies in a store.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    CallContext, Clock, Error, OnlineStoreBackend, Record, RecordHeader, RecordKey, Result, Timestamp,
};

/// A record as it lies in a store.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// How many bytes it has.
    pub bytes: usize,
    /// The version of its format.
    pub format: u8,
    /// What orders and expires it.
    pub header: RecordHeader,
    /// The record, or what is the matter with it.
    pub record: Result<Record, Error>,
    /// How long it still lives by its own expiry; zero when it has expired, `None` for ever.
    pub left: Option<Duration>,
}

/// Reads a record, expired or not, from a store.
///
/// # Errors
/// What the store reports; `Corrupt` or `Unsupported` for bytes that do not begin as a record does.
pub async fn inspect(
    store: &Arc<dyn OnlineStoreBackend>,
    key: &RecordKey,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<Option<Inspected>> {
    let found = store.get(std::slice::from_ref(key), CallContext::with_timeout(patience)).await.pop();
    let Some(found) = found.transpose()?.flatten() else { return Ok(None) };
    let header = RecordHeader::parse(&found.bytes).map_err(|e| e.with_key(key))?;
    let now = clock.now();
    Ok(Some(Inspected {
        bytes: found.bytes.len(),
        format: found.bytes.first().copied().unwrap_or_default(),
        header,
        record: Record::decode(&found.bytes),
        left: header.expires_at.map(|at: Timestamp| at.since(now)),
    }))
}
