//! The store.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Clock, Error, ErrorKind, Health, OnlineStoreBackend, PurgeProgress,
    PurgeReport, PutOutcome, Record, RecordKey, RecordPut, Result, Scope, SystemClock, VersionedRecord,
    format_duration,
};
use futures::stream::{BoxStream, StreamExt};
use redb::ReadableTableMetadata;

use crate::config::{Durability, EmbeddedConfig};
use crate::engine::{Engine, blocking};
use crate::error::BACKEND;
use crate::writer::{self, Writer};
use crate::{connect, read, reclaim, scan, write};

/// Largest encoded record, in bytes. The database takes more, but a commit and each reader would hold it
/// in memory as a whole.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
/// Longest canonical text of a record's key, in bytes.
pub const MAX_KEY_BYTES: usize = 64 << 10;

/// A store in one file, or in memory, inside this process.
///
/// Writes go through one thread, which puts whatever waits into one transaction; reads take a snapshot and
/// never wait. Dropping the store closes it and waits until that is done;
/// [`close`](OnlineStoreBackend::close) also says how it went.
#[derive(Debug)]
pub struct EmbeddedOnlineStore {
    engine: Arc<Engine>,
    writer: Writer,
    config: EmbeddedConfig,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    /// Dropped to wake and end the reclaimer.
    stop: Option<Sender<Infallible>>,
    handles: Vec<JoinHandle<()>>,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactReport {
    /// Size of the file before, in bytes.
    pub before_bytes: u64,
    /// Size of the file after, in bytes.
    pub after_bytes: u64,
}

/// What a verification found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many records there are, damaged ones included.
    pub records: u64,
    /// How many of them cannot be decoded, or have an invalid key.
    pub corrupt: u64,
    /// Whether the file was damaged in a way that could be, and has been, repaired.
    pub repaired: bool,
}

impl EmbeddedOnlineStore {
    /// Opens the file, or creates it, with the default settings. Blocks while the disk works; after a crash
    /// that includes a pass over the file.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::connect(EmbeddedConfig::file(path), Arc::new(SystemClock))
    }

    /// A new, empty store in memory.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn in_memory() -> Result<Self> {
        Self::connect(EmbeddedConfig::default(), Arc::new(SystemClock))
    }

    /// Opens a store with custom settings. The clock, which should be the one of the
    /// [`OnlineStore`](feature_core::OnlineStore) handle, decides what has expired and can be removed.
    ///
    /// # Errors
    /// `InvalidArgument` for impossible settings, a directory that does not exist, and a file that is not
    /// a store, which is left as it is; `Unavailable` while another process, or another store of this
    /// one, has the file open; `PermissionDenied`; `Corrupt` for a damaged file; `Unsupported` for a
    /// format that this version does not know.
    pub fn connect(config: EmbeddedConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let engine = Arc::new(connect::open(&config, clock)?);
        let no_thread = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}"))
                .with_backend(BACKEND)
        };
        let (writer, writes) = writer::start(Arc::clone(&engine), config.durability).map_err(no_thread)?;
        let interval = config.reclaim_interval;
        let store = Self {
            engine: Arc::clone(&engine),
            writer: writer.clone(),
            config,
            threads: Mutex::new(Threads { stop: None, handles: vec![writes] }),
        };
        let (stop, stopped) = mpsc::channel();
        let reclaims = std::thread::Builder::new()
            .name("feature-store-reclaim".to_owned())
            .spawn(move || reclaim::run(&engine, &writer, interval, &stopped))
            .map_err(no_thread)?;
        let mut threads = store.threads();
        threads.stop = Some(stop);
        threads.handles.push(reclaims);
        drop(threads);
        Ok(store)
    }

    /// Removes what has expired now rather than at the next interval; returns how many records those were.
    /// Blocks no reader.
    ///
    /// # Errors
    /// `Unavailable` when the store is closed; what reading and writing report.
    pub async fn reclaim_now(&self) -> Result<u64> {
        let writer = self.writer.clone();
        blocking(&self.engine, move |engine| reclaim::sweep(engine, &writer)).await
    }

    /// Gives room that is no longer used back to the file system. Other calls wait meanwhile; the time it
    /// takes grows with the size of the store.
    ///
    /// # Errors
    /// `Unsupported` for a store in memory; `Unavailable` when the store is closed; what the file reports.
    pub async fn compact(&self) -> Result<CompactReport> {
        let compacted = self.writer.submit_alone(|engine| {
            let before_bytes = file_bytes(engine)?;
            // Each pass makes what the one before could not move; most often one is enough.
            engine.alone(|db| {
                while db.compact()? {}
                Ok(())
            })?;
            Ok(CompactReport { before_bytes, after_bytes: file_bytes(engine)? })
        });
        compacted.await.unwrap_or_else(|_| Err(self.engine.closed()))
    }

    /// Reads everything: verifies every checksum of the file, then decodes every record. Other calls wait
    /// during the first part.
    ///
    /// # Errors
    /// `Corrupt` when the file is damaged beyond repair; `Unavailable` when the store is closed.
    pub async fn verify(&self) -> Result<VerifyReport> {
        let checked = self.writer.submit_alone(|engine| engine.alone(|db| Ok(db.check_integrity()?)));
        let intact = checked.await.unwrap_or_else(|_| Err(self.engine.closed()))?;
        let mut report = VerifyReport { repaired: !intact, ..VerifyReport::default() };
        let mut rows = self.scan(&Scope::Store);
        while let Some(row) = rows.next().await {
            report.records += 1;
            match row.and_then(|(_, record)| Record::decode(&record.bytes)) {
                Err(error) if error.kind() == ErrorKind::Corrupt => report.corrupt += 1,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(report)
    }

    /// Size of the file, in bytes.
    ///
    /// # Errors
    /// `Unsupported` for a store in memory; what the file system reports.
    pub fn file_bytes(&self) -> Result<u64> {
        file_bytes(&self.engine)
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_bytes(engine: &Engine) -> Result<u64> {
    let Some(path) = &engine.path else {
        let message = "the store is in memory and has no file";
        return Err(Error::new(ErrorKind::Unsupported, message).with_backend(BACKEND));
    };
    match path.metadata() {
        Ok(file) => Ok(file.len()),
        Err(error) => Err(crate::error::from_redb(redb::Error::Io(error), &engine.name)),
    }
}

impl Drop for EmbeddedOnlineStore {
    fn drop(&mut self) {
        self.engine.stop_background();
        drop(self.writer.submit_alone(Engine::close));
        let Threads { stop, handles } = std::mem::take(&mut *self.threads());
        drop(stop);
        for handle in handles {
            // Both threads contain their panics.
            let _ = handle.join();
        }
    }
}

#[async_trait]
impl OnlineStoreBackend for EmbeddedOnlineStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.max_record_bytes = Some(MAX_RECORD_BYTES);
        capabilities.max_key_bytes = Some(MAX_KEY_BYTES);
        capabilities.reclaim_granularity = self.config.reclaim_interval;
        capabilities.durable = self.engine.path.is_some();
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        read::get(&self.engine, keys).await
    }

    async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        let rows = puts.len();
        if rows == 0 {
            return Vec::new();
        }
        let answer = self.writer.submit(rows, move |batch| write::put(batch, &puts)).await;
        each_row(rows, answer.unwrap_or_else(|_| Err(self.engine.closed())))
    }

    async fn delete(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        let rows = keys.len();
        if rows == 0 {
            return Vec::new();
        }
        let keys = keys.to_vec();
        let answer = self.writer.submit(rows, move |batch| write::delete(batch, &keys)).await;
        each_row(rows, answer.unwrap_or_else(|_| Err(self.engine.closed())))
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        scan::scan(Arc::clone(&self.engine), scope)
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        scan::purge(&self.engine, &self.writer, scope, progress).await
    }

    async fn check(&self) -> Result<Health> {
        let records = blocking(&self.engine, |engine| engine.read(|records| Ok(records.len()?))).await?;
        let mut health = Health::default();
        let mut fact = |name: &str, value: String| health.facts.push((name.to_owned(), value));
        fact("path", self.engine.name.clone());
        fact("format", "1, on redb 4".to_owned());
        fact("records", records.to_string());
        if let Ok(bytes) = self.file_bytes() {
            fact("file_bytes", bytes.to_string());
            fact("durability", self.config.durability.to_string());
        }
        fact("cache_bytes", self.config.cache_bytes.to_string());
        fact("reclaim_interval", format_duration(self.config.reclaim_interval));
        let warnings = &mut health.warnings;
        match self.config.durability {
            _ if self.engine.path.is_none() => {
                warnings.push("the store is in memory: it is gone when the process ends".to_owned());
            }
            Durability::Off => warnings.push(
                "durability is off: a crash loses writes that were acknowledged; choose each_write or interval"
                    .to_owned(),
            ),
            Durability::EachWrite | Durability::Interval(_) => {}
        }
        if let Some(trouble) = self.engine.trouble() {
            warnings.push(format!("work in the background failed: {trouble}"));
        }
        Ok(health)
    }

    async fn close(&self) -> Result<()> {
        self.engine.stop_background();
        self.threads().stop.take();
        // No answer: it was closed before.
        self.writer.submit_alone(Engine::close).await.unwrap_or(Ok(()))
    }
}

/// The outcome of a call, row by row.
fn each_row<T>(rows: usize, outcome: Result<Vec<T>>) -> Vec<Result<T>> {
    match outcome {
        Ok(done) => done.into_iter().map(Ok).collect(),
        Err(error) => error.for_rows(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_verification_that_a_close_interrupts_finds_no_damage() {
        let store = EmbeddedOnlineStore::in_memory().unwrap();
        let (release, held) = mpsc::channel::<Infallible>();
        let _busy = store.writer.submit_alone(move |_| {
            let _ = held.recv();
            Ok(())
        });
        let mut verification = std::pin::pin!(store.verify());
        tokio::select! {
            biased;
            _ = &mut verification => panic!("its first part waits for the writer"),
            () = std::future::ready(()) => {}
        }
        drop(release);
        // Its turn comes between the check of the file and the reading of the records.
        store.close().await.unwrap();
        assert_eq!(verification.await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
