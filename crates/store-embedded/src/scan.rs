//! Scans and purges: through a range in slices, with nothing held in between.

use std::sync::Arc;

use feature_core::{PurgeProgress, PurgeReport, RecordKey, Result, Scope, VersionedRecord};
use futures::stream::{self, BoxStream, StreamExt};

use crate::engine::{Engine, Records, blocking};
use crate::key::{self, KeyRange};
use crate::read::versioned;
use crate::write;
use crate::writer::Writer;

/// A slice of a scan ends when it has this many records,
const SCAN_RECORDS: usize = 256;
/// or this many bytes.
const SCAN_BYTES: usize = 4 << 20;
/// How many records of a purge share a transaction, which other writers wait for.
const PURGE_RECORDS: usize = 1_000;

type Row = Result<(RecordKey, VersionedRecord)>;

pub(crate) fn scan(engine: Arc<Engine>, scope: &Scope) -> BoxStream<'static, Row> {
    let slices = stream::unfold(Some(KeyRange::of(scope)), move |range| {
        let engine = Arc::clone(&engine);
        async move {
            let range = range?;
            let slice = blocking(&engine, move |engine| engine.read(|records| slice(records, range))).await;
            Some(slice.unwrap_or_else(|error| (vec![Err(error)], None)))
        }
    });
    slices.flat_map(stream::iter).boxed()
}

/// The records at the beginning of a range and, when there may be more, what is left of it.
fn slice(records: &Records, mut range: KeyRange) -> Result<(Vec<Row>, Option<KeyRange>), redb::Error> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    for entry in records.range::<&[u8]>(range.bounds())? {
        let (key, record) = entry?;
        let (key, record) = (key.value(), record.value());
        bytes += key.len() + record.len();
        rows.push(key::parse(key).map(|key| (key, versioned(record))));
        if rows.len() == SCAN_RECORDS || bytes >= SCAN_BYTES {
            range.pass(key.to_vec());
            return Ok((rows, Some(range)));
        }
    }
    Ok((rows, None))
}

/// One pass in the order of keys, up to the last key at the start: writers cannot keep it from ending.
pub(crate) async fn purge(
    engine: &Arc<Engine>,
    writer: &Writer,
    scope: &Scope,
    progress: &PurgeProgress,
) -> Result<PurgeReport> {
    let mut range = KeyRange::of(scope);
    let last = {
        let range = range.clone();
        blocking(engine, move |engine| {
            engine.read(|records| {
                let last = records.range::<&[u8]>(range.bounds())?.next_back().transpose()?;
                Ok(last.map(|(key, _)| key.value().to_vec()))
            })
        })
        .await?
    };
    let mut report = PurgeReport::default();
    let Some(last) = last else { return Ok(report) };
    range.end_with(last);
    let mut left = Some(range);
    while let Some(range) = left {
        let slice = writer.submit(PURGE_RECORDS, move |batch| write::purge(batch, range, PURGE_RECORDS));
        let (removed, rest) = slice.await.unwrap_or_else(|_| Err(engine.closed()))?;
        report.removed += removed;
        progress.add(removed);
        left = rest;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::filled;

    #[test]
    fn a_slice_ends_when_it_has_enough_records_or_bytes() {
        for (count, bytes, taken) in [(10, 10, 10), (300, 10, 256), (5, 3 << 19, 3)] {
            let range = KeyRange::of(&Scope::Store);
            let (rows, rest) = filled(count, bytes).read(|records| slice(records, range)).unwrap();
            assert_eq!((rows.len(), rest.is_some()), (taken, taken < count), "{count} of {bytes} bytes");
        }
    }
}
