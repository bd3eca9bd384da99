//! What a read gives, column by column, wherever it comes from.

use feature_core::{BatchRows, Error, FeatureCell, FeatureRow, FeatureValue, Timestamp, ValueType};
use store_unified::{CellStatus, FeatureTable, RowError};

/// What a read gives.
pub(crate) enum Table {
    /// Of declared views.
    Declared(FeatureTable),
    /// Of a view that nobody has declared.
    Found(FoundTable),
}

/// One feature of all rows.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    /// What it is called in the answer.
    pub(crate) name: &'a str,
    /// The view that it is of.
    pub(crate) view: &'a str,
    /// Its name in the view.
    pub(crate) feature: &'a str,
    /// The type of every value; `None` where the values have several, or there is none.
    pub(crate) value_type: Option<ValueType>,
    /// One for each row; null where the status is not `Present`.
    pub(crate) values: &'a [FeatureValue],
    /// One for each row.
    pub(crate) statuses: &'a [CellStatus],
    /// One for each row.
    pub(crate) event_times: &'a [Option<Timestamp>],
}

impl Column<'_> {
    /// What it is called where features have the names of their views.
    pub(crate) fn full_name(&self) -> String {
        format!("{}__{}", self.view, self.feature)
    }
}

impl Table {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Declared(table) => table.len(),
            Self::Found(table) => table.rows,
        }
    }

    /// The columns, in order.
    pub(crate) fn columns(&self) -> impl ExactSizeIterator<Item = Column<'_>> {
        let number = match self {
            Self::Declared(table) => table.columns().len(),
            Self::Found(table) => table.columns.len(),
        };
        (0..number).map(|at| match self {
            Self::Declared(table) => {
                let column = &table.columns()[at];
                Column {
                    name: column.name(),
                    view: column.reference().view(),
                    feature: column.reference().feature().unwrap_or_default(),
                    value_type: Some(column.value_type()),
                    values: column.values(),
                    statuses: column.statuses(),
                    event_times: column.event_times(),
                }
            }
            Self::Found(table) => {
                let column = &table.columns[at];
                Column {
                    name: &column.name,
                    view: &table.view,
                    feature: &column.name,
                    value_type: column.value_type,
                    values: &column.values,
                    statuses: &column.statuses,
                    event_times: &column.event_times,
                }
            }
        })
    }

    /// What went wrong, by row.
    pub(crate) fn errors(&self) -> &[RowError] {
        match self {
            Self::Declared(table) => table.errors(),
            Self::Found(table) => &table.errors,
        }
    }

    /// The views some of whose rows a fallback store has served, with the numbers of those rows.
    pub(crate) fn fallback_rows(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let declared = match self {
            Self::Declared(table) => Some(table.from_fallback()),
            Self::Found(_) => None,
        };
        declared.into_iter().flatten()
    }
}

/// Rows of a view that nobody has declared: its features are those that were found.
pub(crate) struct FoundTable {
    view: String,
    rows: usize,
    columns: Vec<FoundColumn>,
    errors: Vec<RowError>,
}

struct FoundColumn {
    name: String,
    value_type: Option<ValueType>,
    values: Vec<FeatureValue>,
    statuses: Vec<CellStatus>,
    event_times: Vec<Option<Timestamp>>,
}

impl FoundColumn {
    fn new(name: &str, rows: usize) -> Self {
        Self {
            name: name.to_owned(),
            value_type: None,
            values: std::iter::repeat_with(|| FeatureValue::Null).take(rows).collect(),
            statuses: vec![CellStatus::NotFound; rows],
            event_times: vec![None; rows],
        }
    }

    /// The one type of its values.
    fn common_type(&self) -> Option<ValueType> {
        let mut types = self.values.iter().filter_map(FeatureValue::value_type);
        let first = types.next()?;
        types.all(|other| other == first).then_some(first)
    }
}

impl FoundTable {
    /// Puts rows into columns: those that were asked for, in that order, or all that were found, by name.
    pub(crate) fn new(view: &str, wanted: Option<&[&str]>, found: BatchRows) -> Self {
        let rows = found.len();
        let mut names: Vec<&str> = wanted.map(<[&str]>::to_vec).unwrap_or_default();
        if wanted.is_none() {
            names.extend(found.iter().flatten().flatten().flat_map(|row| row.names().iter()));
            names.sort_unstable();
            names.dedup();
        }
        let mut columns: Vec<FoundColumn> = names.iter().map(|name| FoundColumn::new(name, rows)).collect();
        let mut errors = Vec::new();
        for (number, row) in found.into_iter().enumerate() {
            match row {
                Ok(None) => {}
                Ok(Some(row)) => fill(&mut columns, number, row),
                Err(error) => {
                    columns.iter_mut().for_each(|column| column.statuses[number] = CellStatus::Failed);
                    errors.push(row_error(number, view, error));
                }
            }
        }
        for column in &mut columns {
            column.value_type = column.common_type();
        }
        Self { view: view.to_owned(), rows, columns, errors }
    }
}

fn row_error(row: usize, view: &str, error: Error) -> RowError {
    RowError { row, view: view.to_owned(), feature: None, error }
}

fn fill(columns: &mut [FoundColumn], number: usize, row: FeatureRow) {
    // Names stand in the same order in both; of a read of all features a row may lack some.
    let names = std::sync::Arc::clone(row.names());
    let mut place = 0;
    let places: Vec<usize> = names
        .iter()
        .map(|name| {
            let ahead = columns[place..].iter().position(|column| column.name == name);
            place += ahead.unwrap_or_default();
            place
        })
        .collect();
    FeatureRow::take_apart([((), row)], |(), FeatureCell { index, status, event_time, value }| {
        let column = &mut columns[places[index]];
        column.values[number] = value;
        column.statuses[number] = status.into();
        column.event_times[number] = event_time;
    });
}
