//! Writes.

use std::sync::Arc;

use feature_store::{Error, FeatureView, FeatureWrite, Result, Ttl, WriteMode, WriteOutcome, WriteReport};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use super::{Store, refused, seconds};
use crate::entity::key;
use crate::error::{exception_of_rows, report};
use crate::value::{features, instant, type_name};

/// What holds for every row of a write.
#[derive(Clone, Copy)]
struct Terms {
    ttl: Option<Ttl>,
    mode: WriteMode,
}

impl Terms {
    fn new(ttl_seconds: Option<f64>, mode: &str) -> Result<Self> {
        let ttl = seconds("ttl_seconds", ttl_seconds)?.map(Ttl::After);
        let mode = match mode {
            "merge" => WriteMode::Merge,
            "replace" => WriteMode::Replace,
            other => {
                let message = format!("a write cannot `{other}`: its mode is `merge` or `replace`");
                return Err(Error::invalid_argument(message));
            }
        };
        Ok(Self { ttl, mode })
    }

    fn row(
        self,
        entity_key: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
        timestamp: Option<&Bound<'_, PyAny>>,
        view: Option<&FeatureView>,
    ) -> Result<FeatureWrite> {
        let entity_key = key(entity_key)?;
        let of_entity =
            |error: Error| Error::invalid_argument(format!("{} (entity {entity_key})", error.message()));
        let features = features(values, view).map_err(of_entity)?;
        let timestamp = match timestamp.filter(|timestamp| !timestamp.is_none()) {
            None => None,
            Some(timestamp) => {
                let instant =
                    instant(timestamp).map_err(|e| of_entity(Error::invalid_argument(e.to_string())))?;
                Some(instant.ok_or_else(|| {
                    let name = type_name(timestamp);
                    of_entity(Error::invalid_argument(format!(
                        "the timestamp is of type {name}: give a datetime"
                    )))
                })?)
            }
        };
        let Self { ttl, mode } = self;
        Ok(FeatureWrite { timestamp, ttl, mode, ..FeatureWrite::new(entity_key, features) })
    }
}

#[pymethods]
impl Store {
    #[pyo3(signature = (tenant_id, feature_view, entity_key, features, timestamp, ttl_seconds, mode))]
    #[expect(clippy::too_many_arguments, reason = "those of the reference")]
    fn write_features<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        entity_key: &Bound<'py, PyAny>,
        features: &Bound<'py, PyAny>,
        timestamp: Option<&Bound<'py, PyAny>>,
        ttl_seconds: Option<f64>,
        mode: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let row = Terms::new(ttl_seconds, mode)
            .and_then(|terms| terms.row(entity_key, features, timestamp, self.handle.view(&feature_view)));
        let row = row.map_err(|e| refused(py, "write", &tenant_id, &feature_view, e))?;
        let handle = Arc::clone(&self.handle);
        let write = async move {
            let store = handle.store().await?;
            store.online().batch_write(&tenant_id, &feature_view, [row]).await?.into_result()
        };
        self.call(py, write, |py, report| {
            let applied = matches!(report.rows().first(), Some(Ok(WriteOutcome::Applied)) | None);
            applied.into_py_any(py)
        })
    }

    #[pyo3(signature = (tenant_id, feature_view, records, ttl_seconds, mode, report))]
    #[expect(clippy::too_many_arguments, reason = "those of the reference")]
    fn batch_write<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        records: &Bound<'py, PyAny>,
        ttl_seconds: Option<f64>,
        mode: &str,
        report: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let refuse = |error| refused(py, "write", &tenant_id, &feature_view, error);
        let terms = Terms::new(ttl_seconds, mode).map_err(refuse)?;
        let view = self.handle.view(&feature_view);
        let mut rows = Vec::with_capacity(records.len().unwrap_or_default());
        for (number, record) in records.try_iter()?.enumerate() {
            let row = row(terms, &record?, view)?;
            rows.push(
                row.map_err(|e| {
                    refuse(Error::invalid_argument(format!("record {number}: {}", e.message())))
                })?,
            );
        }
        let handle = Arc::clone(&self.handle);
        let write =
            async move { handle.store().await?.online().batch_write(&tenant_id, &feature_view, rows).await };
        self.call(py, write, move |py, done| written(py, &done, report))
    }
}

/// A record: entity key, features and, if it has one, event time.
fn row(
    terms: Terms,
    record: &Bound<'_, PyAny>,
    view: Option<&FeatureView>,
) -> PyResult<Result<FeatureWrite>> {
    let parts = record.len().unwrap_or_default();
    if !(2..=3).contains(&parts) || record.is_instance_of::<pyo3::types::PyDict>() {
        return Ok(Err(Error::invalid_argument(format!(
            "it is of type {}: give (entity_key, features, timestamp)",
            type_name(record)
        ))));
    }
    let timestamp = if parts == 3 { Some(record.get_item(2)?) } else { None };
    Ok(terms.row(&record.get_item(0)?, &record.get_item(1)?, timestamp.as_ref(), view))
}

/// How many rows the store has taken, or the report; raises where rows failed and no report was asked for.
fn written(py: Python<'_>, done: &WriteReport, wanted: bool) -> PyResult<Py<PyAny>> {
    if wanted {
        return Ok(report(py, done)?.unbind());
    }
    match exception_of_rows(py, done.failures())? {
        None => done.written().into_py_any(py),
        Some(error) => {
            error.value(py).setattr("report", report(py, done)?)?;
            Err(error)
        }
    }
}
