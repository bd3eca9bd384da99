//! Brings records of one store to the state that another has, while both are written to. Why this is
//! sound is in ADR 7.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use feature_core::{
    CallContext, Clock, Error, ErrorKind, Features, OnlineStoreBackend, Precondition, PutOutcome, Record,
    RecordHeader, RecordKey, RecordPut, Result, Timestamp, VersionedRecord,
};
use tokio::time::Instant;

use super::rows::counted;

/// How long a target remembers that a record was deleted: longer than any copy of it can be under way.
const GRAVE: Duration = Duration::from_secs(600);
/// So that no two graves have the same bytes, which some stores would take for the same state.
const GRAVES: u64 = 1 << 24;
/// How often a record is looked at again once the target has been brought to where it had to be.
const LOOKS: u32 = 3;
/// How often other writers of the same record may get in first.
const ATTEMPTS: usize = 64;

/// Two stores, of which the second is to match the first.
#[derive(Clone, Copy)]
pub(crate) struct Link<'a> {
    pub(crate) source: &'a dyn OnlineStoreBackend,
    pub(crate) target: &'a dyn OnlineStoreBackend,
    pub(crate) clock: &'a dyn Clock,
    /// No write to the target may begin after this.
    pub(crate) until: Option<Instant>,
}

/// A record to be settled.
#[derive(Clone)]
pub(crate) struct Task {
    key: RecordKey,
    seen: Option<Seen>,
    /// Whether the target is to remember that there is nothing.
    bury: bool,
    /// Whether the target has once been brought to where the source was.
    reached: bool,
    looks: u32,
}

/// A state of the target, and one of the source that is not older.
#[derive(Clone)]
struct Seen {
    target: Option<VersionedRecord>,
    source: Option<Bytes>,
}

impl Task {
    /// A record of which nothing is known.
    pub(crate) fn new(key: RecordKey) -> Self {
        Self { key, seen: None, bury: false, reached: false, looks: 0 }
    }

    /// A record that was `target` in the target before it became `source` in the source.
    pub(crate) fn written(key: RecordKey, target: Option<VersionedRecord>, source: Bytes) -> Self {
        Self { seen: Some(Seen { target, source: Some(source) }), ..Self::new(key) }
    }

    /// A record that was `target` in the target before it was deleted in the source.
    pub(crate) fn deleted(key: RecordKey, target: Option<VersionedRecord>) -> Self {
        Self { seen: Some(Seen { target, source: None }), bury: true, ..Self::new(key) }
    }
}

/// What settling a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Both had the same.
    Equal,
    /// The target was changed.
    Changed,
}

/// The record, unless it has expired or marks a grave: what a reader would be given. What is damaged is
/// none of our business.
pub(crate) fn alive(bytes: &Bytes, now: Timestamp) -> Option<&Bytes> {
    let gone = RecordHeader::parse(bytes).is_ok_and(|header| header.is_expired(now) || is_grave(&header));
    (!gone).then_some(bytes)
}

/// Whether a reader would be given the same from both.
pub(crate) fn same(target: Option<&Bytes>, source: Option<&Bytes>, now: Timestamp) -> bool {
    let alive = |bytes| alive(bytes, now);
    target.and_then(alive) == source.and_then(alive)
}

/// The record without features that stands for a deleted one. A handle reads it as no record, and it gives
/// way to any write. It is not the retraction of a user, which has a floor.
fn grave(now: Timestamp) -> Record {
    let own = Duration::from_micros(fastrand::u64(..GRAVES));
    let expires_at = now.saturating_add(GRAVE).saturating_add(own);
    Record::of_write(Timestamp::MIN, Some(expires_at), Features::new())
}

pub(crate) fn is_grave(header: &RecordHeader) -> bool {
    header.features == 0 && header.event_time == Timestamp::MIN
}

/// The put that gives the target what the source has.
pub(crate) fn copy(
    key: RecordKey,
    source: Option<&Bytes>,
    ground: Option<VersionedRecord>,
    now: Timestamp,
) -> Result<RecordPut> {
    let bytes = match source.and_then(|bytes| alive(bytes, now)) {
        Some(bytes) => bytes.clone(),
        None => Bytes::from(grave(now).encode()?),
    };
    let header = RecordHeader::parse(&bytes).ok();
    let ttl = header.and_then(|header| header.expires_at).map(|at| at.since(now));
    Ok(RecordPut {
        key,
        event_time: header.map_or(Timestamp::MIN, |header| header.event_time),
        shape: header.map_or(0, |header| header.shape),
        ttl: ttl.map(|ttl| ttl.max(Duration::from_micros(1))),
        precondition: Precondition::Unchanged(ground),
        bytes,
    })
}

/// Brings each record of the target to a state that the source had when this began or later, or fails.
///
/// # Errors
/// Row by row: what either store reports; `Conflict` when other writers of a record kept getting in first;
/// `Unavailable` when it may no longer be done.
pub(crate) async fn settle(link: Link<'_>, tasks: Vec<Task>, call: CallContext) -> Vec<Result<Settled>> {
    let mut settling = Settling { link, call, results: vec![None; tasks.len()] };
    let mut open: Vec<(usize, Task)> = tasks.into_iter().enumerate().collect();
    let mut delays = std::iter::once(Duration::ZERO).chain(
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(50))
            .with_max_times(ATTEMPTS)
            .with_jitter()
            .build(),
    );
    loop {
        open = settling.look(open).await;
        open = settling.change(open).await;
        if open.is_empty() {
            break;
        }
        let Some(delay) = delays.next() else { break };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
    for (row, task) in open {
        settling.results[row] = Some(match task.reached {
            true => Ok(Settled::Changed),
            false => Err(Error::new(
                ErrorKind::Conflict,
                format!("other writers changed the record {ATTEMPTS} times while it was copied; try again"),
            )),
        });
    }
    let lost = || Err(Error::new(ErrorKind::Internal, "a record was lost sight of while it was copied"));
    settling.results.into_iter().map(|row| row.unwrap_or_else(lost)).collect()
}

struct Settling<'a> {
    link: Link<'a>,
    call: CallContext,
    results: Vec<Option<Result<Settled>>>,
}

impl Settling<'_> {
    /// Looks at those of which nothing is known: first at the target, then at the source. The order is
    /// what lets the target only go forwards.
    async fn look(&mut self, tasks: Vec<(usize, Task)>) -> Vec<(usize, Task)> {
        let (blind, mut open): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|(_, task)| task.seen.is_none());
        if blind.is_empty() {
            return open;
        }
        let keys: Vec<RecordKey> = blind.iter().map(|(_, task)| task.key.clone()).collect();
        let targets = counted(self.link.target.get(&keys, self.call).await, keys.len());
        let sources = counted(self.link.source.get(&keys, self.call).await, keys.len());
        for ((row, mut task), (target, source)) in blind.into_iter().zip(targets.into_iter().zip(sources)) {
            match target.and_then(|target| Ok((target, source?))) {
                Ok((target, source)) => {
                    task.seen = Some(Seen { target, source: source.map(|record| record.bytes) });
                    open.push((row, task));
                }
                Err(error) => self.results[row] = Some(Err(error)),
            }
        }
        open
    }

    /// Changes the target where it differs; gives back what must be looked at again.
    async fn change(&mut self, tasks: Vec<(usize, Task)>) -> Vec<(usize, Task)> {
        let now = self.link.clock.now();
        let mut changing = Vec::new();
        let mut puts = Vec::new();
        let mut damaged = Vec::new();
        for (row, mut task) in tasks {
            let Some(Seen { target, source }) = task.seen.take() else { continue };
            let equal = same(target.as_ref().map(|record| &record.bytes), source.as_ref(), now);
            if equal && !task.bury {
                let settled = if task.reached { Settled::Changed } else { Settled::Equal };
                self.results[row] = Some(Ok(settled));
                continue;
            }
            if target.as_ref().is_some_and(|record| RecordHeader::parse(&record.bytes).is_err()) {
                damaged.push((row, task));
                continue;
            }
            let put = copy(task.key.clone(), source.as_ref(), target, now);
            match put {
                Ok(put) => {
                    puts.push(put);
                    changing.push((row, task, source));
                }
                Err(error) => self.results[row] = Some(Err(error.with_key(&task.key))),
            }
        }
        let mut open = self.remove(damaged).await;
        if puts.is_empty() {
            return open;
        }
        // A process that stood still for too long must not write by what it knew before.
        if self.link.until.is_some_and(|until| Instant::now() > until) {
            let error = Error::new(ErrorKind::Unavailable, "the write stood still for too long; repeat it");
            for (row, task, _) in changing {
                self.results[row] =
                    Some(if task.reached { Ok(Settled::Changed) } else { Err(error.clone()) });
            }
            return open;
        }
        let outcomes = counted(self.link.target.put(puts, self.call).await, changing.len());
        let mut stored = Vec::new();
        for ((row, mut task, source), outcome) in changing.into_iter().zip(outcomes) {
            match outcome {
                Ok(PutOutcome::Stored) => {
                    (task.reached, task.bury) = (true, false);
                    stored.push((row, task, source));
                }
                Ok(PutOutcome::Refused(_)) => open.push((row, task)),
                Err(error) => self.results[row] = Some(Err(error)),
            }
        }
        self.look_back(stored, &mut open).await;
        open
    }

    /// Removes damaged records of the target, so that they can be looked at again: not every store can tell
    /// two of them apart.
    async fn remove(&mut self, damaged: Vec<(usize, Task)>) -> Vec<(usize, Task)> {
        if damaged.is_empty() {
            return damaged;
        }
        let keys: Vec<RecordKey> = damaged.iter().map(|(_, task)| task.key.clone()).collect();
        let removed = counted(self.link.target.delete(&keys, self.call).await, keys.len());
        let rows = damaged.into_iter().zip(removed);
        rows.filter_map(|((row, task), removed)| match removed {
            Ok(_) => Some((row, task)),
            Err(error) => {
                self.results[row] = Some(Err(error));
                None
            }
        })
        .collect()
    }

    /// Whether the source still has what the target was given. If not, most likely somebody has written
    /// since and settles it too; but where the source went backwards (a delete, a purge), it may be this
    /// put that went past that.
    async fn look_back(&mut self, stored: Vec<(usize, Task, Option<Bytes>)>, open: &mut Vec<(usize, Task)>) {
        if stored.is_empty() {
            return;
        }
        let keys: Vec<RecordKey> = stored.iter().map(|(_, task, _)| task.key.clone()).collect();
        let now = self.link.clock.now();
        let sources = counted(self.link.source.get(&keys, self.call).await, keys.len());
        for ((row, mut task, given), source) in stored.into_iter().zip(sources) {
            let still = source.map(|source| same(given.as_ref(), source.as_ref().map(|s| &s.bytes), now));
            task.looks += 1;
            match still {
                Ok(false) if task.looks < LOOKS => open.push((row, task)),
                // The target has been brought to where it had to be.
                _ => self.results[row] = Some(Ok(Settled::Changed)),
            }
        }
    }
}
