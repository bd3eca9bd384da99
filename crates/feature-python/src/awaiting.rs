//! Calls as futures of asyncio.
//!
//! A finished call is put beside the others of its event loop, and the loop is woken once for all of them: no thread
//! that moves data ever waits for the interpreter's lock, and results become Python objects in the loop's own thread.

use std::cell::RefCell;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use tokio::task::AbortHandle;

use crate::runtime::Runtime;

/// Makes a Python object of a result.
type Outcome = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// The finished calls of one event loop that it has not taken yet.
pub(crate) struct Finished {
    event_loop: Py<PyAny>,
    calls: Mutex<Vec<(Py<PyAny>, Outcome)>>,
}

impl Finished {
    /// Adds a call; whether it is the first, so that the loop must be woken.
    fn add(&self, future: Py<PyAny>, outcome: Outcome) -> bool {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push((future, outcome));
        calls.len() == 1
    }

    fn take(&self) -> Vec<(Py<PyAny>, Outcome)> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the loop, from a thread of our own, that there is something to take.
    pub(crate) fn wake(self: Arc<Self>) {
        // Without an interpreter nobody waits for an answer any more.
        Python::try_attach(|py| {
            let event_loop = self.event_loop.clone_ref(py);
            let take = Take(Arc::clone(&self));
            let woken = event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (take,));
            if woken.is_err() {
                // The loop is closed, and its futures with it.
                drop(self.take());
            }
        });
    }
}

/// Called by the loop: hands its finished calls to who awaits them.
#[pyclass(frozen)]
struct Take(Arc<Finished>);

#[pymethods]
impl Take {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        for (future, outcome) in self.0.take() {
            let future = future.bind(py);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            match outcome(py) {
                Ok(result) => future.call_method1(intern!(py, "set_result"), (result,))?,
                Err(error) => future.call_method1(intern!(py, "set_exception"), (error,))?,
            };
        }
        Ok(())
    }
}

/// Called when a future is done: gives up its call if that is under way, since the future was then cancelled.
#[pyclass(frozen)]
struct GiveUp(AbortHandle);

#[pymethods]
impl GiveUp {
    #[pyo3(signature = (*_future))]
    fn __call__(&self, _future: &Bound<'_, PyTuple>) {
        self.0.abort();
    }
}

thread_local! {
    /// The loop of this thread's last call: most threads have but one.
    static LAST: RefCell<Option<Arc<Finished>>> = const { RefCell::new(None) };
}

fn finished_of(event_loop: &Bound<'_, PyAny>) -> Arc<Finished> {
    LAST.with_borrow_mut(|last| match last {
        Some(own) if own.event_loop.is(event_loop) => Arc::clone(own),
        _ => {
            let event_loop = event_loop.clone().unbind();
            let new = Arc::new(Finished { event_loop, calls: Mutex::default() });
            Arc::clone(last.insert(new))
        }
    })
}

/// Begins a call and gives the future of the running event loop that stands for it; cancelling that gives up the
/// call.
///
/// # Errors
/// `RuntimeError` when no event loop runs in this thread.
pub(crate) fn begin<'py, T: Send + 'static>(
    py: Python<'py>,
    call: impl Future<Output = T> + Send + 'static,
    finish: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = RUNNING_LOOP.import(py, "asyncio", "get_running_loop")?.call0()?;
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    let runtime = Runtime::get()?;
    let (finished, waiting, waker) =
        (finished_of(&event_loop), future.clone().unbind(), Arc::clone(&runtime));
    let call = async move {
        let done = call.await;
        if finished.add(waiting, Box::new(move |py| finish(py, done))) {
            waker.wake(&finished);
        }
    };
    let give_up = GiveUp(runtime.spawn(call));
    future.call_method1(intern!(py, "add_done_callback"), (give_up,))?;
    Ok(future)
}

/// Refuses a blocking call in a thread whose event loop it would stop. In a notebook, whose cells run in such a
/// loop, nothing else waits for it.
///
/// # Errors
/// `RuntimeError` that says what to do.
pub(crate) fn refuse_in_event_loop(py: Python<'_>) -> PyResult<()> {
    static LOOP_OR_NONE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = LOOP_OR_NONE.import(py, "asyncio", "_get_running_loop")?.call0()?;
    if event_loop.is_none() {
        return Ok(());
    }
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains("ipykernel")? {
        return Ok(());
    }
    Err(pyo3::exceptions::PyRuntimeError::new_err(
        "a blocking call would stop the event loop that runs in this thread: await the method of the same name of \
         the store itself, or make the call in another thread with `await asyncio.to_thread(...)`",
    ))
}
