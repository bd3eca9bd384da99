//! Scans.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_store::futures::StreamExt;
use feature_store::futures::stream::{BoxStream, Fuse};
use feature_store::{BatchRows, EntityKey, FeatureRow, RecordKey, Result, Scope};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use super::{Store, scope};
use crate::error::or_raise;
use crate::open::Handle;
use crate::table::{Cells, Table};

type Rows = Fuse<BoxStream<'static, Result<(RecordKey, FeatureRow)>>>;

/// The rows of a view or of a tenant, to be taken in tables.
#[pyclass(frozen, module = "feature_store._native")]
pub(crate) struct Scan {
    store: Store,
    batch_rows: usize,
    stage: Arc<Mutex<Stage>>,
}

/// How far a scan is.
enum Stage {
    Begin(Scope),
    Under { rows: Rows, gathered: Gathered },
}

/// Rows that wait to become a table, by view.
#[derive(Default)]
struct Gathered(BTreeMap<String, (Vec<EntityKey>, BatchRows)>);

impl Gathered {
    /// Adds a row; a table when there are as many of its view.
    fn add(&mut self, key: &RecordKey, row: FeatureRow, most: usize) -> Option<Cells> {
        let view = key.view().view();
        let (keys, rows) = self.0.entry(view.to_owned()).or_default();
        keys.push(key.entity().clone());
        rows.push(Ok(Some(row)));
        (keys.len() >= most).then(|| table(view, std::mem::take(keys), std::mem::take(rows)))
    }

    /// The table of a view that has rows yet.
    fn rest(&mut self) -> Option<Cells> {
        std::iter::from_fn(|| self.0.pop_first())
            .find(|(_, (keys, _))| !keys.is_empty())
            .map(|(view, (keys, rows))| table(&view, keys, rows))
    }
}

fn table(view: &str, keys: Vec<EntityKey>, rows: BatchRows) -> Cells {
    Cells::of_rows(view, keys, None, rows).with_keys(true)
}

#[pymethods]
impl Scan {
    /// The next table; `None` after the last.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (handle, stage) = (Arc::clone(&self.store.handle), Arc::clone(&self.stage));
        let most = self.batch_rows;
        let read = async move { take(&handle, &mut *stage.lock().await, most).await };
        self.store.call(py, read, |py, cells| match cells {
            Some(cells) => Table::new(cells).into_py_any(py),
            None => Ok(py.None()),
        })
    }
}

async fn take(handle: &Handle, stage: &mut Stage, most: usize) -> Result<Option<Cells>> {
    if let Stage::Begin(scope) = stage {
        let rows = handle.store().await?.online().scan(scope).fuse();
        *stage = Stage::Under { rows, gathered: Gathered::default() };
    }
    let Stage::Under { rows, gathered } = stage else { return Ok(None) };
    while let Some(row) = rows.next().await {
        let (key, row) = row?;
        if let Some(full) = gathered.add(&key, row, most) {
            return Ok(Some(full));
        }
    }
    Ok(gathered.rest())
}

#[pymethods]
impl Store {
    #[pyo3(signature = (tenant_id, feature_view, batch_rows))]
    fn scan(
        &self,
        py: Python<'_>,
        tenant_id: &str,
        feature_view: Option<&str>,
        batch_rows: usize,
    ) -> PyResult<Scan> {
        let scope = or_raise(py, scope("scan", tenant_id, feature_view))?;
        let store = Self { handle: Arc::clone(&self.handle), blocking: self.blocking };
        Ok(Scan { store, batch_rows: batch_rows.max(1), stage: Arc::new(Mutex::new(Stage::Begin(scope))) })
    }
}
