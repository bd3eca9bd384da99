//! What is said to SQLite. Everything here blocks.

use std::path::Path;
use std::time::Duration;

use feature_store::bytes::Bytes;
use feature_store::{
    Error, ErrorKind, Precondition, PutOutcome, RecordKey, RecordPut, Result, Timestamp, VersionedRecord,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::error::from_sqlite;

/// Tells a store from other databases: `fsto`.
const APPLICATION: i64 = 0x6673_746f;
const FORMAT: i64 = 1;
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// Records that are read or removed at a time.
const PAGE: i64 = 500;
/// Expired records that a call which writes removes on the way.
const RECLAIMED: i64 = 100;

/// Keys are blobs, so that they are compared byte by byte. The version is the number of the row: `autoincrement`
/// never gives one twice, even when the row it belonged to is gone.
const TABLE: &str = "
    create table if not exists records (
        version    integer primary key autoincrement,
        key        blob not null unique,
        event_time integer not null,
        shape      integer not null,
        reclaim_at integer,
        record     blob not null
    );
    create index if not exists reclaimable on records (reclaim_at) where reclaim_at is not null;";

pub(crate) fn open(path: &Path) -> Result<Connection> {
    (|| {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let found = (pragma("application_id")?, pragma("user_version")?);
        let tables: i64 =
            transaction.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
        match found {
            (0, 0) if tables == 0 => {
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
                transaction.execute_batch(TABLE)?;
            }
            (APPLICATION, FORMAT) => {}
            (APPLICATION, later) => {
                return Ok(Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{} has format {later}, this software reads {FORMAT}; update it", path.display()),
                )));
            }
            _ => {
                return Ok(Err(Error::invalid_argument(format!(
                    "{} is another program's database; choose another path",
                    path.display()
                ))));
            }
        }
        transaction.commit()?;
        // Readers beside a writer, and every commit on the disk before it is acknowledged.
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        Ok(Ok(connection))
    })()
    .unwrap_or_else(|error| Err(from_sqlite(error)))
}

pub(crate) fn get(
    connection: &mut Connection,
    keys: &[String],
) -> Result<Vec<Result<Option<VersionedRecord>>>> {
    keys.iter().map(|key| Ok(find(connection, key).map_err(from_sqlite))).collect()
}

fn find(connection: &Connection, key: &str) -> rusqlite::Result<Option<VersionedRecord>> {
    let mut select = connection.prepare_cached("select version, record from records where key = ?1")?;
    select.query_row([key.as_bytes()], |row| versioned(row, 0)).optional()
}

fn versioned(row: &Row<'_>, at: usize) -> rusqlite::Result<VersionedRecord> {
    let version: i64 = row.get(at)?;
    Ok(VersionedRecord { version: version as u64, bytes: Bytes::from(row.get::<_, Vec<u8>>(at + 1)?) })
}

/// A transaction that writes: comparisons in it and what it writes are one step.
fn write<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(from_sqlite)?;
    let done = work(&transaction).map_err(from_sqlite)?;
    // Whether a commit that fails has reached the disk is not known.
    transaction.commit().map_err(|error| from_sqlite(error).with_in_doubt(true))?;
    Ok(done)
}

pub(crate) fn put(
    connection: &mut Connection,
    puts: &[RecordPut],
    now: Timestamp,
) -> Result<Vec<Result<PutOutcome>>> {
    write(connection, |transaction| {
        let outcomes = puts.iter().map(|put| Ok(Ok(put_one(transaction, put, now)?))).collect();
        let reclaim = "delete from records where version in (
            select version from records where reclaim_at <= ?1 limit ?2)";
        transaction.prepare_cached(reclaim)?.execute(params![now.as_micros(), RECLAIMED])?;
        outcomes
    })
}

fn put_one(transaction: &Transaction<'_>, put: &RecordPut, now: Timestamp) -> rusqlite::Result<PutOutcome> {
    let key = put.key.to_string();
    let mut select =
        transaction.prepare_cached("select event_time, shape, version from records where key = ?1")?;
    let found: Option<(i64, i64, i64)> =
        select.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let holds = match (&put.precondition, found) {
        (Precondition::Unchanged(expected), found) => {
            expected.as_ref().map(|expected| expected.version) == found.map(|found| found.2 as u64)
        }
        (_, None) => true,
        (precondition, Some((event_time, shape, _))) => {
            let same_shape = *precondition == Precondition::NotNewer || shape == put.shape as i64;
            same_shape && event_time <= put.event_time.as_micros()
        }
    };
    if !holds {
        return Ok(PutOutcome::Refused(find(transaction, &key)?));
    }
    let mut replace = transaction.prepare_cached(
        "replace into records (key, event_time, shape, reclaim_at, record) values (?1, ?2, ?3, ?4, ?5)",
    )?;
    replace.execute(params![
        key.as_bytes(),
        put.event_time.as_micros(),
        // All 64 bits: SQLite's integers have a sign, which equality does not mind.
        put.shape as i64,
        put.ttl.map(|ttl| now.saturating_add(ttl).as_micros()),
        &put.bytes[..],
    ])?;
    Ok(PutOutcome::Stored)
}

pub(crate) fn delete(connection: &mut Connection, keys: &[String]) -> Result<Vec<Result<bool>>> {
    write(connection, |transaction| {
        let mut delete = transaction.prepare_cached("delete from records where key = ?1")?;
        keys.iter().map(|key| Ok(Ok(delete.execute([key.as_bytes()])? > 0))).collect()
    })
}

/// Behind every key that begins with the prefix: no byte of UTF-8 is 0xff.
fn end(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[0xff]].concat()
}

type Page = (Vec<Result<(RecordKey, VersionedRecord)>>, Option<Vec<u8>>);

/// Some records of a scope, and where the next page begins.
pub(crate) fn page(connection: &mut Connection, from: &[u8], prefix: &str) -> Result<Page> {
    let select =
        "select key, version, record from records where key >= ?1 and key < ?2 order by key limit ?3";
    let rows = connection.prepare_cached(select).and_then(|mut select| {
        let rows = select.query_map(params![from, end(prefix), PAGE], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, versioned(row, 1)?))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    let rows = rows.map_err(from_sqlite)?;
    let full = rows.len() as i64 == PAGE;
    let next = rows.last().filter(|_| full).map(|(key, _)| [&key[..], &[0]].concat());
    Ok((rows.into_iter().map(|(key, record)| Ok((parse(&key)?, record))).collect(), next))
}

fn parse(key: &[u8]) -> Result<RecordKey> {
    let text = std::str::from_utf8(key)
        .map_err(|_| Error::corrupt(format!("`{}` is not a key of this store", key.escape_ascii())))?;
    RecordKey::parse(text)
}

/// The newest version: what is written later has a greater one.
pub(crate) fn last_version(connection: &mut Connection) -> Result<i64> {
    let select = "select ifnull(max(version), 0) from records";
    connection.query_row(select, [], |row| row.get(0)).map_err(from_sqlite)
}

/// Removes some records of a scope that are no newer than that; how many.
pub(crate) fn purge_page(connection: &mut Connection, prefix: &str, last: i64) -> Result<u64> {
    write(connection, |transaction| {
        let delete = "delete from records where version in (
            select version from records where key >= ?1 and key < ?2 and version <= ?3 limit ?4)";
        let mut delete = transaction.prepare_cached(delete)?;
        Ok(delete.execute(params![prefix.as_bytes(), end(prefix), last, PAGE])? as u64)
    })
}

pub(crate) fn facts(connection: &mut Connection) -> Result<Vec<(String, String)>> {
    let number = |name: &str, select: &str| -> Result<_> {
        let number: i64 = connection.query_row(select, [], |row| row.get(0)).map_err(from_sqlite)?;
        Ok((name.to_owned(), number.to_string()))
    };
    let sqlite = ("sqlite".to_owned(), rusqlite::version().to_owned());
    let bytes = "select page_count * page_size from pragma_page_count, pragma_page_size";
    Ok(vec![sqlite, number("records", "select count(*) from records")?, number("file_bytes", bytes)?])
}
