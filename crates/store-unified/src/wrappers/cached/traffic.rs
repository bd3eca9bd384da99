//! Which records are being read and written at the moment.
//!
//! Two rules keep what is out of date from the cache and from later readers:
//!
//! - A fetch sits on each record it reads, so that others can join it. A write that begins, and again when
//!   it ends, unseats whatever sits on its records: nobody joins it any more, and what it brings is *stale*
//!   and counts nowhere but for those who had joined before.
//! - A fetch that begins while its record is being written is stale from the start, since nobody knows
//!   whether it reads the old or the new; nobody joins it.
//!
//! So what is not stale has been read after every write that has ended, and before any other began. Staleness
//! is a mark that the fetch shares with the entries it leaves in the cache; hence it does not matter which
//! comes first, the entry or the mark.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use feature_core::{RecordKey, Result, Scope, Timestamp, VersionedRecord};
use foldhash::fast::RandomState;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

/// The answer for one record.
pub(super) type Row = Result<Option<VersionedRecord>>;

/// What a fetch brings of one record.
pub(super) struct Answer {
    pub(super) row: Row,
    /// Whether the store fell back on another for it.
    pub(super) from_fallback: bool,
}

type Fetching = BoxFuture<'static, Arc<[Answer]>>;

/// A call on the store that several may wait for. It goes on as long as one does.
pub(super) type Fetch = Shared<Fetching>;

/// Of each row of a fetch, whether it is stale.
#[derive(Debug)]
pub(super) struct Marks(Box<[AtomicBool]>);

impl Marks {
    pub(super) fn new(stale: impl Iterator<Item = bool>) -> Arc<Self> {
        Arc::new(Self(stale.map(AtomicBool::new).collect()))
    }

    pub(super) fn is_stale(&self, number: usize) -> bool {
        self.0[number].load(Ordering::Acquire)
    }
}

/// Where a fetch reads a record.
pub(super) struct Seat {
    /// Weak, for what nobody waits for has to end, and with it leave its seats.
    pub(super) fetch: WeakShared<Fetching>,
    pub(super) marks: Arc<Marks>,
    /// The number of the record's row.
    pub(super) number: usize,
    /// When what it reads may be served: no more to who comes after the time to live than from the cache.
    pub(super) served: Range<Timestamp>,
    /// Until when it is waited for.
    pub(super) deadline: Instant,
}

impl Seat {
    fn mark_stale(&self) {
        self.marks.0[self.number].store(true, Ordering::Release);
    }
}

/// What is happening to a record; a record to which nothing happens has no entry.
#[derive(Default)]
struct Slot {
    writes: usize,
    seat: Option<Seat>,
}

impl Slot {
    fn unseat(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.mark_stale();
        }
    }

    fn is_idle(&self) -> bool {
        self.writes == 0 && self.seat.is_none()
    }
}

#[derive(Default)]
pub(super) struct State {
    slots: HashMap<RecordKey, Slot, RandomState>,
    /// What is being removed as a whole.
    purges: Vec<Scope>,
}

impl State {
    /// The fetch that sits on a record.
    pub(super) fn seat(&self, key: &RecordKey) -> Option<&Seat> {
        self.slots.get(key)?.seat.as_ref()
    }

    /// Whether a fetch that begins now is stale.
    pub(super) fn is_written(&self, key: &RecordKey) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.writes > 0)
            || self.purges.iter().any(|scope| scope.contains(key))
    }

    /// Takes the place of whatever sits on the record.
    pub(super) fn sit(&mut self, key: RecordKey, seat: Seat) {
        let slot = self.slots.entry(key).or_default();
        slot.unseat();
        slot.seat = Some(seat);
    }

    /// Removes what is left of a fetch that has ended.
    pub(super) fn leave<'a>(&mut self, keys: impl Iterator<Item = &'a RecordKey>, marks: &Arc<Marks>) {
        for key in keys {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.seat.take_if(|seat| Arc::ptr_eq(&seat.marks, marks));
                if slot.is_idle() {
                    self.slots.remove(key);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.purges.is_empty()
    }
}

/// The reads and writes under way.
#[derive(Default)]
pub(super) struct Traffic(Mutex<State>);

impl Traffic {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records are being written until the guard is dropped, whatever becomes of the write.
    pub(super) fn write(&self, keys: Vec<RecordKey>) -> Writing<'_> {
        let mut state = self.lock();
        for key in &keys {
            let slot = state.slots.entry(key.clone()).or_default();
            slot.writes += 1;
            slot.unseat();
        }
        Writing { traffic: self, keys }
    }

    /// Likewise a scope is being purged.
    pub(super) fn purge(&self, scope: &Scope) -> Purging<'_> {
        let purging = Purging { traffic: self, scope: scope.clone() };
        let mut state = self.lock();
        state.purges.push(scope.clone());
        purging.unseat(&mut state);
        purging
    }

    /// From now on every fetch is stale.
    pub(super) fn close(&self) {
        std::mem::forget(self.purge(&Scope::Store));
    }
}

/// See [`Traffic::write`].
pub(super) struct Writing<'a> {
    traffic: &'a Traffic,
    pub(super) keys: Vec<RecordKey>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut state = self.traffic.lock();
        for key in &self.keys {
            if let Some(slot) = state.slots.get_mut(key) {
                slot.writes -= 1;
                slot.unseat();
                if slot.is_idle() {
                    state.slots.remove(key);
                }
            }
        }
    }
}

/// See [`Traffic::purge`].
pub(super) struct Purging<'a> {
    traffic: &'a Traffic,
    scope: Scope,
}

impl Purging<'_> {
    fn unseat(&self, state: &mut State) {
        for (_, slot) in state.slots.iter_mut().filter(|(key, _)| self.scope.contains(key)) {
            slot.unseat();
        }
        state.slots.retain(|_, slot| !slot.is_idle());
    }
}

impl Drop for Purging<'_> {
    fn drop(&mut self) {
        let mut state = self.traffic.lock();
        if let Some(own) = state.purges.iter().position(|scope| *scope == self.scope) {
            state.purges.swap_remove(own);
        }
        self.unseat(&mut state);
    }
}
