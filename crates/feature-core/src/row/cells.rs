//! Rows taken apart into their cells.

use std::ops::Range;
use std::sync::Arc;

use super::{Exceptions, FeatureRow, FeatureStatus, Values, status_of, time_of};
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// A feature of a row that has been [taken apart](FeatureRow::take_apart).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureCell {
    /// Which feature of the row, from 0.
    pub index: usize,
    /// What there is to say about it.
    pub status: FeatureStatus,
    /// The event time of the write that it comes from; `None` when there is no such feature.
    pub event_time: Option<Timestamp>,
    /// Its value; null where the status is not [`Present`](FeatureStatus::Present).
    pub value: FeatureValue,
}

/// A row without what it shares with others.
struct Part<T> {
    tag: T,
    timestamp: Timestamp,
    exceptions: Option<Box<Exceptions>>,
    /// Where its values are.
    at: Range<usize>,
}

impl FeatureRow {
    /// Takes rows apart, as for a table that has a column for each feature: `cell` gets each feature of each
    /// row, in order, with the tag that the row came with. Values are moved rather than copied where these
    /// are all rows that share their memory, in the order of the read.
    pub fn take_apart<T: Copy>(
        rows: impl IntoIterator<Item = (T, Self)>,
        mut cell: impl FnMut(T, FeatureCell),
    ) {
        let mut rows = rows.into_iter().peekable();
        let mut parts: Vec<Part<T>> = Vec::new();
        while let Some((tag, Self { timestamp, values: Values { all, at }, exceptions, .. })) = rows.next() {
            parts.push(Part { tag, timestamp, exceptions, at });
            if rows.peek().is_some_and(|(_, next)| Arc::ptr_eq(&next.values.all, &all)) {
                continue;
            }
            // A row that was given twice needs its values twice.
            let disjoint = parts.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start);
            let mut all = if disjoint { Arc::try_unwrap(all) } else { Err(all) };
            for Part { tag, timestamp, exceptions, at } in parts.drain(..) {
                for (index, at) in at.enumerate() {
                    let value = match &mut all {
                        Ok(own) => std::mem::replace(&mut own[at], FeatureValue::Null),
                        Err(shared) => shared[at].clone(),
                    };
                    let status = status_of(exceptions.as_deref(), index, &value);
                    let time = || time_of(exceptions.as_deref(), index, timestamp);
                    let event_time = (status != FeatureStatus::NotFound).then(time);
                    cell(tag, FeatureCell { index, status, event_time, value });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::entity::EntityKey;
    use crate::features::Features;
    use crate::record::Record;
    use crate::row::RowDecoder;

    fn t(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    /// Rows of one read: one feature is null, one older than the rest, one older than the max age, one not
    /// there.
    fn read(rows: usize) -> Vec<FeatureRow> {
        let records: Vec<Bytes> = (0..rows)
            .map(|row| {
                let null = FeatureValue::Null;
                let features =
                    Features::new().with("a", format!("row {row}")).with("b", null).with("c", 1).with("d", 2);
                let mut record = Record::of_write(t(100), None, features);
                record.times = [(2, t(95)), (3, t(10))].into();
                record.encode().unwrap().into()
            })
            .collect();
        let names = ["d", "x", "a", "b", "c"].into_iter().collect();
        let mut decoder = RowDecoder::new(Some(names), Some(Duration::from_micros(50)));
        let entity = EntityKey::new("id", 1).unwrap();
        let found = records.iter().map(|record| (&entity, Ok(Some(record))));
        decoder.decode_all(found, t(100)).into_iter().map(|row| row.unwrap().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn a_row_taken_apart_has_what_it_had(picks in prop::collection::vec((0..2usize, 0..4usize), 0..8), keep in any::<bool>()) {
            let reads = [read(4), read(4)];
            let rows: Vec<FeatureRow> = picks.iter().map(|(read, row)| reads[*read][*row].clone()).collect();
            let expected: Vec<(usize, FeatureCell)> = rows
                .iter()
                .enumerate()
                .flat_map(|(tag, row)| {
                    row.iter().enumerate().map(move |(index, (name, status, value))| {
                        let event_time = row.event_time(name);
                        (tag, FeatureCell { index, status, event_time, value: value.clone() })
                    })
                })
                .collect();
            // Either these rows are all that hold the memory, or others do too.
            let others = keep.then_some(reads);
            let mut cells = Vec::new();
            FeatureRow::take_apart(rows.into_iter().enumerate(), |tag, cell| cells.push((tag, cell)));
            prop_assert_eq!(cells, expected);
            drop(others);
        }
    }

    #[test]
    fn values_are_moved_out_of_rows_that_nobody_else_holds() {
        let text = |value: &FeatureValue| value.as_str().map(str::as_ptr);
        for shared in [false, true] {
            let rows = read(3);
            let before: Vec<_> = rows.iter().map(|row| text(row.get("a").unwrap())).collect();
            let held = shared.then(|| rows[1].clone());
            let mut after = Vec::new();
            let cells = rows.into_iter().map(|row| ((), row));
            let mut texts = Vec::new();
            FeatureRow::take_apart(cells, |(), cell| {
                if cell.index == 2 {
                    after.push(text(&cell.value));
                    texts.push(cell.value);
                }
            });
            assert_eq!(before == after, !shared);
            assert_eq!(texts, ["row 0", "row 1", "row 2"].map(FeatureValue::from));
            drop(held);
        }
    }
}
