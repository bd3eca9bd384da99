//! Columns, wherever they come from.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use arrow_buffer::ScalarBuffer;
use feature_store::unified::{CellStatus, ColumnSlice, FeatureColumn, RowError};
use feature_store::{
    BatchRows, EntityKey, FeatureNames, FeatureRow, FeatureTable, FeatureValue, Timestamp, ValueType,
};

use super::gathered::Gathered;

/// Stands in for what is not there.
static NULL: FeatureValue = FeatureValue::Null;

/// The cells of a table, by column and row.
#[derive(Clone)]
pub(crate) struct Cells {
    pub(super) columns: Arc<[Column]>,
    pub(super) keys: Arc<[EntityKey]>,
    pub(super) errors: Arc<[RowError]>,
    /// The view that the rows are of, where they are of one.
    pub(super) view: Option<Arc<str>>,
    pub(super) from_fallback: Arc<Vec<(String, Vec<usize>)>>,
    /// Whether Arrow's form has the join keys, and the newest event time, as columns.
    pub(super) keys_shown: bool,
    source: Arc<Source>,
}

/// A feature.
pub(super) struct Column {
    pub(super) name: String,
    kind: Kind,
}

/// What the values of a column are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Nulls,
    One(ValueType),
    Several,
}

enum Source {
    /// Of declared views.
    Table(Box<FeatureTable>),
    /// Of one view, by their names.
    Columns(Columns),
    /// Of one view, with where in each row the columns stand.
    Rows { rows: Vec<Row>, layouts: Vec<Vec<Option<usize>>> },
}

struct Columns {
    /// Of all columns, one after the other; zero where there is no float.
    floats: ScalarBuffer<f64>,
    /// Of those that have other values.
    others: Vec<Option<Vec<FeatureValue>>>,
    statuses: Vec<CellStatus>,
    /// For each row the newest event time of its record.
    times: Vec<Option<Timestamp>>,
    /// For each cell its event time where it is not the record's; empty where there is none such.
    own_times: Vec<Option<Timestamp>>,
}

struct Row {
    row: Option<FeatureRow>,
    layout: usize,
    failed: bool,
}

impl Column {
    /// The type of every value, where they have but one.
    pub(super) fn value_type(&self) -> Option<ValueType> {
        if let Kind::One(own) = self.kind { Some(own) } else { None }
    }

    /// Whether its values have no common type.
    pub(super) fn is_mixed(&self) -> bool {
        self.kind == Kind::Several
    }
}

impl Cells {
    /// What a model has asked for.
    pub(crate) fn of_table(table: FeatureTable, full_names: bool) -> Self {
        let column = |column: FeatureColumn<'_>| {
            let feature = column.reference();
            let name = match full_names {
                true => format!("{}__{}", feature.view(), feature.feature().unwrap_or_default()),
                false => column.name().to_owned(),
            };
            Column { name, kind: Kind::One(column.value_type()) }
        };
        Self {
            columns: table.columns().map(column).collect(),
            keys: table.entities().into(),
            errors: table.errors().into(),
            view: None,
            from_fallback: Arc::new(
                table.from_fallback().map(|(view, rows)| (view.to_owned(), rows.to_vec())).collect(),
            ),
            keys_shown: false,
            source: Arc::new(Source::Table(Box::new(table))),
        }
    }

    /// Features of one view: the columns are those that were asked for.
    pub(crate) fn of_gathered(names: Vec<String>, keys: Vec<EntityKey>, gathered: Gathered) -> Self {
        let Gathered { view, floats, others, statuses, times, own_times, errors, .. } = gathered;
        let kind = |(at, own): (usize, &Option<Vec<FeatureValue>>)| match own {
            Some(own) => kind_of(own.iter()),
            None if cells(at, keys.len(), &statuses).contains(&CellStatus::Present) => {
                Kind::One(ValueType::Float64)
            }
            None => Kind::Nulls,
        };
        let kinds = others.iter().enumerate().map(kind);
        Self {
            columns: names.into_iter().zip(kinds).map(|(name, kind)| Column { name, kind }).collect(),
            keys: keys.into(),
            errors: errors.into(),
            view: Some(view.into()),
            from_fallback: Arc::default(),
            keys_shown: false,
            source: Arc::new(Source::Columns(Columns {
                floats: floats.into(),
                others,
                statuses,
                times,
                own_times,
            })),
        }
    }

    /// Rows of one view: the columns are those that were asked for, in that order, or all that were found, by name.
    pub(crate) fn of_rows(
        view: &str,
        keys: Vec<EntityKey>,
        wanted: Option<Vec<String>>,
        found: BatchRows,
    ) -> Self {
        let names = wanted.unwrap_or_else(|| names_of(&found));
        let (mut rows, mut errors) = (Vec::with_capacity(found.len()), Vec::new());
        let mut layouts: Vec<Vec<Option<usize>>> = Vec::new();
        let mut last: Option<Arc<FeatureNames>> = None;
        for (number, row) in found.into_iter().enumerate() {
            let (row, failed) = match row {
                Ok(row) => (row, false),
                Err(error) => {
                    errors.push(RowError { row: number, view: view.to_owned(), feature: None, error });
                    (None, true)
                }
            };
            if let Some(row) = &row
                && last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, row.names()))
            {
                layouts.push(layout(&names, row.names()));
                last = Some(Arc::clone(row.names()));
            }
            rows.push(Row { row, layout: layouts.len().saturating_sub(1), failed });
        }
        let column = |(at, name): (usize, String)| {
            let kind = kind_of(rows.iter().map(|row| value(row, &layouts, at)));
            Column { name, kind }
        };
        Self {
            columns: names.into_iter().enumerate().map(column).collect(),
            keys: keys.into(),
            errors: errors.into(),
            view: Some(view.into()),
            from_fallback: Arc::default(),
            keys_shown: false,
            source: Arc::new(Source::Rows { rows, layouts }),
        }
    }

    /// The same with, or without, columns for the join keys.
    pub(crate) fn with_keys(&self, keys_shown: bool) -> Self {
        Self { keys_shown, ..self.clone() }
    }

    pub(super) fn rows(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn value(&self, column: usize, row: usize) -> Cow<'_, FeatureValue> {
        match &*self.source {
            Source::Table(table) => {
                table.nth_column(column).map_or(Cow::Borrowed(&NULL), |column| column.value(row))
            }
            Source::Columns(own) => own.value(column, row, self.rows()),
            Source::Rows { rows, layouts } => Cow::Borrowed(value(&rows[row], layouts, column)),
        }
    }

    /// The values of a column of floats, zero where there is none.
    pub(super) fn floats(&self, column: usize) -> Option<(Floats<'_>, &[CellStatus])> {
        match &*self.source {
            Source::Table(table) => {
                let column = table.nth_column(column)?;
                match column.as_slice() {
                    ColumnSlice::Floats(floats) => Some((Floats::Lent(floats), column.statuses())),
                    ColumnSlice::Values(_) => None,
                }
            }
            Source::Columns(own) => {
                let is_float = self.columns[column].value_type() == Some(ValueType::Float64);
                let is_float = is_float && own.others[column].is_none();
                let rows = self.rows();
                let floats = || Floats::Shared(own.floats.slice(column * rows, rows));
                is_float.then(|| (floats(), cells(column, rows, &own.statuses)))
            }
            Source::Rows { .. } => None,
        }
    }

    pub(super) fn status(&self, column: usize, row: usize) -> CellStatus {
        match &*self.source {
            Source::Table(table) => {
                table.nth_column(column).map_or(CellStatus::NotFound, |column| column.statuses()[row])
            }
            Source::Columns(own) => cells(column, self.rows(), &own.statuses)[row],
            Source::Rows { rows, .. } => match &rows[row] {
                Row { failed: true, .. } => CellStatus::Failed,
                Row { row: Some(row), .. } => row.status(&self.columns[column].name).into(),
                _ => CellStatus::NotFound,
            },
        }
    }

    pub(super) fn event_time(&self, column: usize, row: usize) -> Option<Timestamp> {
        match &*self.source {
            Source::Table(table) => table.nth_column(column)?.event_time(row),
            Source::Columns(own) => match self.status(column, row) {
                CellStatus::NotFound | CellStatus::Failed => None,
                _ => own.own_times.get(column * self.rows() + row).copied().flatten().or(own.times[row]),
            },
            Source::Rows { rows, .. } => rows[row].row.as_ref()?.event_time(&self.columns[column].name),
        }
    }

    /// The newest event time of a row's record, where it is that of one.
    pub(super) fn row_time(&self, row: usize) -> Option<Timestamp> {
        match &*self.source {
            Source::Table(_) => None,
            Source::Columns(own) => own.times[row],
            Source::Rows { rows, .. } => rows[row].row.as_ref().map(|row| row.timestamp),
        }
    }

    /// Whether rows are records, and have a time of their own.
    pub(super) fn has_row_times(&self) -> bool {
        !matches!(*self.source, Source::Table(_))
    }

    /// The bytes of a matrix of `float64`, row by row; or the first of its columns that is not of numbers.
    pub(super) fn matrix(&self, columns: &[usize]) -> Result<Vec<u8>, usize> {
        let mut bytes = Vec::with_capacity(self.rows() * columns.len() * 8);
        if let Some(all) = columns.iter().map(|column| self.floats(*column)).collect::<Option<Vec<_>>>() {
            for row in 0..self.rows() {
                for (floats, statuses) in &all {
                    let is_there = statuses[row] == CellStatus::Present;
                    bytes.extend_from_slice(&if is_there { floats[row] } else { f64::NAN }.to_ne_bytes());
                }
            }
            return Ok(bytes);
        }
        for row in 0..self.rows() {
            for column in columns {
                let number = match &*self.value(*column, row) {
                    FeatureValue::Float64(v) => *v,
                    FeatureValue::Null => f64::NAN,
                    FeatureValue::Bool(v) => f64::from(u8::from(*v)),
                    other => other.as_f64().ok_or(*column)?,
                };
                bytes.extend_from_slice(&number.to_ne_bytes());
            }
        }
        Ok(bytes)
    }

    /// The bytes of a column of fixed width, with numpy's name of its type.
    pub(super) fn buffer(&self, column: usize) -> Option<(&'static str, Vec<u8>)> {
        let mut bytes = Vec::with_capacity(self.rows() * 8);
        let values = (0..self.rows()).map(|row| self.value(column, row));
        macro_rules! take {
            ($name:literal, $of:expr) => {{
                for value in values {
                    bytes.extend_from_slice(&$of(&*value).unwrap_or_default().to_ne_bytes());
                }
                $name
            }};
        }
        let name = match self.columns[column].value_type()? {
            ValueType::Bool => take!("bool", |v: &FeatureValue| v.as_bool().map(u8::from)),
            ValueType::Int32 => take!("int32", |v: &FeatureValue| v.as_i64().map(|v| v as i32)),
            ValueType::Int64 => take!("int64", FeatureValue::as_i64),
            ValueType::Float32 => take!("float32", |v: &FeatureValue| match v {
                FeatureValue::Float32(v) => Some(*v),
                _ => Some(f32::NAN),
            }),
            ValueType::Float64 => take!("float64", |v: &FeatureValue| Some(v.as_f64().unwrap_or(f64::NAN))),
            ValueType::Timestamp => take!("datetime64[us]", |v: &FeatureValue| match v {
                FeatureValue::Timestamp(v) => Some(v.as_micros()),
                // Numpy's "not a time".
                _ => Some(i64::MIN),
            }),
            _ => return None,
        };
        Some((name, bytes))
    }
}

/// The floats of a column.
pub(super) enum Floats<'a> {
    Lent(&'a [f64]),
    Shared(ScalarBuffer<f64>),
}

impl Deref for Floats<'_> {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        match self {
            Self::Lent(floats) => floats,
            Self::Shared(floats) => floats,
        }
    }
}

impl From<Floats<'_>> for ScalarBuffer<f64> {
    fn from(floats: Floats<'_>) -> Self {
        match floats {
            Floats::Lent(floats) => floats.to_vec().into(),
            Floats::Shared(floats) => floats,
        }
    }
}

impl Columns {
    fn value(&self, column: usize, row: usize, rows: usize) -> Cow<'_, FeatureValue> {
        match &self.others[column] {
            Some(others) => Cow::Borrowed(&others[row]),
            None if cells(column, rows, &self.statuses)[row] == CellStatus::Present => {
                Cow::Owned(FeatureValue::Float64(cells(column, rows, &self.floats)[row]))
            }
            None => Cow::Borrowed(&NULL),
        }
    }
}

/// What a column has of what stands column after column.
fn cells<T>(column: usize, rows: usize, all: &[T]) -> &[T] {
    &all[column * rows..][..rows]
}

fn value<'a>(row: &'a Row, layouts: &[Vec<Option<usize>>], column: usize) -> &'a FeatureValue {
    let Some(own) = &row.row else { return &NULL };
    layouts[row.layout][column].map_or(&NULL, |at| &own.values()[at])
}

/// All names that rows have, in order.
fn names_of(found: &BatchRows) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut last: Option<&Arc<FeatureNames>> = None;
    for row in found.iter().flatten().flatten() {
        if last.is_none_or(|last| !Arc::ptr_eq(last, row.names())) {
            names.extend(row.names().iter().map(str::to_owned));
            last = Some(row.names());
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Where each column stands among a row's names.
fn layout(columns: &[String], names: &FeatureNames) -> Vec<Option<usize>> {
    let in_place = |(at, column): (usize, &String)| match names.get(at) {
        Some(own) if own == column => Some(at),
        _ => names.position(column),
    };
    columns.iter().enumerate().map(in_place).collect()
}

/// The one type that all values can be read as, where there is one.
pub(super) fn kind_of<'a>(values: impl Iterator<Item = &'a FeatureValue> + Clone) -> Kind {
    let mut kind = Kind::Nulls;
    for own in values.clone().filter_map(FeatureValue::value_type) {
        kind = match kind {
            Kind::Nulls => Kind::One(own),
            Kind::One(common) if common == own || own.widens_to(common) => kind,
            Kind::One(common) if common.widens_to(own) => Kind::One(own),
            Kind::One(ValueType::Int64 | ValueType::Float64)
                if matches!(own, ValueType::Int64 | ValueType::Float64 | ValueType::Float32) =>
            {
                Kind::One(ValueType::Float64)
            }
            _ => return Kind::Several,
        };
    }
    // An integer of more than 53 bits is no float.
    let exact = |value: &FeatureValue| value.is_null() || value.as_f64().is_some();
    if kind == Kind::One(ValueType::Float64) && !values.into_iter().all(exact) { Kind::Several } else { kind }
}
