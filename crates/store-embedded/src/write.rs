//! Writes, inside a transaction of the writer.

use feature_core::{Precondition, PutOutcome, RecordHeader, RecordKey, RecordPut};

use crate::key::KeyRange;
use crate::read::versioned;
use crate::writer::Batch;

pub(crate) fn put(batch: &mut Batch<'_>, puts: &[RecordPut]) -> Result<Vec<PutOutcome>, redb::Error> {
    let mut text = String::new();
    let row = |put: &RecordPut| {
        text.clear();
        put.key.write_text(&mut text);
        put_one(batch, text.as_bytes(), put)
    };
    puts.iter().map(row).collect()
}

fn put_one(batch: &mut Batch<'_>, key: &[u8], put: &RecordPut) -> Result<PutOutcome, redb::Error> {
    let refused = batch.put_if(key, &put.bytes, |stored| match holds(put, stored) {
        true => None,
        false => Some(stored.map(versioned)),
    })?;
    Ok(refused.map_or(PutOutcome::Stored, PutOutcome::Refused))
}

/// Whether a put may replace what is stored.
fn holds(put: &RecordPut, stored: Option<&[u8]>) -> bool {
    let (same_shape, stored) = match (&put.precondition, stored) {
        (Precondition::Unchanged(expected), stored) => {
            return expected.as_ref().map(|record| &*record.bytes) == stored;
        }
        (_, None) => return true,
        (Precondition::NotNewerSameShape, Some(stored)) => (true, stored),
        (Precondition::NotNewer, Some(stored)) => (false, stored),
    };
    // What has no header is nothing that may be lost unseen: the refusal shows it to the caller.
    RecordHeader::parse(stored)
        .is_ok_and(|header| header.event_time <= put.event_time && (!same_shape || header.shape == put.shape))
}

pub(crate) fn delete(batch: &mut Batch<'_>, keys: &[RecordKey]) -> Result<Vec<bool>, redb::Error> {
    let mut text = String::new();
    let row = |key: &RecordKey| {
        text.clear();
        key.write_text(&mut text);
        batch.remove(text.as_bytes())
    };
    keys.iter().map(row).collect()
}

/// Removes up to `limit` records from the beginning of a range; returns how many those were and, when there
/// may be more, what is left of the range.
pub(crate) fn purge(
    batch: &mut Batch<'_>,
    mut range: KeyRange,
    limit: usize,
) -> Result<(u64, Option<KeyRange>), redb::Error> {
    let mut keys = batch.keys(&range, limit)?;
    for key in &keys {
        batch.remove(key)?;
    }
    let removed = keys.len();
    let last = keys.pop().filter(|_| removed == limit);
    let rest = last.map(|key| {
        range.pass(key);
        range
    });
    Ok((removed as u64, rest))
}
