//! Where the features of a read go.

use std::ops::Range;
use std::sync::Arc;

use super::{Exceptions, FeatureRow, FeatureStatus, Values};
use crate::entity::EntityKey;
use crate::error::{Error, Result};
use crate::names::FeatureNames;
use crate::record::ValueSink;
use crate::time::Timestamp;
use crate::value::{FeatureValue, FeatureValues};

/// Takes what a read finds as it is decoded, as a table that has a place for each cell, so that no rows are
/// built in between.
///
/// For each row of each view, in order, one of [`record`](Self::record), [`absent`](Self::absent) and
/// [`failed`](Self::failed) is called. After `record` come the record's cells in the order of its names:
/// [`value`](ValueSink::value), [`floats`](ValueSink::floats) or [`no_value`](Self::no_value) once for each, and
/// [`event_time`](Self::event_time) for those that need it. `failed` may also end a record whose cells turn
/// out to be damaged: none of them is to be served.
pub trait FeatureSink: ValueSink + Send {
    /// A row has a record, whose cells follow.
    fn record(&mut self, row: RowPlace, record: FoundRecord<'_>);
    /// A row has no record.
    fn absent(&mut self, row: RowPlace);
    /// The record of a row could not be read.
    fn failed(&mut self, row: RowPlace, error: Error);
    /// The feature number `at` has no value to serve: it is not there, or too old.
    fn no_value(&mut self, at: usize, status: FeatureStatus);
    /// The feature number `at` has an event time other than the record's.
    fn event_time(&mut self, at: usize, time: Timestamp);
}

/// Which row of a read of several views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// The number of the [`ViewRead`](crate::ViewRead).
    pub view: usize,
    /// The number of the entity in it.
    pub row: usize,
}

/// What there is to say of a record before its features.
#[derive(Clone, Copy, Debug)]
pub struct FoundRecord<'a> {
    /// The names that were asked for, or all, sorted.
    pub names: &'a Arc<FeatureNames>,
    /// The newest event time of the record.
    pub timestamp: Timestamp,
    /// When the record expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// The rows of a read, of one view after the other.
pub(crate) struct Rows {
    values: Vec<FeatureValue>,
    rows: Vec<Result<Option<Decoded>>>,
    expected: usize,
    /// Where the latest record belongs.
    latest: Option<RowPlace>,
}

/// A row before its values are shared.
struct Decoded {
    timestamp: Timestamp,
    expires_at: Option<Timestamp>,
    names: Arc<FeatureNames>,
    exceptions: Option<Box<Exceptions>>,
    values: Range<usize>,
}

impl Rows {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::new(), rows: Vec::with_capacity(rows), expected: rows, latest: None }
    }

    /// Says where the values of the row before end.
    fn close(&mut self) {
        if let Some(Ok(Some(row))) = self.rows.last_mut() {
            row.values.end = self.values.len();
        }
    }

    fn exceptions(&mut self) -> Option<&mut Exceptions> {
        let row = self.rows.last_mut()?.as_mut().ok()?.as_mut()?;
        Some(row.exceptions.get_or_insert_default())
    }

    /// The rows of these entities, sharing the memory of their values.
    pub(crate) fn finish<'a>(
        mut self,
        entities: impl IntoIterator<Item = &'a EntityKey>,
    ) -> impl Iterator<Item = Result<Option<FeatureRow>>> {
        self.close();
        let all = Arc::new(FeatureValues::from(self.values));
        self.rows.into_iter().zip(entities).map(move |(row, entity_key)| {
            let finish = |row: Decoded| FeatureRow {
                entity_key: entity_key.clone(),
                timestamp: row.timestamp,
                expires_at: row.expires_at,
                names: row.names,
                values: Values { all: Arc::clone(&all), at: row.values },
                exceptions: row.exceptions,
            };
            row.map(|row| row.map(finish))
        })
    }
}

impl ValueSink for Rows {
    fn value(&mut self, at: usize, value: FeatureValue) {
        self.values.value(at, value);
    }

    fn floats(&mut self, first: usize, values: impl ExactSizeIterator<Item = f64>) {
        self.values.floats(first, values);
    }
}

impl FeatureSink for Rows {
    fn record(&mut self, row: RowPlace, record: FoundRecord<'_>) {
        self.close();
        self.latest = Some(row);
        if self.values.is_empty() {
            // Rows are much of a size.
            let rows = self.expected.saturating_sub(self.rows.len());
            self.values.reserve(record.names.len().saturating_mul(rows).min(65_536));
        }
        self.rows.push(Ok(Some(Decoded {
            timestamp: record.timestamp,
            expires_at: record.expires_at,
            names: Arc::clone(record.names),
            exceptions: None,
            values: self.values.len()..self.values.len(),
        })));
    }

    fn absent(&mut self, _: RowPlace) {
        self.close();
        self.rows.push(Ok(None));
    }

    fn failed(&mut self, row: RowPlace, error: Error) {
        if self.latest == Some(row)
            && let Some(Ok(Some(begun))) = self.rows.pop()
        {
            self.values.truncate(begun.values.start);
        } else {
            self.close();
        }
        self.rows.push(Err(error));
    }

    fn no_value(&mut self, at: usize, status: FeatureStatus) {
        self.values.push(FeatureValue::Null);
        if let Some(exceptions) = self.exceptions() {
            exceptions.withheld.push((at, status));
        }
    }

    fn event_time(&mut self, at: usize, time: Timestamp) {
        if let Some(exceptions) = self.exceptions() {
            exceptions.times.push((at, time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_fails_midway_leaves_the_others_as_they_are() {
        let (mut rows, entity) = (Rows::with_capacity(4), EntityKey::new("id", 1).unwrap());
        let names = Arc::new(["a", "b"].iter().collect());
        let place = |row| RowPlace { view: 0, row };
        let found = FoundRecord { names: &names, timestamp: Timestamp::from_micros(1), expires_at: None };
        rows.record(place(0), found);
        rows.floats(0, [1.0, 2.0].into_iter());
        rows.record(place(1), found);
        rows.value(0, 3.0.into());
        rows.failed(place(1), Error::corrupt("midway"));
        rows.absent(place(2));
        rows.failed(place(3), Error::corrupt("at once"));
        rows.record(place(4), found);
        rows.floats(0, [5.0, 6.0].into_iter());
        let read: Vec<_> =
            rows.finish([&entity; 5]).map(|row| row.map_err(|e| e.message().to_owned())).collect();
        let values = |at: usize| read[at].as_ref().unwrap().as_ref().map(|row| row.values().to_vec());
        assert_eq!(values(0), Some(vec![1.0.into(), 2.0.into()]));
        assert_eq!((read[1].clone().unwrap_err(), values(2)), ("midway".to_owned(), None));
        assert_eq!(
            (read[3].clone().unwrap_err(), values(4)),
            ("at once".to_owned(), Some(vec![5.0.into(), 6.0.into()]))
        );
    }
}
