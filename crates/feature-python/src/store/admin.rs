//! Everything that is neither a read nor a write of features.

use std::sync::Arc;

use feature_store::aerospike::AerospikeConfig;
use feature_store::{Error, RecordKey, ViewKey};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::{Store, refused, scope};
use crate::entity::{Entities, entities, key};
use crate::error::{exception_of_rows, or_raise};
use crate::value::iso;

#[pymethods]
impl Store {
    fn connect<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Arc::clone(&self.handle);
        self.call(py, async move { handle.store().await.map(drop) }, |py, ()| Ok(py.None()))
    }

    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Arc::clone(&self.handle);
        self.call(py, async move { handle.close().await }, |py, ()| Ok(py.None()))
    }

    fn delete<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        entity_keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let keys = entities(entity_keys)?.map_err(|e| refused(py, "delete", &tenant_id, &feature_view, e))?;
        let (handle, Entities { keys, .. }) = (Arc::clone(&self.handle), keys);
        let delete =
            async move { handle.store().await?.online().delete(&tenant_id, &feature_view, &keys).await };
        self.call(py, delete, |py, rows| {
            let failed =
                rows.iter().enumerate().filter_map(|(number, row)| Some((number, row.as_ref().err()?)));
            if let Some(error) = exception_of_rows(py, failed)? {
                return Err(error);
            }
            let deleted: Vec<bool> = rows.into_iter().map(Result::unwrap_or_default).collect();
            deleted.into_py_any(py)
        })
    }

    #[pyo3(signature = (tenant_id, feature_view))]
    fn purge<'py>(
        &self,
        py: Python<'py>,
        tenant_id: &str,
        feature_view: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let scope = or_raise(py, scope("purge", tenant_id, feature_view))?;
        let handle = Arc::clone(&self.handle);
        let purge = async move { handle.store().await?.online().purge(&scope).await };
        self.call(py, purge, |py, report| report.removed.into_py_any(py))
    }

    fn check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Arc::clone(&self.handle);
        let check = async move {
            let store = handle.store().await?;
            let health = store.online().check().await?;
            Ok((store.online().capabilities().backend, health))
        };
        self.call(py, check, |py, (backend, health)| {
            let dict = PyDict::new(py);
            dict.set_item("backend", backend)?;
            dict.set_item("facts", health.facts.into_iter().collect::<std::collections::BTreeMap<_, _>>())?;
            dict.set_item("warnings", health.warnings)?;
            dict.into_py_any(py)
        })
    }

    /// Where Aerospike has the record of an entity: namespace, set and key.
    fn aerospike_key(
        &self,
        py: Python<'_>,
        tenant_id: &str,
        feature_view: &str,
        entity_key: &Bound<'_, PyAny>,
    ) -> PyResult<(String, String, String)> {
        let place = || {
            let url =
                self.handle.url().ok_or_else(|| Error::invalid_argument("several stores have no one key"))?;
            let config = AerospikeConfig::from_url(url)?;
            let record = RecordKey::new(ViewKey::new(tenant_id, feature_view)?, key(entity_key)?);
            let (set, key) = config.set_and_key(&record);
            Ok((config.namespace, set, key))
        };
        place().map_err(|e| refused(py, "build key", tenant_id, feature_view, e))
    }

    fn migrations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let handle = Arc::clone(&self.handle);
        let status = async move { handle.store().await?.unified()?.migrations().status().await };
        self.call(py, status, |py, all| {
            let list = PyList::empty(py);
            for own in all {
                let dict = PyDict::new(py);
                dict.set_item("scope", own.scope.to_string())?;
                dict.set_item("from", own.from)?;
                dict.set_item("to", own.to)?;
                dict.set_item("phase", own.phase.to_string())?;
                dict.set_item("followed", own.followed)?;
                dict.set_item("started", iso(own.started))?;
                dict.set_item("since", iso(own.since))?;
                dict.set_item("looked_at", own.looked_at)?;
                dict.set_item("copied", own.copied)?;
                dict.set_item("verified", own.verified.map(|verified| iso(verified.at)))?;
                list.append(dict)?;
            }
            list.into_py_any(py)
        })
    }
}
