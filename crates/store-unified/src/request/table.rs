//! What a request gives.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::BuildHasher;

use feature_core::{EntityKey, Error, FeatureStatus, FeatureValue, RecordKey, Timestamp, ValueType, ViewKey};

use super::cells::Cells;
use crate::registry::FeatureRef;
use crate::registry::plan::ColumnSpec;

/// What there is to say about a cell of a [`FeatureTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellStatus {
    /// It has a value, of the column's type.
    Present,
    /// The feature was written as an explicit null.
    Null,
    /// The entity has no such feature, or no record at all.
    NotFound,
    /// The feature is older, by its own event time, than the max age of the view or the request.
    OutsideMaxAge,
    /// The record could not be read, or holds a value that the declared type cannot hold; the table's
    /// [errors](FeatureTable::errors) say why.
    Failed,
}

impl CellStatus {
    /// The status as text: `present`, `null`, `not_found`, `outside_max_age`, `failed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => FeatureStatus::Present.name(),
            Self::Null => FeatureStatus::Null.name(),
            Self::NotFound => FeatureStatus::NotFound.name(),
            Self::OutsideMaxAge => FeatureStatus::OutsideMaxAge.name(),
            Self::Failed => "failed",
        }
    }
}

impl From<FeatureStatus> for CellStatus {
    fn from(status: FeatureStatus) -> Self {
        match status {
            FeatureStatus::Present => Self::Present,
            FeatureStatus::Null => Self::Null,
            FeatureStatus::NotFound => Self::NotFound,
            FeatureStatus::OutsideMaxAge => Self::OutsideMaxAge,
        }
    }
}

/// One feature of all rows of a [`FeatureTable`].
#[derive(Clone, Copy, Debug)]
pub struct FeatureColumn<'a> {
    cells: &'a Cells,
    number: usize,
}

impl<'a> FeatureColumn<'a> {
    /// What the feature is called in the result: its own name where it is the only one of the request to
    /// have it, or else `view__feature`.
    pub fn name(self) -> &'a str {
        &self.spec().name
    }

    /// Which feature it is.
    pub fn reference(self) -> &'a FeatureRef {
        &self.spec().reference
    }

    /// The declared type: that of every value which is [`Present`](CellStatus::Present).
    pub fn value_type(self) -> ValueType {
        self.spec().value_type
    }

    /// The value of a row; null where the status is not [`Present`](CellStatus::Present).
    ///
    /// # Panics
    /// If there is no such row.
    pub fn value(self, row: usize) -> Cow<'a, FeatureValue> {
        self.cells.value(self.number, row)
    }

    /// The values, one for each row.
    pub fn values(self) -> impl ExactSizeIterator<Item = Cow<'a, FeatureValue>> {
        (0..self.cells.rows()).map(move |row| self.value(row))
    }

    /// The values as they lie in memory.
    pub fn as_slice(self) -> ColumnSlice<'a> {
        self.cells.slice(self.number)
    }

    /// The statuses, one for each row.
    pub fn statuses(self) -> &'a [CellStatus] {
        self.cells.statuses(self.number)
    }

    /// The event time of the write that the value of a row comes from; `None` where there is no such feature,
    /// or its record could not be read.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn event_time(self, row: usize) -> Option<Timestamp> {
        self.cells.event_time(self.number, row)
    }

    /// The event times, one for each row.
    pub fn event_times(self) -> impl ExactSizeIterator<Item = Option<Timestamp>> + use<'a> {
        (0..self.cells.rows()).map(move |row| self.event_time(row))
    }

    fn spec(self) -> &'a ColumnSpec {
        &self.cells.plan().columns[self.number]
    }
}

/// The values of a column, one for each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnSlice<'a> {
    /// Those of a `float64` feature; zero where the status is not [`Present`](CellStatus::Present).
    Floats(&'a [f64]),
    /// Those of others; null where the status is not [`Present`](CellStatus::Present).
    Values(&'a [FeatureValue]),
}

impl<'a> ColumnSlice<'a> {
    /// The value of a row of this status; null where that is not [`Present`](CellStatus::Present).
    ///
    /// # Panics
    /// If there is no such row.
    pub fn value(self, row: usize, status: CellStatus) -> Cow<'a, FeatureValue> {
        match (self, status) {
            (Self::Floats(floats), CellStatus::Present) => Cow::Owned(FeatureValue::Float64(floats[row])),
            (Self::Floats(_), _) => Cow::Owned(FeatureValue::Null),
            (Self::Values(values), _) => Cow::Borrowed(&values[row]),
        }
    }
}

/// What went wrong with a row of a [`FeatureTable`].
#[derive(Clone, Debug)]
pub struct RowError {
    /// Which row, from 0.
    pub row: usize,
    /// The feature view that its record belongs to.
    pub view: String,
    /// The feature whose value is not of the declared type; `None` when the whole record could not be read.
    pub feature: Option<String>,
    /// Why.
    pub error: Error,
}

/// What a [`FeatureRequest`](crate::FeatureRequest) gives, column by column: a row for each of its entities,
/// in their order and repeated where they repeat, and a column for each feature, in the order of the request
/// or service.
///
/// A value that was stored under an older, narrower type is widened to the declared one; one that the
/// declared type cannot hold is a failed cell.
///
/// With serde it is an object of `entities` (an object of join keys each) and `columns`, each with its
/// `name`, `feature` (`view:feature`), `type`, `values`, `statuses` and `event_times`; `errors` and
/// `from_fallback` are there where there are any.
#[derive(Clone, Debug)]
pub struct FeatureTable {
    tenant: String,
    entities: Vec<EntityKey>,
    /// The entities with the join keys of each of the plan's sets.
    keys: Vec<Vec<EntityKey>>,
    cells: Cells,
    /// For each view of the plan its rows that came from a fallback store, ascending.
    from_fallback: Vec<Vec<usize>>,
}

impl FeatureTable {
    pub(super) fn new(
        tenant: &str,
        entities: &[EntityKey],
        keys: Vec<Vec<EntityKey>>,
        mut cells: Cells,
    ) -> Self {
        cells.errors.sort_by_key(|error| error.row);
        let from_fallback = vec![Vec::new(); cells.plan().views.len()];
        Self { tenant: tenant.to_owned(), entities: entities.to_vec(), keys, cells, from_fallback }
    }

    /// Says which records came from a fallback store, by their keys.
    pub fn mark_fallback<S: BuildHasher>(&mut self, served: &HashSet<RecordKey, S>) {
        if served.is_empty() {
            return;
        }
        for (view, marked) in self.cells.plan().views.iter().zip(&mut self.from_fallback) {
            let Ok(of_view) = ViewKey::new(&self.tenant, &view.name) else { continue };
            let is_served = |key: &EntityKey| served.contains(&RecordKey::new(of_view.clone(), key.clone()));
            let rows = self.keys[view.join_keys].iter().enumerate();
            *marked = rows.filter(|(_, key)| is_served(key)).map(|(row, _)| row).collect();
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// The entities of the rows, as in the request.
    pub fn entities(&self) -> &[EntityKey] {
        &self.entities
    }

    /// The columns, in order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = FeatureColumn<'_>> {
        (0..self.cells.plan().columns.len()).map(|number| FeatureColumn { cells: &self.cells, number })
    }

    /// The column of this number, from 0.
    pub fn nth_column(&self, number: usize) -> Option<FeatureColumn<'_>> {
        (number < self.cells.plan().columns.len()).then_some(FeatureColumn { cells: &self.cells, number })
    }

    /// The column of this name, found by looking at each.
    pub fn column(&self, name: &str) -> Option<FeatureColumn<'_>> {
        self.columns().find(|column| column.name() == name)
    }

    /// What went wrong, by row.
    pub fn errors(&self) -> &[RowError] {
        &self.cells.errors
    }

    /// The views whose records came from a fallback store, because the store they belong to did not answer:
    /// each with the numbers of those rows, ascending.
    pub fn from_fallback(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let views = self.cells.plan().views.iter().zip(&self.from_fallback);
        views.filter(|(_, rows)| !rows.is_empty()).map(|(view, rows)| (&*view.name, &**rows))
    }

    /// Of each row its newest event time, if anything was found, or the first of its errors.
    pub(crate) fn outcomes(&self) -> Vec<Result<Option<Timestamp>, &Error>> {
        let mut outcomes: Vec<_> = (0..self.len()).map(|row| Ok(self.cells.newest(row))).collect();
        for error in self.errors().iter().rev() {
            outcomes[error.row] = Err(&error.error);
        }
        outcomes
    }

    /// The rows, one after the other.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = TableRow<'_>> {
        (0..self.len()).map(|number| TableRow { table: self, number })
    }
}

/// A row of a [`FeatureTable`].
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    table: &'a FeatureTable,
    number: usize,
}

/// A cell of a [`FeatureTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCell<'a> {
    /// What the feature is called in the result.
    pub name: &'a str,
    /// What there is to say about the cell.
    pub status: CellStatus,
    /// Null where the status is not [`Present`](CellStatus::Present).
    pub value: Cow<'a, FeatureValue>,
    /// The event time of the write that the value comes from.
    pub event_time: Option<Timestamp>,
}

impl<'a> TableRow<'a> {
    /// Which entity.
    pub fn entity(&self) -> &'a EntityKey {
        &self.table.entities[self.number]
    }

    /// The row's cell of each column, in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = TableCell<'a>> {
        let row = self.number;
        self.table.columns().map(move |column| TableCell {
            name: column.name(),
            status: column.statuses()[row],
            value: column.value(row),
            event_time: column.event_time(row),
        })
    }

    /// The value of a feature that is [`Present`](CellStatus::Present), by its name in the result.
    pub fn get(&self, name: &str) -> Option<Cow<'a, FeatureValue>> {
        let column = self.table.column(name)?;
        let is_present = column.statuses()[self.number] == CellStatus::Present;
        is_present.then(|| column.value(self.number))
    }
}
