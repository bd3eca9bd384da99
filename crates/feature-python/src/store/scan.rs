//! Scans.

use std::sync::Arc;

use feature_store::futures::StreamExt;
use feature_store::futures::stream::BoxStream;
use feature_store::{FeatureRow, RecordKey, Result, Scope};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use super::{Store, refused};
use crate::open::Handle;
use crate::table::{Cells, Table};

type Rows = BoxStream<'static, Result<(RecordKey, FeatureRow)>>;

/// The rows of a view, to be taken in tables.
#[pyclass(frozen, module = "feature_store._native")]
pub(crate) struct Scan {
    store: Store,
    view: String,
    batch_rows: usize,
    rows: Arc<Mutex<Stage>>,
}

/// How far a scan is.
enum Stage {
    Begin(Scope),
    Under(Rows),
    Done,
}

#[pymethods]
impl Scan {
    /// The next table; `None` after the last.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (handle, stage) = (Arc::clone(&self.store.handle), Arc::clone(&self.rows));
        let (view, most) = (self.view.clone(), self.batch_rows);
        let read = async move { take(&handle, &mut *stage.lock().await, &view, most).await };
        self.store.call(py, read, |py, cells| match cells {
            Some(cells) => Table::new(cells).into_py_any(py),
            None => Ok(py.None()),
        })
    }
}

async fn take(handle: &Handle, stage: &mut Stage, view: &str, most: usize) -> Result<Option<Cells>> {
    if let Stage::Begin(scope) = stage {
        *stage = Stage::Under(handle.store().await?.online().scan(scope));
    }
    let Stage::Under(rows) = stage else { return Ok(None) };
    let (mut keys, mut found) = (Vec::new(), Vec::new());
    while keys.len() < most {
        let Some(row) = rows.next().await else {
            *stage = Stage::Done;
            break;
        };
        let (key, row) = row?;
        keys.push(key.entity().clone());
        found.push(Ok(Some(row)));
    }
    Ok((!keys.is_empty()).then(|| Cells::of_rows(view, keys, None, found).with_keys(true)))
}

#[pymethods]
impl Store {
    fn scan(&self, py: Python<'_>, tenant_id: &str, feature_view: &str, batch_rows: usize) -> PyResult<Scan> {
        let scope = Scope::view(tenant_id, feature_view)
            .map_err(|error| refused(py, "scan", tenant_id, feature_view, error))?;
        let store = Self { handle: Arc::clone(&self.handle), blocking: self.blocking };
        let rows = Arc::new(Mutex::new(Stage::Begin(scope)));
        Ok(Scan { store, view: feature_view.to_owned(), batch_rows: batch_rows.max(1), rows })
    }
}
