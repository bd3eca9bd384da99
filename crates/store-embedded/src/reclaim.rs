//! Removal of expired records, in the background.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use feature_core::{RecordHeader, Result, Scope, Timestamp};

use crate::engine::{Engine, Records};
use crate::key::KeyRange;
use crate::writer::{Batch, Writer};

/// How many records are looked at in one snapshot, and at most removed in one transaction.
const SLICE: usize = 1_024;

/// Sweeps at each interval, until the other end of `stop` is dropped.
pub(crate) fn run(engine: &Arc<Engine>, writer: &Writer, interval: Duration, stop: &Receiver<Infallible>) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(interval) {
        engine.note_trouble(sweep(engine, writer).err());
    }
}

/// Removes the records that have expired by now; returns how many. Reads nothing while it is known that none
/// has.
pub(crate) fn sweep(engine: &Engine, writer: &Writer) -> Result<u64> {
    still_open(engine)?;
    let now = engine.clock.now();
    let earliest = engine.take_earliest_expiry();
    if earliest > now {
        engine.note_expiry(earliest);
        return Ok(0);
    }
    let removed = walk(engine, writer, now);
    // What the rest of an unfinished walk would have found is unknown.
    if removed.is_err() {
        engine.note_expiry(Timestamp::MIN);
    }
    removed
}

fn walk(engine: &Engine, writer: &Writer, now: Timestamp) -> Result<u64> {
    let mut removed = 0;
    let mut range = KeyRange::of(&Scope::Store);
    loop {
        still_open(engine)?;
        let Slice { expired, earliest, last } = engine.read(|records| look(records, &range, now))?;
        if let Some(earliest) = earliest {
            engine.note_expiry(earliest);
        }
        if !expired.is_empty() {
            let answer = writer.submit(expired.len(), move |batch| remove(batch, &expired, now));
            removed += answer.blocking_recv().unwrap_or_else(|_| Err(engine.closed()))?;
        }
        match last {
            Some(key) => range.pass(key),
            None => return Ok(removed),
        }
    }
}

/// A store that is being closed does not wait for the end of a sweep.
fn still_open(engine: &Engine) -> Result<()> {
    if engine.is_closing() { Err(engine.closed()) } else { Ok(()) }
}

#[derive(Default)]
struct Slice {
    /// The keys of what has expired.
    expired: Vec<Vec<u8>>,
    /// When the first of the others will.
    earliest: Option<Timestamp>,
    /// The slice's last key, when there may be more.
    last: Option<Vec<u8>>,
}

fn look(records: &Records, range: &KeyRange, now: Timestamp) -> Result<Slice, redb::Error> {
    let mut slice = Slice::default();
    for (count, entry) in records.range::<&[u8]>(range.bounds())?.enumerate() {
        let (key, record) = entry?;
        // What has no header never expires: it stays to be found.
        if let Ok(header) = RecordHeader::parse(record.value()) {
            if header.is_expired(now) {
                slice.expired.push(key.value().to_vec());
            } else {
                slice.earliest = slice.earliest.into_iter().chain(header.expires_at).min();
            }
        }
        if count + 1 == SLICE {
            slice.last = Some(key.value().to_vec());
            break;
        }
    }
    Ok(slice)
}

/// Removes those that nobody has rewritten.
fn remove(batch: &mut Batch<'_>, keys: &[Vec<u8>], now: Timestamp) -> Result<u64, redb::Error> {
    let mut removed = 0;
    for key in keys {
        let stored = batch.get(key)?;
        let expired =
            stored.as_ref().is_some_and(|r| RecordHeader::parse(r.value()).is_ok_and(|h| h.is_expired(now)));
        drop(stored);
        if expired && batch.remove(key)? {
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use feature_core::ErrorKind;

    use super::*;
    use crate::config::Durability;
    use crate::engine::tests::{engine, filled};
    use crate::writer;

    #[test]
    fn a_store_that_is_being_closed_is_not_swept() {
        let engine = Arc::new(engine());
        let (writer, thread) = writer::start(Arc::clone(&engine), Durability::Off).unwrap();
        assert_eq!(sweep(&engine, &writer).unwrap(), 0);
        engine.stop_background();
        assert_eq!(sweep(&engine, &writer).unwrap_err().kind(), ErrorKind::Unavailable);
        drop(writer);
        thread.join().unwrap();
    }

    #[test]
    fn so_many_records_are_looked_at_in_one_snapshot() {
        for (count, last) in [(1_023, None), (1_030, Some(&b"t:v:id=11023"[..]))] {
            let range = KeyRange::of(&Scope::Store);
            let look = filled(count, 1).read(|records| look(records, &range, Timestamp::MAX)).unwrap();
            assert_eq!((look.expired.len(), look.last.as_deref()), (0, last));
        }
    }
}
