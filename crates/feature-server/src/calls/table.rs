//! What a read gives, column by column, wherever it comes from.

use std::borrow::Cow;

use feature_core::{BatchRows, Error, FeatureRow, FeatureValue, Timestamp, ValueType};
use store_unified::{CellStatus, ColumnSlice, FeatureColumn, FeatureTable, RowError};

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
    /// One for each row.
    pub(crate) values: ColumnSlice<'a>,
    /// One for each row.
    pub(crate) statuses: &'a [CellStatus],
    times: Times<'a>,
}

#[derive(Clone, Copy)]
enum Times<'a> {
    OfTable(FeatureColumn<'a>),
    Each(&'a [Option<Timestamp>]),
}

impl<'a> Column<'a> {
    /// That of one row.
    pub(crate) fn event_time(&self, row: usize) -> Option<Timestamp> {
        match self.times {
            Times::OfTable(column) => column.event_time(row),
            Times::Each(each) => each.get(row).copied().flatten(),
        }
    }

    /// One for each row.
    pub(crate) fn event_times(&self) -> impl Iterator<Item = Option<Timestamp>> + use<'a> {
        let (of_table, each) = match self.times {
            Times::OfTable(column) => (Some(column), [].as_slice()),
            Times::Each(each) => (None, each),
        };
        of_table.into_iter().flat_map(FeatureColumn::event_times).chain(each.iter().copied())
    }

    /// One for each row, null where there is no value.
    pub(crate) fn each_value(&self) -> impl Iterator<Item = Cow<'a, FeatureValue>> + use<'a> {
        let values = self.values;
        self.statuses.iter().enumerate().map(move |(row, status)| values.value(row, *status))
    }

    /// Whether each row has a value.
    pub(crate) fn is_full(&self) -> bool {
        self.statuses.iter().all(|status| *status == CellStatus::Present)
    }

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
    pub(crate) fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        let (table, found) = match self {
            Self::Declared(table) => (Some(table), None),
            Self::Found(table) => (None, Some(table)),
        };
        let declared = table.into_iter().flat_map(|table| table.columns().map(declared));
        declared.chain(found.into_iter().flat_map(FoundTable::columns))
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Declared(table) => table.columns().len(),
            Self::Found(table) => table.columns.len(),
        }
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

fn declared(column: FeatureColumn<'_>) -> Column<'_> {
    Column {
        name: column.name(),
        view: column.reference().view(),
        feature: column.reference().feature().unwrap_or_default(),
        value_type: Some(column.value_type()),
        values: column.as_slice(),
        statuses: column.statuses(),
        times: Times::OfTable(column),
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
    fn of<'a>(&'a self, view: &'a str) -> Column<'a> {
        Column {
            name: &self.name,
            view,
            feature: &self.name,
            value_type: self.value_type,
            values: ColumnSlice::Values(&self.values),
            statuses: &self.statuses,
            times: Times::Each(&self.event_times),
        }
    }

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
    fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        self.columns.iter().map(|column| column.of(&self.view))
    }

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
                Ok(Some(row)) => fill(&mut columns, number, &row),
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

fn fill(columns: &mut [FoundColumn], number: usize, row: &FeatureRow) {
    // Names stand in the same order in both; of a read of all features a row may lack some.
    let mut place = 0;
    for ((name, status, value), event_time) in row.iter().zip(row.event_times()) {
        place += columns[place..].iter().position(|column| column.name == name).unwrap_or_default();
        let column = &mut columns[place];
        column.values[number] = value.clone();
        column.statuses[number] = status.into();
        column.event_times[number] = event_time;
    }
}
