//! The threads that calls run on.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::awaiting::Finished;

/// How often a blocking call looks whether the user has pressed Ctrl-C.
const SIGNALS: Duration = Duration::from_millis(100);

static CURRENT: ArcSwapOption<Runtime> = ArcSwapOption::const_empty();

/// What runs the calls of this process.
pub(crate) struct Runtime {
    /// A fork takes a process's memory along, and none of its threads: they are made anew in the child.
    process: u32,
    pool: tokio::runtime::Runtime,
    wakes: Sender<Arc<Finished>>,
}

impl Runtime {
    /// That of this process, which is made when it is first asked for.
    pub(crate) fn get() -> PyResult<Arc<Self>> {
        let process = std::process::id();
        if let Some(own) = CURRENT.load_full().filter(|own| own.process == process) {
            return Ok(own);
        }
        let failed = |e: std::io::Error| PyRuntimeError::new_err(format!("cannot start threads: {e}"));
        let pool = tokio::runtime::Builder::new_multi_thread()
            .thread_name("feature_store")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (wakes, finished) = channel();
        let wake = move || finished.into_iter().for_each(|finished: Arc<Finished>| finished.wake());
        thread::Builder::new().name("feature_store-wake".to_owned()).spawn(wake).map_err(failed)?;
        let new = Arc::new(Self { process, pool, wakes });
        if let Some(old) = CURRENT.swap(Some(Arc::clone(&new))) {
            // The threads of the parent cannot be joined here.
            std::mem::forget(old);
        }
        Ok(new)
    }

    /// Runs a call on the pool.
    pub(crate) fn spawn(&self, call: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.pool.spawn(call).abort_handle()
    }

    /// Has the event loop of these calls take them.
    pub(crate) fn wake(&self, finished: &Arc<Finished>) {
        // The thread ends with the process alone.
        let _ = self.wakes.send(Arc::clone(finished));
    }

    /// Waits for a call on this thread, without the interpreter's lock. For the signals the thread wakes up by itself: a
    /// timer of the pool's would wake one of its threads with each call.
    ///
    /// # Errors
    /// What a signal's handler raises, such as `KeyboardInterrupt`: the call is then given up.
    pub(crate) fn wait<T: Send>(&self, py: Python<'_>, call: impl Future<Output = T> + Send) -> PyResult<T> {
        py.detach(|| {
            let _entered = self.pool.enter();
            let waker = Waker::from(Arc::new(Sleeper(thread::current())));
            let mut context = Context::from_waker(&waker);
            let mut call = pin!(call);
            let mut looked = Instant::now();
            loop {
                if let Poll::Ready(done) = call.as_mut().poll(&mut context) {
                    return Ok(done);
                }
                thread::park_timeout(SIGNALS);
                if looked.elapsed() >= SIGNALS {
                    check_signals()?;
                    looked = Instant::now();
                }
            }
        })
    }
}

/// A thread that sleeps until its call can go on.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn check_signals() -> PyResult<()> {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method itself is not general enough")]
    Python::attach(|py| py.check_signals())
}
