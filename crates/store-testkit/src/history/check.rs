//! Whether a history could be that of a single record to which one thing happens after the other.
//!
//! The method of Wing and Gong, with Lowe's memory of what has been tried: find an order of the operations in which
//! each takes effect between its invocation and its answer, and in which every answer is right.

use std::collections::HashSet;
use std::fmt;

/// What is stored: which put it comes from, by number; `None` without a record.
pub type State = Option<u32>;

/// A record that a history's puts write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its event time.
    pub time: i64,
    /// Its shape.
    pub shape: u64,
}

/// When a put may replace what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// [`Precondition::NotNewerSameShape`](feature_core::Precondition::NotNewerSameShape).
    NotNewerSameShape,
    /// [`Precondition::NotNewer`](feature_core::Precondition::NotNewer).
    NotNewer,
    /// [`Precondition::Unchanged`](feature_core::Precondition::Unchanged).
    Unchanged(State),
}

/// An operation, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// What was read.
    Get(State),
    /// The record of this number was stored.
    Stored(u32, Condition),
    /// The record of this number was refused, because of the one given, where one was given.
    Refused(u32, Condition, Option<u32>),
    /// The record was removed, or there was none.
    Deleted(bool),
    /// A put that may have happened, or may yet.
    PutInDoubt(u32, Condition),
    /// A delete that may have happened, or may yet.
    DeleteInDoubt,
}

/// An operation of a history. Instants are those of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// When it was asked for.
    pub invoked: u64,
    /// When the answer was there.
    pub answered: u64,
    /// What it was.
    pub event: Event,
}

impl Operation {
    /// By when it has taken effect, if at all.
    fn deadline(&self) -> u64 {
        match self.event {
            Event::PutInDoubt(..) | Event::DeleteInDoubt => u64::MAX,
            _ => self.answered,
        }
    }

    /// Whether it may be left out of a history without making a right one wrong.
    fn changes_nothing(&self) -> bool {
        matches!(self.event, Event::Get(_) | Event::Refused(..) | Event::Deleted(false))
    }
}

/// What happened to one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The records that its puts write, by number.
    pub records: Vec<Written>,
    /// At most 64 are looked at.
    pub operations: Vec<Operation>,
}

impl History {
    /// Whether some order explains all answers.
    pub fn is_linearizable(&self) -> bool {
        let all = self.operations.iter().enumerate().take(64);
        let required = all.filter(|(_, op)| op.deadline() < u64::MAX).fold(0, |mask, (at, _)| mask | 1 << at);
        let mut tried = HashSet::new();
        let mut open = vec![(0_u64, None)];
        while let Some((done, state)) = open.pop() {
            if done & required == required {
                return true;
            }
            if !tried.insert((done, state)) {
                continue;
            }
            let left = || self.operations.iter().enumerate().take(64).filter(|(at, _)| done & (1 << at) == 0);
            // Whatever comes next was asked for before any that is left had been answered.
            let until = left().map(|(_, op)| op.deadline()).min().unwrap_or(u64::MAX);
            for (at, op) in left().filter(|(_, op)| op.invoked < until) {
                open.extend(self.after(state, op.event).map(|state| (done | 1 << at, state)));
            }
        }
        false
    }

    /// What is stored after an operation, if it can give its answer in this state.
    fn after(&self, state: State, event: Event) -> Option<State> {
        match event {
            Event::Get(found) => (found == state).then_some(state),
            Event::Stored(put, condition) => self.holds(state, put, condition).then_some(Some(put)),
            Event::Refused(put, condition, because) => {
                let explained = because.is_none_or(|because| state == Some(because));
                (explained && !self.holds(state, put, condition)).then_some(state)
            }
            Event::Deleted(existed) => (existed == state.is_some()).then_some(None),
            Event::PutInDoubt(put, condition) if self.holds(state, put, condition) => Some(Some(put)),
            Event::PutInDoubt(..) => None,
            Event::DeleteInDoubt => Some(None),
        }
    }

    fn holds(&self, state: State, put: u32, condition: Condition) -> bool {
        let written = |number: u32| self.records.get(number as usize);
        let (Some(new), stored) = (written(put), state.and_then(written)) else { return false };
        let not_newer = stored.is_none_or(|stored| stored.time <= new.time);
        match condition {
            Condition::NotNewer => not_newer,
            Condition::NotNewerSameShape => {
                not_newer && stored.is_none_or(|stored| stored.shape == new.shape)
            }
            Condition::Unchanged(expected) => state == expected,
        }
    }

    /// The smallest part of a wrong history that is wrong in itself: up to the first answer that nothing
    /// explains, without operations that changed nothing and are not needed.
    #[must_use]
    pub fn minimal(&self) -> Self {
        let mut ends: Vec<u64> = self.operations.iter().map(|op| op.answered).collect();
        ends.sort_unstable();
        let wrong = |part: &Self| !part.is_linearizable();
        let mut part =
            ends.into_iter().map(|end| self.until(end)).find(wrong).unwrap_or_else(|| self.clone());
        for at in (0..part.operations.len()).rev() {
            if part.operations[at].changes_nothing() {
                let mut less = part.clone();
                less.operations.remove(at);
                if wrong(&less) {
                    part = less;
                }
            }
        }
        part
    }

    /// What was known at an instant: what had not been answered then is in doubt.
    fn until(&self, end: u64) -> Self {
        let known = |op: &Operation| {
            let event = match op.event {
                event if op.answered <= end => event,
                Event::Stored(put, condition) | Event::Refused(put, condition, _) => {
                    Event::PutInDoubt(put, condition)
                }
                Event::Deleted(_) => Event::DeleteInDoubt,
                Event::Get(_) => return None,
                doubtful => doubtful,
            };
            (op.invoked <= end).then_some(Operation { event, ..*op })
        };
        Self { records: self.records.clone(), operations: self.operations.iter().filter_map(known).collect() }
    }
}

impl fmt::Display for History {
    /// A line for each operation, in the order of their invocations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut operations = self.operations.clone();
        operations.sort_by_key(|op| op.invoked);
        for Operation { client, invoked, answered, event } in operations {
            writeln!(f, "  client {client}, {invoked:>3} to {answered:>3}: {event:?}")?;
        }
        for (number, Written { time, shape }) in self.records.iter().enumerate() {
            writeln!(f, "  record {number}: event time {time}, shape {shape:x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations one after the other unless their spans overlap; three records of times 1, 2, 3.
    fn history(operations: &[(u64, u64, Event)]) -> History {
        let records = (1..=3).map(|time| Written { time, shape: 7 }).collect();
        let operation = |(client, (invoked, answered, event)): (usize, &(u64, u64, Event))| Operation {
            client,
            invoked: *invoked,
            answered: *answered,
            event: *event,
        };
        History { records, operations: operations.iter().enumerate().map(operation).collect() }
    }

    use Condition::{NotNewer, Unchanged};
    use Event::{DeleteInDoubt, Deleted, Get, PutInDoubt, Refused, Stored};

    #[test]
    fn what_one_client_does_is_explained_by_its_own_order_alone() {
        assert!(
            history(&[(0, 1, Get(None)), (2, 3, Stored(0, NotNewer)), (4, 5, Get(Some(0)))])
                .is_linearizable()
        );
        assert!(!history(&[(0, 1, Stored(0, NotNewer)), (2, 3, Get(None))]).is_linearizable());
        assert!(!history(&[(0, 1, Stored(1, NotNewer)), (2, 3, Stored(0, NotNewer))]).is_linearizable());
        assert!(
            history(&[(0, 1, Stored(1, NotNewer)), (2, 3, Refused(0, NotNewer, Some(1)))]).is_linearizable()
        );
        assert!(
            !history(&[(0, 1, Stored(1, NotNewer)), (2, 3, Refused(2, NotNewer, None))]).is_linearizable()
        );
    }

    #[test]
    fn operations_at_once_may_have_happened_in_either_order() {
        let during = |seen| history(&[(0, 9, Stored(0, NotNewer)), (1, 2, Get(seen))]);
        assert!(during(None).is_linearizable() && during(Some(0)).is_linearizable());
        assert!(!during(Some(1)).is_linearizable());
        // But not back and forth.
        let back = history(&[(0, 9, Stored(0, NotNewer)), (1, 2, Get(Some(0))), (3, 4, Get(None))]);
        assert!(!back.is_linearizable());
    }

    #[test]
    fn each_anomaly_is_seen() {
        let first = (0, 1, Stored(0, NotNewer));
        for (what, operations) in [
            ("stale read", vec![first, (2, 3, Stored(1, NotNewer)), (4, 5, Get(Some(0)))]),
            (
                "lost update",
                vec![first, (2, 5, Stored(1, Unchanged(Some(0)))), (3, 6, Stored(2, Unchanged(Some(0))))],
            ),
            (
                "dirty read",
                vec![(0, 1, Stored(2, NotNewer)), (2, 5, Refused(0, NotNewer, None)), (3, 4, Get(Some(0)))],
            ),
            ("resurrected delete", vec![first, (2, 3, Deleted(true)), (4, 5, Get(Some(0)))]),
            ("two winners", vec![(0, 2, Stored(0, Unchanged(None))), (1, 3, Stored(1, Unchanged(None)))]),
            (
                "an outdated reason",
                vec![first, (2, 3, Stored(1, NotNewer)), (4, 5, Refused(2, Unchanged(None), Some(0)))],
            ),
        ] {
            assert!(!history(&operations).is_linearizable(), "{what}");
        }
    }

    #[test]
    fn what_is_in_doubt_may_happen_late_or_never() {
        let seen = |state| history(&[(0, 1, PutInDoubt(0, NotNewer)), (2, 3, Get(None)), (4, 5, Get(state))]);
        assert!(seen(None).is_linearizable() && seen(Some(0)).is_linearizable());
        let gone = history(&[(0, 1, Stored(0, NotNewer)), (2, 3, DeleteInDoubt), (4, 5, Get(None))]);
        assert!(gone.is_linearizable());
        let back =
            [(0, 1, Stored(0, NotNewer)), (2, 3, DeleteInDoubt), (4, 5, Get(None)), (6, 7, Get(Some(0)))];
        assert!(!history(&back).is_linearizable());
    }

    #[test]
    fn a_wrong_history_is_cut_down_to_what_is_wrong_with_it() {
        let wrong = history(&[
            (0, 1, Get(None)),
            (2, 3, Stored(0, NotNewer)),
            (4, 5, Get(Some(0))),
            (6, 7, Get(None)),
            (8, 9, Stored(1, NotNewer)),
        ]);
        assert_eq!(wrong.minimal().operations, [wrong.operations[1], wrong.operations[3]]);
    }
}
