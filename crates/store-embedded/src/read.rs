//! Point reads.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use feature_core::{RecordKey, Result, VersionedRecord};

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
    // Not inline while compaction holds the database: a task must not wait for that.
    let inline = (keys.len() <= INLINE_KEYS)
        .then(|| engine.read_at_once(|records| Ok(rows(engine, records, keys))).ok())
        .flatten();
    let rows = match inline {
        Some(rows) => rows,
        None => {
            let keys = keys.to_vec();
            blocking(engine, move |engine| engine.read(|records| Ok(rows(engine, records, &keys)))).await
        }
    };
    rows.unwrap_or_else(|error| error.for_rows(keys.len()))
}

fn rows(engine: &Engine, records: &Records, keys: &[RecordKey]) -> Rows {
    // All records of a batch share one allocation.
    let mut bytes = Vec::new();
    let mut text = String::new();
    let mut find = |key: &RecordKey| {
        text.clear();
        key.write_text(&mut text);
        let Some(record) =
            records.get(text.as_bytes()).map_err(|error| from_redb(error.into(), &engine.name))?
        else {
            return Ok(None);
        };
        let (start, record) = (bytes.len(), record.value());
        if start == 0 {
            // Records of a view are of similar size.
            bytes.reserve(record.len().saturating_mul(keys.len()).min(1 << 20));
        }
        bytes.extend_from_slice(record);
        Ok(Some(start..bytes.len()))
    };
    let found: Vec<_> = keys.iter().map(&mut find).collect();
    let bytes = Bytes::from(bytes);
    let row = |place: Range<usize>| VersionedRecord { bytes: bytes.slice(place), version: 0 };
    found.into_iter().map(|found| Ok(found?.map(row))).collect()
}

/// A stored record. Its version is its bytes.
pub(crate) fn versioned(bytes: &[u8]) -> VersionedRecord {
    VersionedRecord { bytes: Bytes::copy_from_slice(bytes), version: 0 }
}
