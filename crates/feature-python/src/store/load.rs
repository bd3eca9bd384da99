//! Tables and files into a store.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatchIterator;
use arrow_array::ffi_stream::RecordBatchStreamReader;
use arrow_pyarrow::FromPyArrow;
use feature_ingest::{Ended, IngestOptions, Input, Load, Progress, Reject, Report};
use feature_store::{Error, FeatureView, OnlineStore, Result, Timestamp, Ttl};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::{Store, refused, seconds};
use crate::error::{exception, of_load};
use crate::table::record_batch;
use crate::value::instant;

/// What a reject says its row is of.
const TABLE: &str = "the table";
/// How often a load tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How many rejected rows a report keeps; all are counted.
const KEPT: usize = 1_000;
/// A batch of a load is large and shares the store with others: it may take longer than a read by a model.
const BATCH_DEADLINE: Duration = Duration::from_secs(60);

/// What is asked of a load, as keyword arguments of Python.
#[derive(FromPyObject)]
struct Wanted<'py> {
    #[pyo3(item)]
    entity: Vec<String>,
    #[pyo3(item)]
    timestamp: Option<String>,
    #[pyo3(item)]
    timestamp_unit: Option<String>,
    #[pyo3(item)]
    features: Option<Vec<String>>,
    #[pyo3(item)]
    exclude: Vec<String>,
    #[pyo3(item)]
    ttl_seconds: Option<f64>,
    #[pyo3(item)]
    decimals: String,
    #[pyo3(item)]
    format: Option<String>,
    #[pyo3(item)]
    batch_size: usize,
    #[pyo3(item)]
    concurrency: usize,
    #[pyo3(item)]
    now: Option<Bound<'py, PyAny>>,
}

impl Wanted<'_> {
    fn options(self) -> Result<IngestOptions> {
        let now = match &self.now {
            None => None,
            Some(now) => now_of(now)?,
        };
        Ok(IngestOptions {
            entity: self.entity,
            timestamp: self.timestamp,
            timestamp_unit: self.timestamp_unit.map(|unit| unit.parse()).transpose().map_err(of_load)?,
            features: self.features,
            exclude: self.exclude,
            ttl: seconds("ttl_seconds", self.ttl_seconds)?.map(Ttl::After),
            decimals: self.decimals.parse().map_err(of_load)?,
            format: self.format.map(|format| format.parse()).transpose().map_err(of_load)?,
            batch_size: self.batch_size.max(1),
            concurrency: self.concurrency.max(1),
            now,
            ..IngestOptions::default()
        })
    }
}

fn now_of(now: &Bound<'_, PyAny>) -> Result<Option<Timestamp>> {
    let wrong = |why: String| Error::invalid_argument(format!("the event time of the rows: {why}"));
    let time = instant(now).map_err(|error| wrong(error.to_string()))?;
    time.map(Some).ok_or_else(|| wrong("give a datetime, or the name of a column".to_owned()))
}

/// What rows are read from.
enum Source {
    Named(Vec<String>),
    Given(Box<Input>),
}

#[pymethods]
impl Store {
    /// Writes the rows of anything that gives an Arrow stream, or of a dict of columns.
    fn write_table<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        table: &Bound<'py, PyAny>,
        wanted: Wanted<'py>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let input = match table.cast::<PyDict>() {
            Ok(columns) => {
                let batch = record_batch(columns);
                let batch = batch.map_err(|e| refused(py, "load", &tenant_id, &feature_view, e))?;
                let schema = batch.schema();
                Input::batches(TABLE, RecordBatchIterator::new([Ok(batch)], schema))
            }
            Err(_) => Input::batches(TABLE, RecordBatchStreamReader::from_pyarrow_bound(table)?),
        };
        let source = Source::Given(Box::new(input));
        self.load(py, (tenant_id, feature_view), source, wanted, progress)
    }

    /// Writes the rows of files.
    fn ingest<'py>(
        &self,
        py: Python<'py>,
        tenant_id: String,
        feature_view: String,
        names: Vec<String>,
        wanted: Wanted<'py>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.load(py, (tenant_id, feature_view), Source::Named(names), wanted, progress)
    }
}

impl Store {
    fn load<'py>(
        &self,
        py: Python<'py>,
        (tenant, view): (String, String),
        source: Source,
        wanted: Wanted<'py>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = wanted.options().map_err(|error| refused(py, "load", &tenant, &view, error))?;
        let declared = self.handle.view(&view).cloned();
        let handle = Arc::clone(&self.handle);
        let load = async move {
            let store = handle.store().await?.online().with_deadline(BATCH_DEADLINE);
            run(&store, (&tenant, &view), source, options, declared.as_ref(), progress).await
        };
        self.call(py, load, |py, (report, rejects)| finished(py, report, &rejects))
    }
}

async fn run(
    store: &OnlineStore,
    (tenant, view): (&str, &str),
    source: Source,
    options: IngestOptions,
    declared: Option<&FeatureView>,
    progress: Option<Py<PyAny>>,
) -> Result<(Report, Vec<Reject>)> {
    let load = match source {
        Source::Named(names) => Load::open(&names, options, declared).await,
        Source::Given(input) => Load::of_input(*input, options, declared).await,
    };
    let rejects = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&rejects);
    let load = load.map_err(of_load)?.rejects(move |reject: Reject| {
        let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(reject);
        }
        Ok(())
    });
    let load = match progress {
        None => load,
        Some(progress) => load.on_progress(TELL_EVERY, move |now, _| tell(&progress, now)),
    };
    let report = load.run(store, tenant, view, std::future::pending()).await;
    let kept = std::mem::take(&mut *rejects.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    Ok((report, kept))
}

/// Calls who wants to know how far a load is. What that raises is shown and stops nothing.
fn tell(progress: &Py<PyAny>, now: &Progress) {
    let _ = Python::try_attach(|py| {
        let told = counts(py, now).and_then(|counts| progress.call1(py, (counts,)));
        if let Err(error) = told {
            error.write_unraisable(py, Some(progress.bind(py)));
        }
    });
}

fn counts<'py>(py: Python<'py>, now: &Progress) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    counts.set_item("read", now.read)?;
    counts.set_item("written", now.written)?;
    counts.set_item("superseded", now.superseded)?;
    counts.set_item("rejected", now.rejected)?;
    counts.set_item("bytes", now.bytes)?;
    counts.set_item("total_bytes", now.total_bytes)?;
    Ok(counts)
}

/// The report of a load, as `feature_store.LoadReport`.
fn finished(py: Python<'_>, report: Report, rejects: &[Reject]) -> PyResult<Py<PyAny>> {
    let facts = counts(py, &report.progress)?;
    facts.del_item("bytes")?;
    facts.del_item("total_bytes")?;
    facts.set_item("entities", report.entities)?;
    facts.set_item("seconds", report.took.as_secs_f64())?;
    let rows = PyList::empty(py);
    for reject in rejects {
        let row = PyDict::new(py);
        row.set_item("file", &reject.file)?;
        row.set_item("row", reject.row)?;
        row.set_item("entity", &reject.entity)?;
        row.set_item("reason", &reject.reason)?;
        rows.append(row)?;
    }
    facts.set_item("rejects", rows)?;
    let done = py.import("feature_store")?.getattr("LoadReport")?.call((), Some(&facts))?;
    match report.ended {
        Ended::Failed(failed) => {
            let error = exception(py, &of_load(failed));
            error.value(py).setattr("report", done)?;
            Err(error)
        }
        Ended::Complete | Ended::Interrupted => Ok(done.unbind()),
    }
}
