//! The reference model: the store's promises, computed the naive way.
//!
//! It keeps every write of an entity, in order of arrival, and works out from the whole list what a read
//! must give. It shares no code with the merge that it judges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use feature_core::{
    FeatureRow, FeatureStatus, FeatureValue, FeatureWrite, RecordKey, Scope, Timestamp, Ttl, ViewKey,
    WriteMode, WriteOutcome,
};

/// All writes to all entities, under one clock that the caller moves.
#[derive(Clone, Debug)]
pub struct Model {
    /// The present instant; must not move backwards.
    pub now: Timestamp,
    records: BTreeMap<String, (RecordKey, History)>,
}

/// The writes to one entity since the record last ceased to be, in order of arrival.
type History = Vec<Write>;

#[derive(Clone, Debug)]
struct Write {
    event_time: Timestamp,
    expires_at: Option<Timestamp>,
    replaces: bool,
    features: BTreeMap<String, FeatureValue>,
}

/// What a read must give of one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRow {
    /// The newest event time of the record.
    pub timestamp: Timestamp,
    /// When the record expires.
    pub expires_at: Option<Timestamp>,
    /// The features asked for, in that order, or all, sorted by name.
    pub features: Vec<ModelFeature>,
}

/// What a read must give of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFeature {
    /// Its name.
    pub name: String,
    /// What there is to say of it.
    pub status: FeatureStatus,
    /// Its value; null unless present.
    pub value: FeatureValue,
    /// When it was written, unless there is no such feature.
    pub event_time: Option<Timestamp>,
}

impl Model {
    /// A store without records.
    pub fn new(now: Timestamp) -> Self {
        Self { now, records: BTreeMap::new() }
    }

    /// Writes rows to a view, one after the other, and says what becomes of each.
    pub fn write(&mut self, view: &ViewKey, rows: &[FeatureWrite]) -> Vec<WriteOutcome> {
        let mut written = Vec::new();
        for row in rows {
            let key = RecordKey::new(view.clone(), row.entity_key.clone());
            let expires_at = match row.ttl {
                Some(Ttl::After(lifetime)) => Some(self.now.saturating_add(lifetime)),
                Some(Ttl::Never) | None => None,
            };
            let write = Write {
                event_time: row.timestamp.unwrap_or(self.now),
                expires_at,
                replaces: row.mode == WriteMode::Replace,
                features: row.features.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            };
            written.push((key.to_string(), write.clone()));
            if self.history(&key).is_none() {
                // What has expired is as if it had never been.
                self.records.remove(&key.to_string());
            }
            self.records.entry(key.to_string()).or_insert_with(|| (key, History::new())).1.push(write);
        }
        written.iter().map(|(text, write)| self.outcome(&self.records[text].1, write)).collect()
    }

    /// A write counts if the record still shows its effect when the whole batch is in.
    fn outcome(&self, history: &History, write: &Write) -> WriteOutcome {
        let floor = history.iter().filter(|w| w.replaces).map(|w| w.event_time).max();
        let counts = (write.replaces && floor == Some(write.event_time))
            || write
                .features
                .keys()
                .any(|name| newest_of(history, name).is_some_and(|(time, _)| time == write.event_time));
        if counts { WriteOutcome::Applied } else { WriteOutcome::Superseded }
    }

    /// What a read gives of one entity.
    pub fn read(
        &self,
        key: &RecordKey,
        names: Option<&[&str]>,
        max_age: Option<Duration>,
    ) -> Option<ModelRow> {
        let history = self.history(key)?;
        let newest = newest_write(history)?;
        let known: BTreeSet<&str> = history
            .iter()
            .flat_map(|write| write.features.keys())
            .map(String::as_str)
            .filter(|name| newest_of(history, name).is_some())
            .collect();
        if known.is_empty() {
            return None;
        }
        let wanted = names.map_or_else(|| known.into_iter().collect(), <[&str]>::to_vec);
        let too_old = |time: Timestamp| {
            max_age.is_some_and(|age| time.as_micros() < self.now.saturating_sub(age).as_micros())
        };
        let feature = |name: &str| {
            let (event_time, value, status) = match newest_of(history, name) {
                None => (None, FeatureValue::Null, FeatureStatus::NotFound),
                Some((time, _)) if too_old(time) => {
                    (Some(time), FeatureValue::Null, FeatureStatus::OutsideMaxAge)
                }
                Some((time, FeatureValue::Null)) => (Some(time), FeatureValue::Null, FeatureStatus::Null),
                Some((time, value)) => (Some(time), value.clone(), FeatureStatus::Present),
            };
            ModelFeature { name: name.to_owned(), status, value, event_time }
        };
        Some(ModelRow {
            timestamp: newest.event_time,
            expires_at: newest.expires_at,
            features: wanted.into_iter().map(feature).collect(),
        })
    }

    /// Removes a record; whether there was one, and `None` where the store may say either: it may or may
    /// not have reclaimed what has expired.
    pub fn delete(&mut self, key: &RecordKey) -> Option<bool> {
        let alive = self.history(key).is_some();
        let known = self.records.remove(&key.to_string()).is_some();
        (alive == known).then_some(alive)
    }

    /// The keys that a scan gives: those with a feature to show.
    pub fn scan(&self, scope: &Scope) -> Vec<RecordKey> {
        let keys = self.records.values().map(|(key, _)| key);
        keys.filter(|key| scope.contains(key) && self.read(key, None, None).is_some()).cloned().collect()
    }

    /// Removes the records of a scope; at least and at most how many a purge may report.
    pub fn purge(&mut self, scope: &Scope) -> (u64, u64) {
        let keys: Vec<RecordKey> =
            self.records.values().map(|(key, _)| key).filter(|key| scope.contains(key)).cloned().collect();
        let alive = keys.iter().filter(|key| self.history(key).is_some()).count();
        keys.iter().for_each(|key| drop(self.records.remove(&key.to_string())));
        (alive as u64, keys.len() as u64)
    }

    /// The writes to an entity, unless its record has expired.
    fn history(&self, key: &RecordKey) -> Option<&History> {
        let (_, history) = self.records.get(&key.to_string())?;
        let expires_at = newest_write(history)?.expires_at;
        expires_at.is_none_or(|at| at > self.now).then_some(history)
    }
}

/// The write that decides the record's time and expiry: the newest, of equals the later arrival.
fn newest_write(history: &History) -> Option<&Write> {
    history.iter().max_by_key(|write| write.event_time)
}

/// Time and value of a feature: the newest write that names it, of equals the later arrival, among those
/// that no replace has swept away.
fn newest_of<'a>(history: &'a History, name: &str) -> Option<(Timestamp, &'a FeatureValue)> {
    let swept = |at: usize, write: &Write| {
        history.iter().enumerate().any(|(other_at, other)| {
            other.replaces
                && (other.event_time > write.event_time
                    || (other.event_time == write.event_time && other_at > at))
        })
    };
    history
        .iter()
        .enumerate()
        .filter(|(at, write)| !swept(*at, write))
        .filter_map(|(_, write)| Some((write.event_time, write.features.get(name)?)))
        .max_by_key(|(time, _)| *time)
}

impl From<&FeatureRow> for ModelRow {
    fn from(row: &FeatureRow) -> Self {
        let feature = |(name, status, value): (&str, FeatureStatus, &FeatureValue)| ModelFeature {
            name: name.to_owned(),
            status,
            value: value.clone(),
            event_time: row.event_time(name),
        };
        Self {
            timestamp: row.timestamp,
            expires_at: row.expires_at,
            features: row.iter().map(feature).collect(),
        }
    }
}
