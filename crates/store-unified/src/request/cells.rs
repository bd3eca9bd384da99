//! The cells of a table, filled as its records are decoded.

use std::borrow::Cow;
use std::sync::Arc;

use feature_core::{
    Error, FeatureSink, FeatureStatus, FeatureValue, FoundRecord, RowPlace, Timestamp, ValueSink, ValueType,
};

use super::table::{CellStatus, ColumnSlice, RowError};
use crate::registry::plan::{Plan, Slot};

/// The cells of all columns, one column after the other: a few large pieces of memory, however many columns
/// there are.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    plan: Arc<Plan>,
    rows: usize,
    /// Of the columns of type `float64`.
    floats: Vec<f64>,
    /// Of the others.
    values: Vec<FeatureValue>,
    statuses: Vec<CellStatus>,
    /// For each row of each view the newest event time of its record, if that could be read.
    record_times: Vec<Option<Timestamp>>,
    /// For each cell its event time where it is not the record's; empty where there is none such.
    own_times: Vec<Option<Timestamp>>,
    pub(super) errors: Vec<RowError>,
    /// The row whose cells are coming.
    at: RowPlace,
}

impl Cells {
    pub(super) fn new(plan: Arc<Plan>, rows: usize) -> Self {
        let cells = plan.columns.len() * rows;
        let floats = plan.floats * rows;
        Self {
            rows,
            floats: vec![0.0; floats],
            values: std::iter::repeat_with(|| FeatureValue::Null).take(cells - floats).collect(),
            statuses: vec![CellStatus::NotFound; cells],
            record_times: vec![None; plan.views.len() * rows],
            own_times: Vec::new(),
            errors: Vec::new(),
            at: RowPlace { view: 0, row: 0 },
            plan,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn statuses(&self, column: usize) -> &[CellStatus] {
        &self.statuses[column * self.rows..][..self.rows]
    }

    pub(super) fn slice(&self, column: usize) -> ColumnSlice<'_> {
        match self.plan.columns[column].slot {
            Slot::Floats(slot) => ColumnSlice::Floats(&self.floats[slot * self.rows..][..self.rows]),
            Slot::Values(slot) => ColumnSlice::Values(&self.values[slot * self.rows..][..self.rows]),
        }
    }

    pub(super) fn value(&self, column: usize, row: usize) -> Cow<'_, FeatureValue> {
        self.slice(column).value(row, self.statuses(column)[row])
    }

    pub(super) fn event_time(&self, column: usize, row: usize) -> Option<Timestamp> {
        let record_time = self.record_times[self.plan.columns[column].view * self.rows + row]?;
        match self.statuses(column)[row] {
            CellStatus::NotFound => None,
            _ => Some(self.own_times.get(column * self.rows + row).copied().flatten().unwrap_or(record_time)),
        }
    }

    /// The newest event time of the records of a row.
    pub(super) fn newest(&self, row: usize) -> Option<Timestamp> {
        (0..self.plan.views.len()).filter_map(|view| self.record_times[view * self.rows + row]).max()
    }

    /// Where the feature number `at` of the row that is coming belongs.
    fn place(&self, at: usize) -> (usize, Slot) {
        self.plan.views[self.at.view].columns[at]
    }

    fn set_status(&mut self, column: usize, status: CellStatus) {
        self.statuses[column * self.rows + self.at.row] = status;
    }

    fn misfit(&self, column: usize, stored: ValueType) -> RowError {
        let spec = &self.plan.columns[column];
        let error = Error::corrupt(format!(
            "`{}` is declared {}, and what is stored is {stored}: write it again, or declare it as it is stored",
            spec.reference, spec.value_type
        ));
        RowError {
            row: self.at.row,
            view: spec.reference.view().to_owned(),
            feature: spec.reference.feature().map(str::to_owned),
            error: error.with_operation("read"),
        }
    }
}

impl ValueSink for Cells {
    fn value(&mut self, at: usize, value: FeatureValue) {
        let (column, slot) = self.place(at);
        let Some(stored) = value.value_type() else { return self.set_status(column, CellStatus::Null) };
        let declared = self.plan.columns[column].value_type;
        let value = if stored == declared { Ok(value) } else { value.widen(declared) };
        match (value, slot) {
            (Ok(FeatureValue::Float64(value)), Slot::Floats(slot)) => {
                self.floats[slot * self.rows + self.at.row] = value;
            }
            (Ok(value), Slot::Values(slot)) => self.values[slot * self.rows + self.at.row] = value,
            (Ok(_), Slot::Floats(_)) | (Err(_), _) => {
                self.errors.push(self.misfit(column, stored));
                return self.set_status(column, CellStatus::Failed);
            }
        }
        self.set_status(column, CellStatus::Present);
    }

    fn floats(&mut self, first: usize, values: impl ExactSizeIterator<Item = f64>) {
        for (at, value) in (first..).zip(values) {
            match self.place(at) {
                (column, Slot::Floats(slot)) => {
                    self.floats[slot * self.rows + self.at.row] = value;
                    self.set_status(column, CellStatus::Present);
                }
                (_, Slot::Values(_)) => self.value(at, FeatureValue::Float64(value)),
            }
        }
    }
}

impl FeatureSink for Cells {
    fn record(&mut self, row: RowPlace, record: FoundRecord<'_>) {
        self.at = row;
        self.record_times[row.view * self.rows + row.row] = Some(record.timestamp);
    }

    fn absent(&mut self, _: RowPlace) {}

    fn failed(&mut self, row: RowPlace, error: Error) {
        self.at = row;
        self.record_times[row.view * self.rows + row.row] = None;
        let plan = Arc::clone(&self.plan);
        let view = &plan.views[row.view];
        // Nor is anything said of single features of what cannot be read.
        self.errors.retain(|error| error.row != row.row || error.view != view.name);
        for (column, slot) in &view.columns {
            self.set_status(*column, CellStatus::Failed);
            match slot {
                Slot::Floats(slot) => self.floats[slot * self.rows + row.row] = 0.0,
                Slot::Values(slot) => self.values[slot * self.rows + row.row] = FeatureValue::Null,
            }
        }
        self.errors.push(RowError { row: row.row, view: view.name.clone(), feature: None, error });
    }

    fn no_value(&mut self, at: usize, status: FeatureStatus) {
        let (column, _) = self.place(at);
        self.set_status(column, status.into());
    }

    fn event_time(&mut self, at: usize, time: Timestamp) {
        let (column, _) = self.place(at);
        if self.own_times.is_empty() {
            self.own_times = vec![None; self.statuses.len()];
        }
        self.own_times[column * self.rows + self.at.row] = Some(time);
    }
}
