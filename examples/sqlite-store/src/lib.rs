//! A backend of the online feature store on SQLite, in one file that several processes may share.
//!
//! ```no_run
//! # async fn example() -> feature_store::Result<()> {
//! use feature_store::Connector;
//! use sqlite_store::SqliteScheme;
//!
//! let store = Connector::new().scheme(SqliteScheme).open("sqlite:features.db").await?;
//! # Ok(())
//! # }
//! ```

mod error;
mod scheme;
mod sql;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use feature_store::futures::stream::{self, BoxStream, StreamExt};
use feature_store::{
    CallContext, Capabilities, Clock, Error, ErrorKind, Health, OnlineStoreBackend, PurgeProgress,
    PurgeReport, PutOutcome, RecordKey, RecordPut, Result, Scope, VersionedRecord, async_trait,
};
use rusqlite::Connection;

pub use scheme::SqliteScheme;

/// The backend's name in errors and reports.
pub(crate) const BACKEND: &str = "sqlite";
/// Largest record: SQLite's own limit is a billion bytes for a row, of which the key is a part.
const MAX_RECORD_BYTES: usize = 64 << 20;
/// Longest key. It is kept twice, in the table and in its index.
const MAX_KEY_BYTES: usize = 16 << 10;

/// Features in a file of SQLite.
///
/// SQLite has one writer at a time, so one connection writes; another reads, which the writer does not disturb.
/// Each call works on a thread that may block, and goes on there if its caller gives up.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Arc<Mutex<Option<Connection>>>,
    reader: Arc<Mutex<Option<Connection>>>,
    clock: Arc<dyn Clock>,
}

impl SqliteStore {
    /// Opens the file, or makes it. Blocks while the disk works.
    ///
    /// # Errors
    /// `InvalidArgument` for a file that is not a store, which is left as it is, and a folder that does not
    /// exist; `Unsupported` for a store of a later version; what the disk reports.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let writer = sql::open(path)?;
        let reader = sql::open(path)?;
        let share = |connection| Arc::new(Mutex::new(Some(connection)));
        Ok(Self { writer: share(writer), reader: share(reader), clock })
    }

    /// Works on a connection, where that may block.
    async fn with<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Option<Connection>>>,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = Arc::clone(connection);
        let blocking = move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(connection.as_mut().ok_or_else(closed)?)
        };
        tokio::task::spawn_blocking(blocking).await.unwrap_or_else(|ended| {
            Err(Error::new(ErrorKind::Internal, format!("the thread of the call has ended: {ended}")))
        })
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed").with_backend(BACKEND)
}

/// One outcome for each row: its own, or that of the call.
fn each_row<T>(rows: usize, answer: Result<Vec<Result<T>>>) -> Vec<Result<T>> {
    answer.unwrap_or_else(|error| (0..rows).map(|_| Err(error.clone())).collect())
}

#[async_trait]
impl OnlineStoreBackend for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.max_record_bytes = Some(MAX_RECORD_BYTES);
        capabilities.max_key_bytes = Some(MAX_KEY_BYTES);
        capabilities.durable = true;
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let texts: Vec<_> = keys.iter().map(ToString::to_string).collect();
        each_row(keys.len(), self.with(&self.reader, move |connection| sql::get(connection, &texts)).await)
    }

    async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        if puts.is_empty() {
            return Vec::new();
        }
        let (rows, now) = (puts.len(), self.clock.now());
        each_row(rows, self.with(&self.writer, move |connection| sql::put(connection, &puts, now)).await)
    }

    async fn delete(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let texts: Vec<_> = keys.iter().map(ToString::to_string).collect();
        each_row(keys.len(), self.with(&self.writer, move |connection| sql::delete(connection, &texts)).await)
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let (store, prefix) = (self.clone(), scope.prefix());
        // Page by page, so that a scan holds neither the connection nor the whole store.
        let pages = stream::unfold(Some(prefix.clone().into_bytes()), move |from| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let from = from?;
                match store.with(&store.reader, move |connection| sql::page(connection, &from, &prefix)).await
                {
                    Ok((rows, next)) => Some((rows, next)),
                    Err(error) => Some((vec![Err(error)], None)),
                }
            }
        });
        pages.flat_map(stream::iter).boxed()
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let prefix = scope.prefix();
        let last = self.with(&self.reader, sql::last_version).await?;
        let mut report = PurgeReport { removed: 0 };
        loop {
            let prefix = prefix.clone();
            let removed =
                self.with(&self.writer, move |connection| sql::purge_page(connection, &prefix, last)).await?;
            if removed == 0 {
                return Ok(report);
            }
            progress.add(removed);
            report.removed += removed;
        }
    }

    async fn check(&self) -> Result<Health> {
        let facts = self.with(&self.reader, sql::facts).await?;
        Ok(Health { facts, warnings: Vec::new() })
    }

    async fn close(&self) -> Result<()> {
        for connection in [Arc::clone(&self.reader), Arc::clone(&self.writer)] {
            let blocking = move || match connection.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(connection) => connection.close().map_err(|(_, error)| error::from_sqlite(error)),
                None => Ok(()),
            };
            tokio::task::spawn_blocking(blocking).await.unwrap_or_else(|_| Err(closed()))?;
        }
        Ok(())
    }
}
