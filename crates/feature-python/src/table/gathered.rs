//! A read of features by their names, decoded into columns as it comes.

use feature_store::unified::{CellStatus, RowError};
use feature_store::{
    Error, FeatureSink, FeatureStatus, FeatureValue, FoundRecord, RowPlace, Timestamp, ValueSink,
};

/// The cells of one view, column after column. What type a column is of, its values say.
pub(crate) struct Gathered {
    pub(super) view: String,
    rows: usize,
    /// Of all columns; zero where there is no float.
    pub(super) floats: Vec<f64>,
    /// Of the columns that have values other than floats, all of them.
    pub(super) others: Vec<Option<Vec<FeatureValue>>>,
    pub(super) statuses: Vec<CellStatus>,
    /// For each row the newest event time of its record.
    pub(super) times: Vec<Option<Timestamp>>,
    /// For each cell its event time where it is not the record's; empty where there is none such.
    pub(super) own_times: Vec<Option<Timestamp>>,
    pub(super) errors: Vec<RowError>,
    /// The row whose cells are coming.
    row: usize,
}

impl Gathered {
    pub(crate) fn new(view: &str, columns: usize, rows: usize) -> Self {
        Self {
            view: view.to_owned(),
            rows,
            floats: vec![0.0; columns * rows],
            others: vec![None; columns],
            statuses: vec![CellStatus::NotFound; columns * rows],
            times: vec![None; rows],
            own_times: Vec::new(),
            errors: Vec::new(),
            row: 0,
        }
    }

    fn cell(&self, column: usize) -> usize {
        column * self.rows + self.row
    }

    /// The values of a column that can't be one of floats alone.
    fn others(&mut self, column: usize) -> &mut Vec<FeatureValue> {
        let cells = column * self.rows..(column + 1) * self.rows;
        let before = self.floats[cells.clone()].iter().zip(&self.statuses[cells]);
        self.others[column].get_or_insert_with(|| {
            let value = |(float, status): (&f64, &CellStatus)| match status {
                CellStatus::Present => FeatureValue::Float64(*float),
                _ => FeatureValue::Null,
            };
            before.map(value).collect()
        })
    }
}

impl ValueSink for Gathered {
    fn value(&mut self, at: usize, value: FeatureValue) {
        let (row, cell) = (self.row, self.cell(at));
        match value {
            FeatureValue::Null => self.statuses[cell] = CellStatus::Null,
            FeatureValue::Float64(value) => self.floats(at, std::iter::once(value)),
            other => {
                self.others(at)[row] = other;
                self.statuses[cell] = CellStatus::Present;
            }
        }
    }

    fn floats(&mut self, first: usize, values: impl ExactSizeIterator<Item = f64>) {
        for (at, value) in (first..).zip(values) {
            let cell = self.cell(at);
            self.statuses[cell] = CellStatus::Present;
            match &mut self.others[at] {
                None => self.floats[cell] = value,
                Some(others) => others[self.row] = FeatureValue::Float64(value),
            }
        }
    }
}

impl FeatureSink for Gathered {
    fn record(&mut self, row: RowPlace, record: FoundRecord<'_>) {
        self.row = row.row;
        self.times[row.row] = Some(record.timestamp);
    }

    fn absent(&mut self, _: RowPlace) {}

    fn failed(&mut self, row: RowPlace, error: Error) {
        self.row = row.row;
        self.times[row.row] = None;
        for column in 0..self.others.len() {
            let cell = self.cell(column);
            self.statuses[cell] = CellStatus::Failed;
            self.floats[cell] = 0.0;
            if let Some(others) = &mut self.others[column] {
                others[row.row] = FeatureValue::Null;
            }
        }
        self.errors.push(RowError { row: row.row, view: self.view.clone(), feature: None, error });
    }

    fn no_value(&mut self, at: usize, status: FeatureStatus) {
        let cell = self.cell(at);
        self.statuses[cell] = status.into();
    }

    fn event_time(&mut self, at: usize, time: Timestamp) {
        if self.own_times.is_empty() {
            self.own_times = vec![None; self.statuses.len()];
        }
        let cell = self.cell(at);
        self.own_times[cell] = Some(time);
    }
}
