//! What was written, and what became of it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use feature_core::{FeatureRow, Timestamp};

use super::plan::COMMON_FEATURES;
use crate::case::START;

/// Remembers, for every entity and everything that is written on its own, which writes were acknowledged
/// and which may have taken effect. Each write has a number of its own, larger than those before.
pub(super) struct Ledger {
    entities: usize,
    /// By what is written, then by entity. What is written: the feature of each writer, then the common ones.
    slots: Mutex<Vec<Slot>>,
    numbers: AtomicI64,
}

/// One thing that is written on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// The newest write that was acknowledged; 0 is none.
    pub(super) acknowledged: i64,
    /// The newer writes that may have taken effect although they were reported as failed.
    pub(super) in_doubt: Vec<i64>,
}

/// What a write of an entity came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Acknowledged,
    InDoubt,
    Failed,
}

impl Ledger {
    pub(super) fn new(writers: usize, entities: usize) -> Self {
        let slots = vec![Slot::default(); (writers + 1) * entities];
        Self { entities, slots: Mutex::new(slots), numbers: AtomicI64::new(0) }
    }

    /// The number of the next write, from 1.
    pub(super) fn next(&self) -> i64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the newest write that was begun.
    pub(super) fn newest(&self) -> i64 {
        self.numbers.load(Ordering::Relaxed)
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what became of a write, for each entity of its batch.
    pub(super) fn settle(&self, what: usize, number: i64, fates: impl IntoIterator<Item = (usize, Fate)>) {
        let mut slots = self.slots();
        for (entity, fate) in fates {
            let slot = &mut slots[what * self.entities + entity];
            match fate {
                Fate::Acknowledged => slot.acknowledged = slot.acknowledged.max(number),
                Fate::InDoubt => slot.in_doubt.push(number),
                Fate::Failed => {}
            }
            let newest = slot.acknowledged;
            slot.in_doubt.retain(|number| *number > newest);
        }
    }

    pub(super) fn slot(&self, what: usize, entity: usize) -> Slot {
        self.slots()[what * self.entities + entity].clone()
    }

    /// The newest acknowledged write of each thing, for each of these entities.
    pub(super) fn acknowledged(&self, what: usize, entities: &[usize]) -> Vec<i64> {
        let slots = self.slots();
        entities.iter().map(|entity| slots[what * self.entities + entity].acknowledged).collect()
    }

    /// The value that a write gives an entity: its number, and whose it is.
    pub(super) fn value(&self, number: i64, entity: usize) -> i64 {
        number * self.entities as i64 + entity as i64
    }

    /// The number of the write that a feature comes from; 0 where there is none.
    ///
    /// # Errors
    /// The feature is one that was never written to this entity.
    pub(super) fn number_of(
        &self,
        row: Option<&FeatureRow>,
        feature: &str,
        entity: usize,
    ) -> Result<i64, String> {
        let Some(value) = row.and_then(|row| row.get(feature)) else { return Ok(0) };
        let time = row.and_then(|row| row.event_time(feature));
        let number = value.as_i64().unwrap_or(-1) / self.entities as i64;
        let written = 1..=self.newest();
        if written.contains(&number)
            && value.as_i64() == Some(self.value(number, entity))
            && time == Some(time_of(number))
        {
            return Ok(number);
        }
        Err(format!("entity {entity} has {feature} = {value:?} at {time:?}, which was never written"))
    }

    /// The number of the write that the common features come from; 0 where there are none.
    ///
    /// # Errors
    /// They were never written to this entity, or not together.
    pub(super) fn number_of_common(&self, row: Option<&FeatureRow>, entity: usize) -> Result<i64, String> {
        let mut numbers = COMMON_FEATURES.map(|feature| self.number_of(row, feature, entity)).into_iter();
        let first = numbers.next().unwrap_or(Ok(0))?;
        for number in numbers {
            let number = number?;
            if number != first {
                return Err(format!(
                    "entity {entity} has features of the writes {first} and {number} in one record, each of \
                     which wrote all of it"
                ));
            }
        }
        Ok(first)
    }
}

/// The event time of a write.
pub(super) fn time_of(number: i64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_acknowledgement_settles_older_doubts() {
        let ledger = Ledger::new(1, 2);
        ledger.settle(0, 5, [(1, Fate::InDoubt)]);
        ledger.settle(0, 7, [(1, Fate::InDoubt)]);
        ledger.settle(0, 6, [(1, Fate::Acknowledged)]);
        assert_eq!(ledger.slot(0, 1), Slot { acknowledged: 6, in_doubt: vec![7] });
        ledger.settle(0, 4, [(1, Fate::Acknowledged), (0, Fate::Failed)]);
        assert_eq!(ledger.slot(0, 1).acknowledged, 6);
        assert_eq!(ledger.slot(0, 0), Slot::default());
    }
}
