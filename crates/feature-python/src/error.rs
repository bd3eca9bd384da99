//! Errors as Python's exceptions.

use feature_ingest::IngestError;
use feature_store::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// The module that has the classes.
const MODULE: &str = "feature_store.errors";

/// The exception of an error, with all that is known about it.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let build = || {
        let facts = PyDict::new(py);
        facts.set_item("kind", error.kind().name())?;
        facts.set_item("in_doubt", error.in_doubt())?;
        facts.set_item("retryable", error.is_retryable())?;
        facts.set_item("retry_after", error.retry_after().map(|wait| wait.as_secs_f64()))?;
        facts.set_item("operation", error.operation())?;
        facts.set_item("backend", error.backend())?;
        facts.set_item("key", error.key())?;
        let class = py.import(MODULE)?.getattr(format!("{}Error", error.kind()))?;
        // The debugging form adds the causes.
        class.call((format!("{error:?}"),), Some(&facts))
    };
    build().map_or_else(|failed: PyErr| failed, PyErr::from_value)
}

/// The exception for rows that failed: that of the first of them, with all of them by their number.
pub(crate) fn exception_of_rows<'a>(
    py: Python<'_>,
    failures: impl Iterator<Item = (usize, &'a Error)>,
) -> PyResult<Option<PyErr>> {
    let rows = PyDict::new(py);
    let mut first = None;
    for (row, error) in failures {
        let exception = exception(py, error).into_value(py);
        first.get_or_insert_with(|| exception.clone_ref(py));
        rows.set_item(row, exception)?;
    }
    let Some(first) = first else { return Ok(None) };
    let first = first.into_bound(py).into_any();
    first.setattr("rows", rows)?;
    Ok(Some(PyErr::from_value(first)))
}

/// What became of each row of a write, as `feature_store.WriteReport`.
pub(crate) fn report<'py>(
    py: Python<'py>,
    report: &feature_store::WriteReport,
) -> PyResult<Bound<'py, PyAny>> {
    let outcomes = PyList::empty(py);
    for row in report.rows() {
        match row {
            Ok(outcome) => outcomes.append(matches!(outcome, feature_store::WriteOutcome::Applied))?,
            Err(error) => outcomes.append(exception(py, error).into_value(py))?,
        }
    }
    py.import("feature_store")?.getattr("WriteReport")?.call1((outcomes,))
}

/// A result, or the exception of its error.
pub(crate) fn or_raise<T>(py: Python<'_>, result: Result<T>) -> PyResult<T> {
    result.map_err(|error| exception(py, &error))
}

/// The error of a load, as one of the store's.
pub(crate) fn of_load(error: IngestError) -> Error {
    match error {
        IngestError::Store(error) => error,
        other => Error::invalid_argument(other.to_string()),
    }
}
