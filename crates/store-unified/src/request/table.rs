//! What a request gives.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use feature_core::{
    BatchRows, EntityKey, Error, FeatureCell, FeatureRow, FeatureStatus, FeatureValue, RecordKey, Timestamp,
    ValueType, ViewKey,
};

use crate::registry::FeatureRef;
use crate::registry::plan::{ColumnSpec, Plan, PlannedView};

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

/// One feature of all rows.
#[derive(Clone, Debug)]
pub struct FeatureColumn {
    spec: Arc<ColumnSpec>,
    values: Vec<FeatureValue>,
    statuses: Vec<CellStatus>,
    event_times: Vec<Option<Timestamp>>,
}

impl FeatureColumn {
    fn not_found(spec: &Arc<ColumnSpec>, rows: usize) -> Self {
        Self {
            spec: Arc::clone(spec),
            values: std::iter::repeat_with(|| FeatureValue::Null).take(rows).collect(),
            statuses: vec![CellStatus::NotFound; rows],
            event_times: vec![None; rows],
        }
    }

    /// What the feature is called in the result: its own name where it is the only one of the request to
    /// have it, or else `view__feature`.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Which feature it is.
    pub fn reference(&self) -> &FeatureRef {
        &self.spec.reference
    }

    /// The declared type: that of every value which is [`Present`](CellStatus::Present).
    pub fn value_type(&self) -> ValueType {
        self.spec.value_type
    }

    /// The values, one for each row; null where the status is not [`Present`](CellStatus::Present).
    pub fn values(&self) -> &[FeatureValue] {
        &self.values
    }

    /// The statuses, one for each row.
    pub fn statuses(&self) -> &[CellStatus] {
        &self.statuses
    }

    /// For each row the event time of the write that the value comes from; `None` where there is no such
    /// feature, or its record could not be read.
    pub fn event_times(&self) -> &[Option<Timestamp>] {
        &self.event_times
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<FeatureValue> {
        self.values
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
    plan: Arc<Plan>,
    entities: Vec<EntityKey>,
    /// The entities with the join keys of each of the plan's sets.
    keys: Vec<Vec<EntityKey>>,
    columns: Vec<FeatureColumn>,
    errors: Vec<RowError>,
    /// For each view of the plan its rows that came from a fallback store, ascending.
    from_fallback: Vec<Vec<usize>>,
}

impl FeatureTable {
    /// Puts the rows of each view of the plan into columns.
    pub(super) fn assemble(
        plan: &Arc<Plan>,
        tenant: &str,
        entities: &[EntityKey],
        keys: Vec<Vec<EntityKey>>,
        rows: Vec<BatchRows>,
    ) -> Self {
        let mut table = Self {
            tenant: tenant.to_owned(),
            entities: entities.to_vec(),
            keys,
            columns: plan.columns.iter().map(|spec| FeatureColumn::not_found(spec, entities.len())).collect(),
            errors: Vec::new(),
            from_fallback: vec![Vec::new(); plan.views.len()],
            plan: Arc::clone(plan),
        };
        for (view, rows) in plan.views.iter().zip(rows) {
            table.fill(view, rows);
        }
        table.errors.sort_by_key(|error| error.row);
        table
    }

    fn fill(&mut self, view: &PlannedView, rows: BatchRows) {
        let Self { columns, errors, .. } = self;
        let mut found = Vec::with_capacity(rows.len());
        for (number, row) in rows.into_iter().enumerate() {
            match row {
                Ok(Some(row)) => found.push((number, row)),
                Ok(None) => {}
                Err(error) => {
                    for column in &view.columns {
                        columns[*column].statuses[number] = CellStatus::Failed;
                    }
                    errors.push(RowError { row: number, view: view.name.clone(), feature: None, error });
                }
            }
        }
        FeatureRow::take_apart(found, |row, cell| {
            let column = &mut columns[view.columns[cell.index]];
            let FeatureCell { status, event_time, value, .. } = cell;
            column.event_times[row] = event_time;
            match value.value_type() {
                Some(own) if own != column.spec.value_type => match value.widen(column.spec.value_type) {
                    Ok(value) => {
                        column.values[row] = value;
                        column.statuses[row] = status.into();
                    }
                    Err(_) => {
                        column.statuses[row] = CellStatus::Failed;
                        errors.push(misfit(row, view, &column.spec, own));
                    }
                },
                _ => {
                    column.values[row] = value;
                    column.statuses[row] = status.into();
                }
            }
        });
    }

    /// Says which records came from a fallback store, by their keys.
    pub fn mark_fallback<S: BuildHasher>(&mut self, served: &HashSet<RecordKey, S>) {
        if served.is_empty() {
            return;
        }
        for (view, marked) in self.plan.views.iter().zip(&mut self.from_fallback) {
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
    pub fn columns(&self) -> &[FeatureColumn] {
        &self.columns
    }

    /// The column of this name, found by looking at each.
    pub fn column(&self, name: &str) -> Option<&FeatureColumn> {
        self.columns.iter().find(|column| column.name() == name)
    }

    /// The columns alone.
    pub fn into_columns(self) -> Vec<FeatureColumn> {
        self.columns
    }

    /// What went wrong, by row.
    pub fn errors(&self) -> &[RowError] {
        &self.errors
    }

    /// The views whose records came from a fallback store, because the store they belong to did not answer:
    /// each with the numbers of those rows, ascending.
    pub fn from_fallback(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let views = self.plan.views.iter().zip(&self.from_fallback);
        views.filter(|(_, rows)| !rows.is_empty()).map(|(view, rows)| (&*view.name, &**rows))
    }

    /// Of each row its newest event time, if anything was found, or the first of its errors.
    pub(crate) fn outcomes(&self) -> Vec<Result<Option<Timestamp>, &Error>> {
        let mut newest = vec![None; self.len()];
        for column in &self.columns {
            for (newest, time) in newest.iter_mut().zip(&column.event_times) {
                *newest = (*newest).max(*time);
            }
        }
        let mut outcomes: Vec<_> = newest.into_iter().map(Ok).collect();
        for error in self.errors.iter().rev() {
            outcomes[error.row] = Err(&error.error);
        }
        outcomes
    }

    /// The rows, one after the other.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = TableRow<'_>> {
        (0..self.len()).map(|number| TableRow { table: self, number })
    }
}

fn misfit(row: usize, view: &PlannedView, spec: &ColumnSpec, stored: ValueType) -> RowError {
    let error = Error::corrupt(format!(
        "`{}` is declared {}, and what is stored is {stored}: write it again, or declare it as it is stored",
        spec.reference, spec.value_type
    ));
    let feature = spec.reference.feature().map(str::to_owned);
    RowError { row, view: view.name.clone(), feature, error: error.with_operation("read") }
}

/// A row of a [`FeatureTable`].
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    table: &'a FeatureTable,
    number: usize,
}

/// A cell of a [`FeatureTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableCell<'a> {
    /// What the feature is called in the result.
    pub name: &'a str,
    /// What there is to say about the cell.
    pub status: CellStatus,
    /// Null where the status is not [`Present`](CellStatus::Present).
    pub value: &'a FeatureValue,
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
        let number = self.number;
        self.table.columns.iter().map(move |column| TableCell {
            name: column.name(),
            status: column.statuses[number],
            value: &column.values[number],
            event_time: column.event_times[number],
        })
    }

    /// The value of a feature that is [`Present`](CellStatus::Present), by its name in the result.
    pub fn get(&self, name: &str) -> Option<&'a FeatureValue> {
        let column = self.table.column(name)?;
        (column.statuses[self.number] == CellStatus::Present).then(|| &column.values[self.number])
    }
}
