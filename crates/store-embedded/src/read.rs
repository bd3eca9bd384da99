//! Point reads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use feature_core::{RecordKey, Result, VersionedRecord};

use crate::cache::{Lookup, Place, RecordCache};
use crate::engine::{Engine, Records, blocking};
use crate::error::from_redb;

/// Up to this many keys are read on the calling task: that takes less time than switching threads.
const INLINE_KEYS: usize = 1_000;

type Rows = Vec<Result<Option<VersionedRecord>>>;

pub(crate) async fn get(engine: &Arc<Engine>, keys: &[RecordKey]) -> Rows {
    if keys.is_empty() {
        return Vec::new();
    }
    // A task that only reads must let others run now and then.
    tokio::task::coop::consume_budget().await;
    let (mut rows, missing) = cached(&engine.cache, keys);
    if missing.is_empty() {
        return rows;
    }
    let wanted: Vec<_> = missing.iter().filter_map(|(row, place)| Some((keys.get(*row)?, *place))).collect();
    // Not inline while compaction holds the database: a task must not wait for that.
    let inline = (missing.len() <= INLINE_KEYS)
        .then(|| engine.read_at_once(|records| Ok(stored(engine, records, wanted.iter().copied()))).ok())
        .flatten();
    let found = match inline {
        Some(found) => found,
        None => {
            let wanted: Vec<_> = wanted.iter().map(|(key, place)| ((*key).clone(), *place)).collect();
            blocking(engine, move |engine| {
                engine.read(|records| {
                    Ok(stored(engine, records, wanted.iter().map(|(key, place)| (key, *place))))
                })
            })
            .await
        }
    };
    let found = found.unwrap_or_else(|error| error.for_rows(missing.len()));
    for ((row, _), found) in missing.iter().zip(found) {
        if let Some(row) = rows.get_mut(*row) {
            *row = found;
        }
    }
    rows
}

/// A row for each key, and which of them are missing in the cache.
fn cached(cache: &RecordCache, keys: &[RecordKey]) -> (Rows, Vec<(usize, Place)>) {
    let (mut text, mut missing) = (String::new(), Vec::new());
    let row = |(row, key): (usize, &RecordKey)| {
        text.clear();
        key.write_text(&mut text);
        match cache.get(text.as_bytes()) {
            Lookup::Hit(bytes) => Ok(Some(VersionedRecord { bytes, version: 0 })),
            Lookup::Miss(place) => {
                missing.push((row, place));
                Ok(None)
            }
        }
    };
    (keys.iter().enumerate().map(row).collect(), missing)
}

/// What the database has of keys that the cache has not; it goes into the cache.
fn stored<'a>(
    engine: &Engine,
    records: &Records,
    wanted: impl ExactSizeIterator<Item = (&'a RecordKey, Place)>,
) -> Rows {
    // All records of a batch share one allocation.
    let (count, mut bytes) = (wanted.len(), Vec::new());
    let mut text = String::new();
    let find = |(key, place): (&RecordKey, Place)| {
        text.clear();
        key.write_text(&mut text);
        let Some(record) =
            records.get(text.as_bytes()).map_err(|error| from_redb(error.into(), &engine.name))?
        else {
            return Ok(None);
        };
        let (start, record) = (bytes.len(), record.value());
        engine.cache.put(place, text.as_bytes(), record);
        if start == 0 {
            // Records of a view are of similar size.
            bytes.reserve(record.len().saturating_mul(count).min(1 << 20));
        }
        bytes.extend_from_slice(record);
        Ok(Some(start..bytes.len()))
    };
    let found: Vec<_> = wanted.map(find).collect();
    let bytes = Bytes::from(bytes);
    let row = |place: Range<usize>| VersionedRecord { bytes: bytes.slice(place), version: 0 };
    found.into_iter().map(|found| Ok(found?.map(row))).collect()
}

/// A stored record. Its version is its bytes.
pub(crate) fn versioned(bytes: &[u8]) -> VersionedRecord {
    VersionedRecord { bytes: Bytes::copy_from_slice(bytes), version: 0 }
}
