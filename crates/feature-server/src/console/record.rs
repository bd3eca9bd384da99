//! What there is to say about each feature of a record, and why.

use std::borrow::Cow;
use std::time::Duration;

use feature_core::{FeatureValue, FeatureView, Record, RecordHeader, Timestamp, ValueType};
use store_unified::CellStatus;

use super::format::age;
use crate::calls::Stored;

/// A feature that was looked up.
pub(super) struct Cell {
    /// What a read calls it.
    pub(super) name: String,
    pub(super) status: CellStatus,
    /// Why it is so.
    pub(super) why: String,
    /// What the record holds, served or not.
    pub(super) value: Option<FeatureValue>,
    /// As declared, or else as found.
    pub(super) value_type: Option<ValueType>,
    pub(super) event_time: Option<Timestamp>,
}

impl Cell {
    /// Whether a read gives the value.
    pub(super) fn is_served(&self) -> bool {
        self.status == CellStatus::Present
    }
}

/// A record that was looked up: what reads see of it, and what the store has.
pub(super) struct Seen<'a> {
    pub(super) stored: &'a Stored,
    pub(super) view: Option<&'a FeatureView>,
    /// `None` where there is no record.
    pub(super) header: Option<RecordHeader>,
    record: Option<Record>,
    /// Why nothing of it can be read.
    pub(super) failure: Option<String>,
    now: Timestamp,
    pub(super) max_age: Option<Duration>,
}

impl<'a> Seen<'a> {
    /// A record, as it is now, for a read of this max age.
    pub(super) fn new(
        stored: &'a Stored,
        view: Option<&'a FeatureView>,
        now: Timestamp,
        asked: Option<Duration>,
    ) -> Self {
        let declared = view.and_then(|view| view.max_age);
        let max_age = declared.into_iter().chain(asked).min();
        let mut seen = Self { stored, view, header: None, record: None, failure: None, now, max_age };
        match &stored.bytes {
            Err(error) => seen.failure = Some(error.to_string()),
            Ok(None) => {}
            Ok(Some(bytes)) => {
                match RecordHeader::parse(bytes) {
                    Ok(header) => seen.header = Some(header),
                    Err(error) => seen.failure = Some(error.to_string()),
                }
                match Record::decode(bytes) {
                    Ok(record) => seen.record = Some(record),
                    Err(error) => seen.failure = Some(error.to_string()),
                }
            }
        }
        seen
    }

    /// The names of the features that are declared or in the record, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let declared = self.view.into_iter().flat_map(|view| view.features.keys().cloned());
        let found =
            self.record.iter().flat_map(|record| record.features.iter().map(|(name, _)| name.to_owned()));
        let mut names: Vec<String> = declared.chain(found).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How the record is as a whole, in one sentence.
    pub(super) fn verdict(&self) -> Cow<'static, str> {
        let Some(header) = &self.header else {
            return match &self.failure {
                Some(failure) => failure.clone().into(),
                None => "There is no record: never written, deleted, or expired and reclaimed since.".into(),
            };
        };
        if let Some(at) = header.expires_at.filter(|at| *at <= self.now) {
            let since = age(self.now.since(at));
            return format!("Expired: its TTL ended at {at}, {since} ago. The store has not reclaimed it yet; reads see no record.")
                .into();
        }
        if header.features == 0 {
            return format!("Retracted at {}: the entity has no features since.", header.event_time).into();
        }
        match header.expires_at {
            Some(at) => format!("Live for {} more: its TTL ends at {at}.", age(at.since(self.now))).into(),
            None => "Live, without a TTL.".into(),
        }
    }

    /// Whether reads see a record.
    pub(super) fn is_live(&self) -> bool {
        self.failure.is_none()
            && self.header.is_some_and(|header| !header.is_expired(self.now) && header.features > 0)
    }

    /// When the newest replace was, which nothing older outlives.
    pub(super) fn floor(&self) -> Option<Timestamp> {
        self.record.as_ref().and_then(|record| record.floor)
    }

    /// A feature, called `shown` in the answer.
    pub(super) fn cell(&self, name: &str, shown: String) -> Cell {
        let declared = self.view.and_then(|view| view.features.get(name).copied());
        let found = self.record.as_ref().and_then(|record| record.get(name));
        let value = found.map(|found| found.value.clone());
        let value_type = declared.or_else(|| value.as_ref().and_then(FeatureValue::value_type));
        let event_time = found.map(|found| found.event_time);
        let (status, why) = self.status(declared, value.as_ref(), event_time);
        Cell { name: shown, status, why, value, value_type, event_time }
    }

    fn status(
        &self,
        declared: Option<ValueType>,
        value: Option<&FeatureValue>,
        event_time: Option<Timestamp>,
    ) -> (CellStatus, String) {
        if let Some(failure) = &self.failure {
            return (CellStatus::Failed, failure.clone());
        }
        let Some(header) = &self.header else {
            return (CellStatus::NotFound, "no record".to_owned());
        };
        if let Some(at) = header.expires_at.filter(|at| *at <= self.now) {
            return (CellStatus::NotFound, format!("the record expired {} ago", age(self.now.since(at))));
        }
        if header.features == 0 {
            return (CellStatus::NotFound, format!("retracted at {}", header.event_time));
        }
        let (Some(value), Some(event_time)) = (value, event_time) else {
            let why = match self.floor() {
                Some(floor) => format!("not written since the replace at {floor}"),
                None => "never written to this record".to_owned(),
            };
            return (CellStatus::NotFound, why);
        };
        if let Some(max_age) = self.max_age
            && event_time < self.now.saturating_sub(max_age)
        {
            let over = age(self.now.since(event_time).saturating_sub(max_age));
            return (CellStatus::OutsideMaxAge, format!("{over} older than the max age of {}", age(max_age)));
        }
        if value.is_null() {
            return (CellStatus::Null, "written as null".to_owned());
        }
        if self.view.is_some() && declared.is_none() {
            return (CellStatus::Present, "not declared: no read of the view asks for it".to_owned());
        }
        match declared {
            Some(wanted) if value.clone().widen(wanted).is_err() => {
                let found = value.value_type().map_or_else(String::new, |found| found.to_string());
                (CellStatus::Failed, format!("the record holds {found}, the view declares {wanted}"))
            }
            _ => (CellStatus::Present, String::new()),
        }
    }
}
