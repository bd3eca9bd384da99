//! Opening and creating.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use feature_core::{Clock, Error, ErrorKind, Result};
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, TableError,
};

use crate::cache::RecordCache;
use crate::config::EmbeddedConfig;
use crate::engine::{Engine, RECORDS, contain};
use crate::error::{BACKEND, foreign, from_redb};

/// Says that a database is a feature store, and in which format.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("feature-store");
const FORMAT: (&str, u64) = ("format", 1);

/// What a database turns out to be.
enum Found {
    Store,
    Newer(u64),
    Empty,
    Foreign,
}

pub(crate) fn open(config: &EmbeddedConfig, clock: Arc<dyn Clock>) -> Result<Engine> {
    config.validate()?;
    let mut builder = Builder::new();
    // Half is for pages, which writes and scans need; half for records.
    let half = config.cache_bytes / 2;
    builder.set_cache_size(half).set_check_integrity_on_open(config.check_on_open);
    let name = config.name();
    let db = match &config.path {
        Some(path) => open_file(&builder, path, &name)?,
        None => contain(&name, || {
            let db = builder.create_with_backend(InMemoryBackend::new())?;
            initialise(&db)?;
            Ok(db)
        })?,
    };
    Ok(Engine::new(db, name, config.path.clone(), clock, Arc::new(RecordCache::new(half))))
}

fn open_file(builder: &Builder, path: &Path, name: &str) -> Result<Database> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(from_io(io::ErrorKind::IsADirectory.into(), name)),
        // An open for writing leaves traces even in a database that turns out to be someone else's.
        Ok(found) if found.len() > 0 => {
            if let Some(found) = contain(name, || inspect_unopened(builder, path))? {
                accept(&found, name)?;
            }
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_file(builder, path, name)?,
        Err(error) => return Err(from_io(error, name)),
    }
    let (db, found) = contain(name, || {
        let db = builder.create(path)?;
        let found = inspect(&db.begin_read()?)?;
        if let Found::Empty = found {
            initialise(&db)?;
        }
        Ok((db, found))
    })?;
    accept(&found, name)?;
    Ok(db)
}

/// Makes the file complete under another name first, so that a crash cannot leave half of one.
fn create_file(builder: &Builder, path: &Path, name: &str) -> Result<()> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut draft = OsString::from(path);
    draft.push(format!(".{}-{}.new", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
    let draft = PathBuf::from(draft);
    let made = contain(name, || {
        let db = builder.create(&draft)?;
        initialise(&db)?;
        Ok(db.close()?)
    });
    let placed = made.and_then(|()| match fs::hard_link(&draft, path) {
        // Someone else got in first: theirs is the store.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Not every file system has links.
        Err(_) => fs::rename(&draft, path).map_err(|error| from_io(error, name)),
        Ok(()) => Ok(()),
    });
    // After a rename there is nothing left to remove.
    let _ = fs::remove_file(&draft);
    // Where a directory can be synced, the new name survives a crash of the machine.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let _ = fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
    placed
}

fn initialise(db: &Database) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    txn.open_table(ABOUT)?.insert(FORMAT.0, FORMAT.1)?;
    txn.open_table(RECORDS)?;
    Ok(txn.commit()?)
}

/// Looks at a database without writing to it; `None` when it cannot be read before it is recovered.
fn inspect_unopened(builder: &Builder, path: &Path) -> Result<Option<Found>, redb::Error> {
    match builder.open_read_only(path) {
        Ok(db) => inspect(&db.begin_read()?).map(Some),
        Err(DatabaseError::RepairAborted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn inspect(txn: &ReadTransaction) -> Result<Found, redb::Error> {
    match txn.open_table(ABOUT) {
        Ok(about) => Ok(match about.get(FORMAT.0)?.map(|version| version.value()) {
            Some(version) if version == FORMAT.1 => Found::Store,
            Some(version) => Found::Newer(version),
            None => Found::Foreign,
        }),
        Err(TableError::TableDoesNotExist(_)) => {
            let empty = txn.list_tables()?.next().is_none() && txn.list_multimap_tables()?.next().is_none();
            Ok(if empty { Found::Empty } else { Found::Foreign })
        }
        Err(TableError::Storage(error)) => Err(error.into()),
        Err(_) => Ok(Found::Foreign),
    }
}

fn accept(found: &Found, name: &str) -> Result<()> {
    match found {
        Found::Store | Found::Empty => Ok(()),
        Found::Foreign => Err(foreign(name)),
        Found::Newer(version) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("`{name}` has format {version}, this software reads format {}; update it", FORMAT.1),
        )
        .with_backend(BACKEND)),
    }
}

fn from_io(error: io::Error, name: &str) -> Error {
    from_redb(redb::Error::Io(error), name)
}
