//! The class under every store of the package.

mod admin;
mod load;
mod read;
mod row;
mod scan;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use feature_store::{Error, FeatureView, Result, Scope};
use pyo3::prelude::*;

use crate::awaiting::{begin, refuse_in_event_loop};
use crate::error::{exception, or_raise};
use crate::open::Handle;
use crate::runtime::Runtime;

pub(crate) use scan::Scan;

/// A store: its methods give futures of asyncio, or, of a blocking one, wait.
#[pyclass(frozen, module = "feature_store._native")]
pub(crate) struct Store {
    handle: Arc<Handle>,
    blocking: bool,
}

impl Store {
    /// Makes a call on the store.
    fn call<'py, T: Send + 'static>(
        &self,
        py: Python<'py>,
        call: impl Future<Output = Result<T>> + Send + 'static,
        finish: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !self.blocking {
            return begin(py, call, |py, done| finish(py, or_raise(py, done)?));
        }
        refuse_in_event_loop(py)?;
        let done = Runtime::get()?.wait(py, call)?;
        Ok(finish(py, or_raise(py, done)?)?.into_bound(py))
    }
}

#[pymethods]
impl Store {
    /// The store of a URL, which is connected to with the first call.
    #[staticmethod]
    #[pyo3(signature = (url, views=None, deadline=None))]
    fn of_url(py: Python<'_>, url: &str, views: Option<&str>, deadline: Option<f64>) -> PyResult<Self> {
        let views = views.map_or(Ok(Vec::new()), FeatureView::from_yaml);
        let handle = views.and_then(|views| Handle::of_url(url, views, seconds("the deadline", deadline)?));
        Ok(Self { handle: Arc::new(or_raise(py, handle)?), blocking: false })
    }

    /// The stores of a settings file.
    #[staticmethod]
    #[pyo3(signature = (path, deadline=None))]
    fn of_file(py: Python<'_>, path: &str, deadline: Option<f64>) -> PyResult<Self> {
        let handle = seconds("the deadline", deadline).and_then(|deadline| Handle::of_file(path, deadline));
        Ok(Self { handle: Arc::new(or_raise(py, handle)?), blocking: false })
    }

    /// The stores of settings in YAML or JSON.
    #[staticmethod]
    #[pyo3(signature = (text, deadline=None))]
    fn of_settings(py: Python<'_>, text: &str, deadline: Option<f64>) -> PyResult<Self> {
        let handle =
            seconds("the deadline", deadline).and_then(|deadline| Handle::of_settings(text, deadline));
        Ok(Self { handle: Arc::new(or_raise(py, handle)?), blocking: false })
    }

    /// The same store, each of whose calls waits.
    fn sync(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), blocking: true }
    }

    /// What the store is, without its password.
    fn describe(&self) -> String {
        self.handle.describe()
    }
}

/// All records of a view of a tenant, or of the tenant.
///
/// # Errors
/// `InvalidArgument` for an empty name.
fn scope(operation: &'static str, tenant: &str, view: Option<&str>) -> Result<Scope> {
    let scope = view.map_or_else(|| Scope::tenant(tenant), |view| Scope::view(tenant, view));
    scope.map_err(|e| e.with_operation(operation))
}

/// A number of seconds from Python.
///
/// # Errors
/// `InvalidArgument` for what is no length of time.
fn seconds(what: &str, seconds: Option<f64>) -> Result<Option<Duration>> {
    let wrong = |_| {
        let seconds = seconds.unwrap_or_default();
        Error::invalid_argument(format!("{what} is {seconds} seconds, which is no length of time"))
    };
    seconds.map(Duration::try_from_secs_f64).transpose().map_err(wrong)
}

/// An error that was found before anything was sent, with the names of what it concerns.
fn refused(py: Python<'_>, operation: &'static str, tenant: &str, view: &str, error: Error) -> PyErr {
    exception(py, &error.with_operation(operation).with_key(format_args!("{tenant}:{view}")))
}
