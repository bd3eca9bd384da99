//! Rows as dicts of the reference's shape.

use std::sync::Arc;

use feature_store::{FeatureNames, FeatureRow, Timestamp};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::value::{iso, to_python};

/// What a row says besides its features.
#[derive(Clone, Copy, Default, FromPyObject)]
pub(super) struct Include {
    /// What there is to say about each feature.
    #[pyo3(item)]
    statuses: bool,
    /// The event time of each feature.
    #[pyo3(item)]
    event_times: bool,
}

/// Makes dicts of the rows of one read, which mostly share their names and often their times.
pub(super) struct Rows {
    include: Include,
    names: Option<(Arc<FeatureNames>, Vec<Py<PyString>>)>,
    time: Option<(Timestamp, Py<PyString>)>,
}

impl Rows {
    pub(super) fn new(include: Include) -> Self {
        Self { include, names: None, time: None }
    }

    /// `{"features", "timestamp", "entity_key"}` with what else was asked for; `None` without a record.
    pub(super) fn dict(
        &mut self,
        py: Python<'_>,
        row: Option<&FeatureRow>,
        entity_key: &Py<PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let Some(row) = row else { return Ok(py.None()) };
        let dict = PyDict::new(py);
        dict.set_item(intern!(py, "features"), self.features(py, row)?)?;
        dict.set_item(intern!(py, "timestamp"), self.time(py, row.timestamp))?;
        dict.set_item(intern!(py, "entity_key"), entity_key)?;
        if self.include.statuses {
            let statuses = PyDict::new(py);
            for (name, status, _) in row.iter() {
                statuses.set_item(name, status.name())?;
            }
            dict.set_item(intern!(py, "statuses"), statuses)?;
        }
        if self.include.event_times {
            let times = PyDict::new(py);
            for name in row.names().iter() {
                times.set_item(name, row.event_time(name).map(iso))?;
            }
            dict.set_item(intern!(py, "event_times"), times)?;
        }
        Ok(dict.into_any().unbind())
    }

    fn features<'py>(&mut self, py: Python<'py>, row: &FeatureRow) -> PyResult<Bound<'py, PyDict>> {
        let names = match &self.names {
            Some((names, own)) if Arc::ptr_eq(names, row.names()) => own,
            _ => {
                let own = row.names().iter().map(|name| PyString::intern(py, name).unbind()).collect();
                &self.names.insert((Arc::clone(row.names()), own)).1
            }
        };
        let features = PyDict::new(py);
        for (name, value) in names.iter().zip(row.values()) {
            features.set_item(name, to_python(py, value)?)?;
        }
        Ok(features)
    }

    fn time(&mut self, py: Python<'_>, time: Timestamp) -> Py<PyString> {
        match &self.time {
            Some((own, text)) if *own == time => text.clone_ref(py),
            _ => {
                let text = PyString::new(py, &iso(time)).unbind();
                self.time = Some((time, text.clone_ref(py)));
                text
            }
        }
    }
}
