//! Tables: what a read of many entities gives.

mod arrow;
mod cells;
mod columns;
mod export;
mod gathered;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyCapsule, PyDict, PyList, PyTuple};

pub(crate) use cells::Cells;
pub(crate) use columns::record_batch;
pub(crate) use gathered::Gathered;

use feature_store::ValueType;

use crate::error::exception;
use crate::value::{datetime, to_python};

/// Columns of features, one row for each entity.
#[pyclass(frozen, module = "feature_store._native")]
pub(crate) struct Table {
    cells: Cells,
}

impl Table {
    pub(crate) fn new(cells: Cells) -> Self {
        Self { cells }
    }

    fn column(&self, column: usize) -> PyResult<usize> {
        let columns = self.cells.columns.len();
        let beyond = || pyo3::exceptions::PyIndexError::new_err(format!("there are {columns} columns"));
        (column < columns).then_some(column).ok_or_else(beyond)
    }
}

#[pymethods]
impl Table {
    #[getter]
    fn num_rows(&self) -> usize {
        self.cells.rows()
    }

    #[getter]
    fn column_names(&self) -> Vec<&str> {
        self.cells.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// The type of each column; `None` for one of nulls alone, and for one of several types.
    #[getter]
    fn column_types(&self) -> Vec<Option<&'static str>> {
        self.cells.columns.iter().map(|column| column.value_type().map(ValueType::name)).collect()
    }

    /// The view that the rows are of; `None` where they are of several.
    #[getter]
    fn feature_view(&self) -> Option<&str> {
        self.cells.view.as_deref()
    }

    /// Whether there is a null in a column.
    fn has_null(&self, column: usize) -> PyResult<bool> {
        let column = self.column(column)?;
        Ok((0..self.cells.rows()).any(|row| self.cells.value(column, row).is_null()))
    }

    /// The values of a column.
    fn values<'py>(&self, py: Python<'py>, column: usize) -> PyResult<Bound<'py, PyList>> {
        let column = self.column(column)?;
        let values = (0..self.cells.rows()).map(|row| to_python(py, &self.cells.value(column, row)));
        PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)
    }

    fn statuses(&self, column: usize) -> PyResult<Vec<&'static str>> {
        let column = self.column(column)?;
        Ok((0..self.cells.rows()).map(|row| self.cells.status(column, row).name()).collect())
    }

    fn event_times<'py>(&self, py: Python<'py>, column: usize) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let column = self.column(column)?;
        let time = |row| self.cells.event_time(column, row).map(|time| datetime(py, time)).transpose();
        (0..self.cells.rows()).map(time).collect()
    }

    /// The entity key of each row.
    fn entities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let dicts = PyList::empty(py);
        for key in self.cells.keys.iter() {
            let dict = PyDict::new(py);
            for (name, value) in key.join_keys() {
                dict.set_item(name, value)?;
            }
            dicts.append(dict)?;
        }
        Ok(dicts)
    }

    /// What went wrong: row, view, feature if it is one alone, and exception.
    fn errors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let errors = PyList::empty(py);
        for failed in self.cells.errors.iter() {
            let error = exception(py, &failed.error).into_value(py);
            errors.append((failed.row, &failed.view, &failed.feature, error))?;
        }
        Ok(errors)
    }

    /// The rows that a fallback store has served, by view.
    #[pyo3(name = "from_fallback")]
    fn fallback_rows(&self) -> Vec<(String, Vec<usize>)> {
        self.cells.from_fallback.to_vec()
    }

    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let names = self.cells.columns.iter().map(|column| pyo3::types::PyString::intern(py, &column.name));
        let names: Vec<_> = names.collect();
        let dicts = PyList::empty(py);
        for row in 0..self.cells.rows() {
            let dict = PyDict::new(py);
            for (column, name) in names.iter().enumerate() {
                dict.set_item(name, to_python(py, &self.cells.value(column, row))?)?;
            }
            dicts.append(dict)?;
        }
        Ok(dicts)
    }

    /// The bytes of a matrix of `float64`, row by row, with NaN for null.
    #[expect(clippy::needless_pass_by_value, reason = "Python gives it away")]
    fn matrix<'py>(&self, py: Python<'py>, columns: Vec<usize>) -> PyResult<Bound<'py, PyByteArray>> {
        for column in &columns {
            self.column(*column)?;
        }
        match py.detach(|| self.cells.matrix(&columns)) {
            Ok(bytes) => Ok(PyByteArray::new(py, &bytes)),
            Err(column) => Err(PyValueError::new_err(format!(
                "`{}` has values that are no numbers, or no float64 exactly: leave it out, or ask for dtype=object",
                self.cells.columns[column].name
            ))),
        }
    }

    /// The bytes of a column of numbers, booleans or times, zero where it is null; `None` for other columns.
    fn buffer<'py>(
        &self,
        py: Python<'py>,
        column: usize,
    ) -> PyResult<Option<(&'static str, Bound<'py, PyByteArray>)>> {
        let column = self.column(column)?;
        Ok(self.cells.buffer(column).map(|(kind, bytes)| (kind, PyByteArray::new(py, &bytes))))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        export::schema(py, &self.cells.batch(py, None)?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // A consumer that wanted other types has to cast: that is allowed.
        drop(requested_schema);
        export::array(py, self.cells.batch(py, None)?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        export::stream(py, self.cells.batch(py, None)?)
    }

    /// The same table with, or without, columns for the join keys in front.
    fn with_entities(&self, entities: bool) -> Self {
        Self { cells: self.cells.with_keys(entities) }
    }
}
