//! The open database, and the only ways to reach it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError};

use feature_core::{Clock, Error, Result, Timestamp};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::cache::RecordCache;
use crate::error::{closed, failed_before, from_panic, from_redb};

/// Canonical text of a record's key, and the record.
pub(crate) const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

pub(crate) type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What readers, the writer and the reclaimer share.
///
/// Every transaction holds the lock shared for as long as it lives, so holding it exclusively proves that
/// there is none, which compaction requires. No transaction is held across an await.
pub(crate) struct Engine {
    db: RwLock<Option<Database>>,
    pub(crate) name: String,
    pub(crate) path: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cache: Arc<RecordCache>,
    /// No record expires before this, in microseconds; what is not known yet is `i64::MIN`.
    earliest_expiry: AtomicI64,
    closing: AtomicBool,
    trouble: Mutex<Option<Error>>,
    /// The first failure of the disk. The database accepts nothing after one, and says no more than that.
    failed: OnceLock<Error>,
}

impl Engine {
    pub(crate) fn new(
        db: Database,
        name: String,
        path: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        cache: Arc<RecordCache>,
    ) -> Self {
        Self {
            db: RwLock::new(Some(db)),
            name,
            path,
            clock,
            cache,
            earliest_expiry: AtomicI64::new(i64::MIN),
            closing: AtomicBool::new(false),
            trouble: Mutex::new(None),
            failed: OnceLock::new(),
        }
    }

    /// Works on the database, beside others.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        self.run(db.as_ref(), work)
    }

    /// Reads one snapshot of the records.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Records) -> Result<T, redb::Error>) -> Result<T> {
        self.with(|db| read(db, work))
    }

    /// As [`read`](Self::read), unless that would have to wait: then `Err` gives the work back.
    pub(crate) fn read_at_once<T, F>(&self, work: F) -> Result<Result<T>, F>
    where
        F: FnOnce(&Records) -> Result<T, redb::Error>,
    {
        let db = match self.db.try_read() {
            Ok(db) => db,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(work),
        };
        Ok(self.run(db.as_ref(), |db| read(db, work)))
    }

    /// Works on the database while nobody else does.
    pub(crate) fn alone<T>(&self, work: impl FnOnce(&mut Database) -> Result<T, redb::Error>) -> Result<T> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // A repair may take something back.
        self.cache.clear();
        self.run(db.as_mut(), work)
    }

    /// Makes everything durable and lets go of the file.
    pub(crate) fn close(&self) -> Result<()> {
        self.stop_background();
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        self.cache.clear();
        match db {
            Some(db) => self.run(Some(db), |db| Ok(db.close()?)),
            None => Ok(()),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.db.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub(crate) fn closed(&self) -> Error {
        closed(&self.name)
    }

    fn run<D, T>(&self, db: Option<D>, work: impl FnOnce(D) -> Result<T, redb::Error>) -> Result<T> {
        let result = contain(&self.name, || work(db.ok_or(redb::Error::DatabaseClosed)?));
        result.map_err(|error| {
            let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
            match source {
                Some(redb::Error::PreviousIo) => self.failed.get().map_or(error, failed_before),
                Some(redb::Error::Io(_)) => self.failed.get_or_init(|| error).clone(),
                _ => error,
            }
        })
    }

    /// Tells background work to stop.
    pub(crate) fn stop_background(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Takes note of when a record expires. To be called when the record can be read, not before, so that
    /// a sweep either sees the record or leaves the note.
    pub(crate) fn note_expiry(&self, expires_at: Timestamp) {
        self.earliest_expiry.fetch_min(expires_at.as_micros(), Ordering::SeqCst);
    }

    /// Takes the earliest expiry noted so far.
    pub(crate) fn take_earliest_expiry(&self) -> Timestamp {
        Timestamp::from_micros(self.earliest_expiry.swap(i64::MAX, Ordering::SeqCst))
    }

    /// Keeps how the latest work in the background went, for the store's health report.
    pub(crate) fn note_trouble(&self, trouble: Option<Error>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn read<T>(db: &Database, work: impl FnOnce(&Records) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    work(&db.begin_read()?.open_table(RECORDS)?)
}

/// Does what may meet a damaged file: the database trusts what it reads, and may panic.
pub(crate) fn contain<T>(store: &str, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| from_redb(error, store)),
        Err(panic) => Err(from_panic(&*panic, store)),
    }
}

/// Runs work that may wait for the disk on a thread where that does no harm.
pub(crate) async fn blocking<T: Send + 'static>(
    engine: &Arc<Engine>,
    work: impl FnOnce(&Arc<Engine>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let own = Arc::clone(engine);
    // The work contains its panics, so it fails to join only when the runtime is going down.
    tokio::task::spawn_blocking(move || work(&own)).await.unwrap_or_else(|_| Err(engine.closed()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;

    use feature_core::{ErrorKind, SystemClock};

    use super::*;
    use crate::config::EmbeddedConfig;
    use crate::connect;

    pub(crate) fn engine() -> Engine {
        connect::open(&EmbeddedConfig::default(), Arc::new(SystemClock)).unwrap()
    }

    /// With so many records of that many bytes, which are none, under keys from `t:v:id=10000` on.
    pub(crate) fn filled(count: usize, bytes: usize) -> Engine {
        let engine = engine();
        let fill = |db: &Database| {
            let txn = db.begin_write()?;
            for id in 10_000..10_000 + count {
                let key = format!("t:v:id={id}");
                txn.open_table(RECORDS)?.insert(key.as_bytes(), &*vec![0; bytes])?;
            }
            Ok(txn.commit()?)
        };
        engine.with(fill).unwrap();
        engine
    }

    #[test]
    fn what_failed_first_is_what_later_errors_say() {
        let engine = engine();
        let fail = |error: redb::Error| engine.with::<()>(|_| Err(error)).unwrap_err();
        assert!(fail(redb::Error::PreviousIo).message().contains("has failed before"));
        let full = fail(redb::Error::Io(io::ErrorKind::StorageFull.into()));
        assert_eq!((full.kind(), full.is_retryable()), (ErrorKind::Throttled, true));
        let other = fail(redb::Error::Io(io::ErrorKind::Other.into()));
        assert_eq!(other.message(), full.message());
        let later = fail(redb::Error::PreviousIo);
        assert_eq!((later.kind(), later.is_retryable()), (ErrorKind::Throttled, false));
        assert!(later.message().starts_with(full.message()), "{later}");
        assert!(later.message().contains("open the store again"), "{later}");
    }

    #[test]
    fn background_work_is_told_to_stop_and_its_trouble_is_kept_until_the_next_time() {
        let engine = engine();
        assert_eq!(format!("{engine:?}"), ":memory:");
        assert!(!engine.is_closing());
        engine.stop_background();
        assert!(engine.is_closing() && !engine.is_closed());
        engine.note_trouble(Some(engine.closed()));
        assert_eq!(engine.trouble().map(|trouble| trouble.kind()), Some(ErrorKind::Unavailable));
        engine.note_trouble(None);
        assert!(engine.trouble().is_none());
    }

    #[test]
    fn an_expiry_is_noted_until_it_is_taken() {
        let engine = engine();
        assert_eq!(engine.take_earliest_expiry(), Timestamp::MIN);
        for micros in [9, 7, 8] {
            engine.note_expiry(Timestamp::from_micros(micros));
        }
        assert_eq!(engine.take_earliest_expiry(), Timestamp::from_micros(7));
        assert_eq!(engine.take_earliest_expiry(), Timestamp::MAX);
    }
}
