//! How far a load is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{IngestError, Result};
use crate::rejects::RejectSink;
use crate::row::Reject;

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Rows read.
    pub read: u64,
    /// Rows that the store has taken.
    pub written: u64,
    /// How many of those written were older than what the store had, or than another row of their batch.
    pub superseded: u64,
    /// Rows that are not written.
    pub rejected: u64,
    /// Rows whose event time was finer than a microsecond, and was cut.
    pub times_cut: u64,
    /// Bytes of the inputs that are read.
    pub bytes: u64,
    /// Bytes that the inputs have, where that is known.
    pub total_bytes: Option<u64>,
}

/// What all parts of a load share.
pub(crate) struct Tally {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) times_cut: AtomicU64,
    pub(crate) bytes: AtomicU64,
    total_bytes: Option<u64>,
    rejects: Mutex<Box<dyn RejectSink>>,
    /// What failed first, which tells more than what failed because of it.
    failure: Mutex<Option<IngestError>>,
}

impl Tally {
    pub(crate) fn new(rejects: Box<dyn RejectSink>, total_bytes: Option<u64>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            read: zero(),
            written: zero(),
            superseded: zero(),
            rejected: zero(),
            times_cut: zero(),
            bytes: zero(),
            total_bytes,
            rejects: Mutex::new(rejects),
            failure: Mutex::new(None),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Progress {
            read: count(&self.read),
            written: count(&self.written),
            superseded: count(&self.superseded),
            rejected: count(&self.rejected),
            times_cut: count(&self.times_cut),
            bytes: count(&self.bytes),
            total_bytes: self.total_bytes,
        }
    }

    /// Keeps a row that is not written.
    pub(crate) fn reject(&self, reject: Reject) -> Result<()> {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        lock(&self.rejects).reject(reject).map_err(|e| unkept(&e))
    }

    /// Makes sure that every such row is kept.
    pub(crate) fn flush(&self) -> Result<()> {
        lock(&self.rejects).flush().map_err(|e| unkept(&e))
    }

    /// Says that something failed; gives back what failed first.
    pub(crate) fn fail(&self, error: IngestError) -> IngestError {
        lock(&self.failure).get_or_insert(error).clone()
    }
}

fn unkept(e: &std::io::Error) -> IngestError {
    IngestError::Output(format!("cannot keep the rejected rows: {e}"))
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
