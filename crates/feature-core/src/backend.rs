//! The contract between the handle and a store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::key::{RecordKey, Scope};
use crate::time::Timestamp;

/// A store of opaque records. This is what a new backend implements; applications use the
/// [`OnlineStore`](crate::OnlineStore) handle over it.
///
/// A backend moves bytes. It may read a record's fixed [header](crate::RecordHeader) but never decodes a
/// feature, merges, or hides an expired record: the handle does all that, the same on every backend.
///
/// For every method:
///
/// - **Order.** A result has one entry for each element of the argument, in the argument's order. Keys
///   of one call are distinct (the handle sees to it); a backend may reach its server in any order.
/// - **Partial failure.** Rows fail one by one. What fails the call as a whole (no connection, say) is
///   reported for every row, as a clone of the same error.
/// - **Limits.** The handle checks [`capabilities`](Self::capabilities) before it calls.
/// - **Cancellation.** A call's future may be dropped at any await. Rows of a `put` or `delete` may then
///   have taken effect or not, each as a whole; later calls work as if nothing had happened.
/// - **Deadline.** The handle drops a call at its deadline. A backend that must not be dropped while a
///   request is under way uses [`CallContext::deadline`] to end by itself before that.
/// - **Empty input** gives an empty result without a round trip.
/// - **After [`close`](Self::close)** each method fails with `Unavailable`.
#[async_trait]
pub trait OnlineStoreBackend: Send + Sync + fmt::Debug + 'static {
    /// What the store can do and where its limits are. Needs no connection and never changes.
    fn capabilities(&self) -> Capabilities;

    /// Reads records, in one round trip for each server that holds some of them.
    ///
    /// A missing record is `Ok(None)`. A record past its expiry may be given or missing: the handle decides
    /// by the header. Each record is whole, as one `put` left it.
    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>>;

    /// Writes records, each as a whole and atomically with its precondition and its time to live; the
    /// rows of a call are not atomic together.
    ///
    /// A row whose precondition does not hold is not an error but [`PutOutcome::Refused`]. A write whose
    /// outcome is unknown fails with [`in_doubt`](crate::Error::in_doubt) set.
    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>>;

    /// Removes records, at once and physically. True when there was a record, expired or not.
    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>>;

    /// Streams the records of a scope, in no particular order, expired ones possibly among them.
    ///
    /// A record that exists during the whole scan is given at least once; one that is written or removed
    /// meanwhile may be given or not. A row that cannot be read is an `Err` and the stream goes on; after
    /// an error that ends the scan the stream ends. Other records are never given. Dropping the stream
    /// stops the scan.
    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>>;

    /// Removes every record of the scope that existed when the call began, and no other, without
    /// blocking readers. A record written meanwhile may be removed or stay. Run again after a failure:
    /// what is gone stays gone. Purging what is empty is `Ok`. A store that removes part by part adds each
    /// to `progress` as it goes.
    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport>;

    /// Asks the store how it is: whether it answers, and what an operator should know.
    async fn check(&self) -> Result<Health>;

    /// Makes acknowledged writes durable as far as the store's settings promise, and releases files and
    /// connections. Calls under way may fail. Closing twice is `Ok`.
    async fn close(&self) -> Result<()>;
}

/// What a single call brings besides its data.
#[derive(Clone, Copy, Debug)]
pub struct CallContext {
    /// When the caller stops waiting.
    pub deadline: tokio::time::Instant,
}

impl CallContext {
    /// A call that may take this long from now.
    pub fn with_timeout(timeout: Duration) -> Self {
        let now = tokio::time::Instant::now();
        // Far enough to mean "no deadline", near enough not to overflow.
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400 * 365));
        Self { deadline }
    }
}

/// A record as the store holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct VersionedRecord {
    /// The encoded record.
    pub bytes: Bytes,
    /// Tells two states of a record apart, for the backend that gave it; opaque to everyone else. A
    /// backend that compares the bytes themselves leaves it 0.
    pub version: u64,
}

impl fmt::Debug for VersionedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionedRecord({} bytes, version {})", self.bytes.len(), self.version)
    }
}

/// One record to write.
#[derive(Clone, Debug)]
pub struct RecordPut {
    /// Which record.
    pub key: RecordKey,
    /// The encoded record; its header holds the event time, the shape and the expiry instant.
    pub bytes: Bytes,
    /// The event time in the header, for stores that keep it beside the record.
    pub event_time: Timestamp,
    /// The shape in the header, likewise.
    pub shape: u64,
    /// After what time the store may reclaim the record; `None` is never. Already relative to now, since
    /// the handle's clock and a server's may differ; never zero. A store with a coarser unit rounds up.
    pub ttl: Option<Duration>,
    /// When the write may happen.
    pub precondition: Precondition,
}

/// When a [`RecordPut`] may replace what is stored. Judged atomically with the write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// If there is no record, or the stored event time is not newer than the put's and the stored shape
    /// is the put's.
    NotNewerSameShape,
    /// If there is no record, or the stored event time is not newer than the put's.
    NotNewer,
    /// If the stored record is exactly this one, or, for `None`, if there is no record.
    Unchanged(Option<VersionedRecord>),
}

/// What became of a [`RecordPut`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The record is stored.
    Stored,
    /// The precondition did not hold; nothing was changed. Carries the record that stood in the way if
    /// the backend has it at hand, which saves the handle a read; `None` says nothing about the record.
    Refused(Option<VersionedRecord>),
}

/// What a store can do, as data. A limit that is `None` does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name, as shown in errors and reports: `embedded`, `redis`, `aerospike`, …
    pub backend: &'static str,
    /// Largest encoded record, in bytes.
    pub max_record_bytes: Option<usize>,
    /// Longest canonical text of a [`RecordKey`], in bytes.
    pub max_key_bytes: Option<usize>,
    /// Longest time to live.
    pub max_ttl: Option<Duration>,
    /// Most rows the handle may put into one call; larger batches are sent in several.
    pub max_batch_rows: Option<usize>,
    /// How coarsely the store reclaims expired records. Reads are exact all the same.
    pub reclaim_granularity: Duration,
    /// Whether acknowledged writes survive a restart of the store.
    pub durable: bool,
}

impl Capabilities {
    /// A store without limits, that reclaims to the millisecond and keeps what it acknowledges.
    pub const fn new(backend: &'static str) -> Self {
        Self {
            backend,
            max_record_bytes: None,
            max_key_bytes: None,
            max_ttl: None,
            max_batch_rows: None,
            reclaim_granularity: Duration::from_millis(1),
            durable: true,
        }
    }
}

/// How far a purge has come, to be read while it runs. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct PurgeProgress(Arc<AtomicU64>);

impl PurgeProgress {
    /// Counts records that have been removed.
    pub fn add(&self, removed: u64) {
        self.0.fetch_add(removed, Ordering::Relaxed);
    }

    /// How many records have been removed so far.
    pub fn removed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// How many records were removed, expired ones included.
    pub removed: u64,
}

/// How a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Facts, by name: version, size, number of records, …
    pub facts: Vec<(String, String)>,
    /// What needs attention, and what to do about it. Empty when all is well.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_time_that_it_is_given_and_more_than_there_is_means_no_end() {
        let now = tokio::time::Instant::now();
        let after = |timeout| CallContext::with_timeout(timeout).deadline - now;
        let minute = Duration::from_secs(60);
        assert!((minute..2 * minute).contains(&after(minute)));
        assert!(after(Duration::MAX) > 300 * 1_440 * minute);
    }

    #[test]
    fn a_record_is_shown_by_its_size() {
        let record = VersionedRecord { bytes: Bytes::from_static(b"secret"), version: 7 };
        assert_eq!(format!("{record:?}"), "VersionedRecord(6 bytes, version 7)");
    }

    #[test]
    fn clones_of_a_progress_count_together() {
        let progress = PurgeProgress::default();
        progress.add(2);
        progress.clone().add(3);
        assert_eq!(progress.removed(), 5);
    }
}
