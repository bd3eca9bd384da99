//! Reads.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_store::unified::FeatureRef;
use feature_store::{
    BatchRows, EntityKey, Error, FeatureNames, FeatureRequest, OnlineStore, Result, ViewRead,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::row::{Include, Rows};
use super::{Store, refused, seconds};
use crate::entity::{Entities, entities, key};
use crate::error::{exception_of_rows, or_raise};
use crate::runtime::Runtime;
use crate::table::{Cells, Gathered, Table};

/// A read of several entities of one view.
struct Batch {
    tenant: String,
    view: String,
    keys: Vec<EntityKey>,
    names: Option<Vec<String>>,
    max_age: Option<Duration>,
}

impl Batch {
    async fn read(&self, store: &OnlineStore) -> Result<BatchRows> {
        let names: Option<Vec<&str>> =
            self.names.as_ref().map(|names| names.iter().map(String::as_str).collect());
        let Self { tenant, view, keys, max_age, .. } = self;
        match max_age {
            None => store.batch_read(tenant, view, keys, names.as_deref()).await,
            Some(max_age) => {
                store.with_max_age(*max_age).batch_read(tenant, view, keys, names.as_deref()).await
            }
        }
    }

    /// The features as columns. They are decoded into those at once where it is known which they are.
    async fn cells(self, store: &OnlineStore) -> Result<Cells> {
        let distinct =
            self.names.as_ref().is_some_and(|all| all.iter().collect::<HashSet<_>>().len() == all.len());
        if !distinct {
            let rows = self.read(store).await?;
            return Ok(Cells::of_rows(&self.view, self.keys, self.names, rows));
        }
        let Self { tenant, view, keys, names, max_age } = self;
        let names = names.unwrap_or_default();
        let asked = Arc::new(names.iter().collect::<FeatureNames>());
        let read = ViewRead { feature_view: &view, entity_keys: &keys, feature_names: Some(&asked) };
        let mut gathered = Gathered::new(&view, names.len(), keys.len());
        match max_age {
            None => store.read_into(&tenant, &[read], &mut gathered).await?,
            Some(max_age) => store.with_max_age(max_age).read_into(&tenant, &[read], &mut gathered).await?,
        }
        Ok(Cells::of_gathered(names, keys, gathered))
    }
}

#[pymethods]
impl Store {
    #[pyo3(signature = (tenant_id, feature_view, entity_key, feature_names, include, max_age_seconds))]
    #[expect(clippy::too_many_arguments, reason = "those of the reference")]
    fn read_features<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        entity_key: Bound<'py, PyAny>,
        feature_names: Option<Vec<String>>,
        include: Include,
        max_age_seconds: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let checked =
            key(&entity_key).and_then(|key| Ok((key, seconds("max_age_seconds", max_age_seconds)?)));
        let (key, max_age) = checked.map_err(|e| refused(py, "read", &tenant_id, &feature_view, e))?;
        let batch =
            Batch { tenant: tenant_id, view: feature_view, keys: vec![key], names: feature_names, max_age };
        let (handle, entity_key) = (Arc::clone(&self.handle), entity_key.unbind());
        let read = async move {
            let rows = batch.read(handle.store().await?.online()).await?;
            rows.into_iter().next().unwrap_or(Ok(None))
        };
        self.call(py, read, move |py, row| Rows::new(include).dict(py, row.as_ref(), &entity_key))
    }

    #[pyo3(signature = (tenant_id, feature_view, entity_keys, feature_names, include, max_age_seconds))]
    #[expect(clippy::too_many_arguments, reason = "those of the reference")]
    fn batch_read<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        entity_keys: &Bound<'py, PyAny>,
        feature_names: Option<Vec<String>>,
        include: Include,
        max_age_seconds: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (batch, dicts) = batch(py, tenant_id, feature_view, entity_keys, feature_names, max_age_seconds)?;
        let handle = Arc::clone(&self.handle);
        let read = async move { batch.read(handle.store().await?.online()).await };
        self.call(py, read, move |py, rows| {
            raise_failed(py, &rows)?;
            let mut maker = Rows::new(include);
            let list = PyList::empty(py);
            for (row, entity) in rows.iter().zip(&dicts) {
                list.append(maker.dict(py, row.as_ref().ok().and_then(Option::as_ref), entity)?)?;
            }
            Ok(list.into_any().unbind())
        })
    }

    #[pyo3(signature = (tenant_id, feature_view, entity_keys, feature_names, max_age_seconds))]
    fn read_table<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        entity_keys: &Bound<'py, PyAny>,
        feature_names: Option<Vec<String>>,
        max_age_seconds: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (batch, _) = batch(py, tenant_id, feature_view, entity_keys, feature_names, max_age_seconds)?;
        let handle = Arc::clone(&self.handle);
        let read = async move {
            let store = handle.store().await?;
            batch.cells(store.online()).await
        };
        self.call(py, read, |py, cells| Table::new(cells).into_py_any(py))
    }

    #[pyo3(signature = (tenant_id, service, features, entities, max_age_seconds, full_feature_names))]
    #[expect(clippy::too_many_arguments, reason = "all that a model's request has")]
    fn read<'py>(
        &self,
        py: Python<'py>,
        tenant_id: &str,
        service: Option<String>,
        features: Option<Vec<String>>,
        entities: &Bound<'py, PyAny>,
        max_age_seconds: Option<f64>,
        full_feature_names: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Entities { keys, .. } = or_raise(py, self::entities(entities)?)?;
        let request = match (service, features) {
            (Some(service), None) => Ok(FeatureRequest::service(tenant_id, service, keys)),
            (None, Some(features)) => features
                .iter()
                .map(|feature| feature.parse::<FeatureRef>())
                .collect::<Result<Vec<_>>>()
                .map(|features| FeatureRequest::features(tenant_id, features, keys)),
            _ => Err(Error::invalid_argument("a read is of a service or of features: name one of the two")),
        };
        let request = request.and_then(|request| {
            Ok(match seconds("max_age_seconds", max_age_seconds)? {
                Some(max_age) => request.max_age(max_age),
                None => request,
            })
        });
        let request = or_raise(py, request)?;
        let handle = Arc::clone(&self.handle);
        let read = async move {
            let table = handle.store().await?.unified()?.read(&request).await?;
            Ok(Cells::of_table(table, full_feature_names))
        };
        self.call(py, read, |py, cells| Table::new(cells).into_py_any(py))
    }
}

#[pymethods]
impl Store {
    /// For the benchmark: how many seconds each of so many reads takes the library itself, one after another.
    fn time_reads(
        &self,
        py: Python<'_>,
        tenant_id: String,
        feature_view: String,
        entity_keys: &Bound<'_, PyAny>,
        feature_names: Option<Vec<String>>,
        times: usize,
    ) -> PyResult<Vec<f64>> {
        let (batch, _) = batch(py, tenant_id, feature_view, entity_keys, feature_names, None)?;
        let read = async {
            let store = self.handle.store().await?;
            let mut seconds = Vec::with_capacity(times);
            for _ in 0..times {
                let begun = Instant::now();
                drop(batch.read(store.online()).await?);
                seconds.push(begun.elapsed().as_secs_f64());
            }
            Ok(seconds)
        };
        or_raise(py, Runtime::get()?.wait(py, read)?)
    }
}

fn batch(
    py: Python<'_>,
    tenant: String,
    view: String,
    entity_keys: &Bound<'_, PyAny>,
    names: Option<Vec<String>>,
    max_age: Option<f64>,
) -> PyResult<(Batch, Vec<Py<PyAny>>)> {
    let entities = entities(entity_keys)?;
    let checked = entities.and_then(|entities| Ok((entities, seconds("max_age_seconds", max_age)?)));
    let (Entities { keys, dicts }, max_age) = checked.map_err(|e| refused(py, "read", &tenant, &view, e))?;
    Ok((Batch { tenant, view, keys, names, max_age }, dicts))
}

/// Raises the error of the first row that could not be read, with those of all.
fn raise_failed(py: Python<'_>, rows: &BatchRows) -> PyResult<()> {
    let failed = rows.iter().enumerate().filter_map(|(number, row)| Some((number, row.as_ref().err()?)));
    exception_of_rows(py, failed)?.map_or(Ok(()), Err)
}
