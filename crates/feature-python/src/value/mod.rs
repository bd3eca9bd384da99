//! Feature values from Python and to it.

mod from_python;
mod numpy;
mod to_python;

pub(crate) use from_python::{Reason, features, from_python, type_name};
pub(crate) use numpy::value as numpy_value;
pub(crate) use to_python::{iso, to_python};

use feature_store::Timestamp;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// Python's classes of times.
pub(crate) struct Times {
    datetime: Py<PyType>,
    date: Py<PyType>,
    timedelta: Py<PyType>,
    utc: Py<PyAny>,
    epoch: Py<PyAny>,
}

impl Times {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static TIMES: PyOnceLock<Times> = PyOnceLock::new();
        TIMES.get_or_try_init(py, || {
            let module = py.import("datetime")?;
            let class = |name| PyResult::Ok(module.getattr(name)?.cast_into::<PyType>()?);
            let (datetime, utc) = (class("datetime")?, module.getattr("timezone")?.getattr("utc")?);
            Ok(Self {
                epoch: datetime.call1((1970, 1, 1, 0, 0, 0, 0, &utc))?.unbind(),
                datetime: datetime.unbind(),
                date: class("date")?.unbind(),
                timedelta: class("timedelta")?.unbind(),
                utc: utc.unbind(),
            })
        })
    }
}

/// The instant of a `datetime`, of which one without a zone is in UTC, or the first of a `date`; `None` for what is
/// neither.
pub(crate) fn instant(value: &Bound<'_, PyAny>) -> PyResult<Option<Timestamp>> {
    let py = value.py();
    let times = Times::get(py)?;
    if !value.is_instance(times.date.bind(py))? {
        return Ok(None);
    }
    let aware = if !value.is_instance(times.datetime.bind(py))? {
        let part = |name| value.getattr(name);
        let parts = (part(intern!(py, "year"))?, part(intern!(py, "month"))?, part(intern!(py, "day"))?);
        times.datetime.bind(py).call1((parts.0, parts.1, parts.2, 0, 0, 0, 0, &times.utc))?
    } else if value.getattr(intern!(py, "tzinfo"))?.is_none() {
        let zone = PyDict::new(py);
        zone.set_item(intern!(py, "tzinfo"), &times.utc)?;
        value.call_method(intern!(py, "replace"), (), Some(&zone))?
    } else {
        value.clone()
    };
    let since = aware.sub(&times.epoch)?;
    let part = |name| since.getattr(name)?.extract::<i64>();
    let (days, seconds) = (part(intern!(py, "days"))?, part(intern!(py, "seconds"))?);
    let micros = part(intern!(py, "microseconds"))?;
    Ok(Some(Timestamp::from_micros((days * 86_400 + seconds) * 1_000_000 + micros)))
}

/// The `datetime`, in UTC, of an instant.
///
/// # Errors
/// `OverflowError` for one outside the years 1 to 9999.
pub(crate) fn datetime(py: Python<'_>, instant: Timestamp) -> PyResult<Bound<'_, PyAny>> {
    let times = Times::get(py)?;
    let since = times.timedelta.bind(py).call1((0, 0, instant.as_micros()))?;
    times.epoch.bind(py).add(since)
}
