//! The rows of a batch that concern one entity, and what they come to.

use super::WriteOutcome;
use crate::error::Result;
use crate::key::RecordKey;
use crate::merge::merge;
use crate::record::Record;

/// Of a row, once it is known.
pub(super) type Outcome = Option<Result<WriteOutcome>>;

/// What a batch brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes: on equal event times what arrives wins.
    Writes,
    /// Whole records, such as those of a backup: what is stored wins, since it may have come after them.
    Records,
}

/// All rows of a batch that concern one entity, and the one record that they come to.
pub(super) struct Group {
    pub(super) key: RecordKey,
    pub(super) kind: Kind,
    /// Index of the first row, and the row as a record of its own.
    pub(super) first: (usize, Record),
    /// The same for the other rows; mostly there are none.
    pub(super) more: Vec<(usize, Record)>,
}

impl Group {
    pub(super) fn rows(&self) -> impl Iterator<Item = &(usize, Record)> + Clone {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The rows merged, in their order.
    pub(super) fn merged(&self) -> Incoming {
        if self.more.is_empty() {
            return Incoming::Row(0);
        }
        let names = self.first.1.features.names();
        let alike = |record: &Record| {
            record.is_uniform() && record.floor.is_none() && record.features.names() == names
        };
        let rows = self.rows().map(|(_, record)| record);
        if rows.clone().all(alike) {
            // Rows that name the same features merge to the newest of them; of equal times `max` gives the last.
            let newest = rows.enumerate().max_by_key(|(_, record)| record.event_time);
            return Incoming::Row(newest.map_or(0, |(place, _)| place));
        }
        let first = self.first.1.clone();
        Incoming::Merged(Box::new(rows.skip(1).cloned().fold(first, merge)))
    }

    /// The row at this place, as a record.
    pub(super) fn record(&self, place: usize) -> &Record {
        place
            .checked_sub(1)
            .and_then(|place| self.more.get(place))
            .map_or(&self.first.1, |(_, record)| record)
    }
}

/// What the rows of a group come to.
pub(super) enum Incoming {
    /// The row at this place of the group.
    Row(usize),
    /// A record made of several. Boxed, since few groups have one.
    Merged(Box<Record>),
}

impl Kind {
    /// What is stored, joined with what the batch brings.
    pub(super) fn merge(self, stored: Record, brought: Record) -> Record {
        match self {
            Self::Writes => merge(stored, brought),
            Self::Records => merge(brought, stored),
        }
    }
}

/// A group on its way into the store.
pub(super) struct Attempt {
    pub(super) group: Group,
    pub(super) incoming: Incoming,
    /// What the put stores, where that is not `incoming`.
    pub(super) merged: Option<Box<Record>>,
}

impl Attempt {
    pub(super) fn incoming(&self) -> &Record {
        match &self.incoming {
            Incoming::Row(place) => self.group.record(*place),
            Incoming::Merged(record) => record,
        }
    }
}

/// Says for each row of a group whether something of it is part of the record that the store now has; of a
/// whole record, whether the store has been `changed`.
pub(super) fn settle(group: &Group, result: &Record, changed: bool, outcomes: &mut [Outcome]) {
    for (row, write) in group.rows() {
        if group.kind == Kind::Records {
            let outcome = if changed { WriteOutcome::Applied } else { WriteOutcome::Superseded };
            outcomes[*row] = Some(Ok(outcome));
            continue;
        }
        if result.times.is_empty() && write.floor.is_none() && write.event_time != result.event_time {
            // Every feature of the record has another time.
            outcomes[*row] = Some(Ok(WriteOutcome::Superseded));
            continue;
        }
        let counts = |name| result.get(name).is_some_and(|f| f.event_time == write.event_time);
        let applied = std::ptr::eq(write, result)
            || (write.floor.is_some() && write.floor == result.floor)
            || write.features.iter().any(|(name, _)| counts(name));
        outcomes[*row] = Some(Ok(if applied { WriteOutcome::Applied } else { WriteOutcome::Superseded }));
    }
}
