//! Tests that need servers of their own: run, ignored or failed as the machine allows.

use std::fmt::{self, Display};
use std::panic::Location;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::harness::{is_required, one_line, say};
use crate::servers;

/// How long a test may take; one that hangs must not hang the run. The first that needs the program compiles it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Tests at a time: what they do loads the machine, and each has several servers.
const THREADS: usize = 2;

type Run = Arc<dyn Fn() -> BoxFuture<'static, Result<(), TestFailure>> + Send + Sync>;

/// Tests of a backend that need programs of this machine to start servers of their own. A test target with
/// `harness = false` that takes the arguments of ordinary tests; two tests run at a time.
///
/// ```no_run
/// use std::process::ExitCode;
/// use store_testkit::servers::{RedisOptions, Server};
/// use store_testkit::{ServerTests, TestFailure};
///
/// async fn a_killed_server_comes_back() -> Result<(), TestFailure> {
///     let server = Server::start_redis(&RedisOptions::default()).await?;
///     server.kill().await?;
///     Ok(server.restart().await?)
/// }
///
/// fn main() -> ExitCode {
///     ServerTests::new("redis", "redis-server")
///         .test("a_killed_server_comes_back", a_killed_server_comes_back)
///         .run()
/// }
/// ```
pub struct ServerTests {
    backend: &'static str,
    program: &'static str,
    tests: Vec<(&'static str, Run)>,
    patience: Duration,
    rounds: usize,
}

impl ServerTests {
    /// Tests of a backend, named as in `FSTORE_REQUIRE`, that need this program on the `PATH`. Without it
    /// they are ignored, or fail where the backend is required.
    pub fn new(backend: &'static str, program: &'static str) -> Self {
        Self { backend, program, tests: Vec::new(), patience: PATIENCE, rounds: 1 }
    }

    /// How long each test may take; ten minutes unless this is said.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Runs each of the tests that are added from here on as often as this variable of the environment says, once
    /// where it says nothing.
    #[must_use]
    pub fn rounds(self, variable: &str) -> Self {
        let rounds = std::env::var(variable).ok().and_then(|rounds| rounds.parse().ok());
        Self { rounds: rounds.unwrap_or(1), ..self }
    }

    /// Adds a test. Its name reads as a statement about the backend.
    #[must_use]
    pub fn test<F>(mut self, name: &'static str, test: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), TestFailure>> + Send + 'static,
    {
        let (rounds, test) = (self.rounds, Arc::new(test));
        let run = move || {
            let test = Arc::clone(&test);
            async move {
                for _ in 0..rounds {
                    test().await?;
                }
                Ok(())
            }
            .boxed()
        };
        self.tests.push((name, Arc::new(run)));
        self
    }

    /// Runs the tests that the command line asks for. Ends with a line `suite: BACKEND | SERVER` on the
    /// standard output.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(THREADS);
        let Self { backend, program, tests, patience, .. } = self;
        let trial = |(name, test): (&'static str, Run)| {
            Trial::ignorable_test(name, move || conclude(backend, attempt(program, patience, &test)))
        };
        let conclusion = libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect());
        if !arguments.list {
            let server = servers::describe(program).unwrap_or_else(|why| format!("not available: {why}"));
            say(&format!("suite: {backend} | {}", one_line(&server)));
        }
        conclusion.exit_code()
    }
}

/// Runs a test on threads of its own, which end with it, whatever it has left behind.
fn attempt(program: &str, patience: Duration, test: &Run) -> Result<(), TestFailure> {
    servers::program(program).map_err(TestFailure::unavailable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let work = async { tokio::time::timeout(patience, test()).await };
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome.unwrap_or_else(|_| Err(format!("the test did not end within {patience:?}").into()))
}

fn conclude(backend: &str, outcome: Result<(), TestFailure>) -> Result<Completion, Failed> {
    match outcome {
        Ok(()) => Ok(Completion::Completed),
        Err(failure) if failure.unavailable && !is_required(failure.of.unwrap_or(backend)) => {
            Ok(Completion::ignored_with(one_line(&failure.message)))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Why a test did not pass, and where. Made of the errors of the kit and of the store with `?`.
#[derive(Debug)]
pub struct TestFailure {
    message: String,
    place: &'static Location<'static>,
    unavailable: bool,
    /// The backend that is not available, if it is not the one that is tested.
    of: Option<&'static str>,
}

impl TestFailure {
    /// What the test needs is not available on this machine: it is ignored, unless its backend is required.
    #[track_caller]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { message: reason.into(), place: Location::caller(), unavailable: true, of: None }
    }

    /// The same, of another backend than the one that is tested: the test is ignored unless that is required.
    #[must_use]
    pub fn of(self, backend: &'static str) -> Self {
        Self { of: Some(backend), ..self }
    }
}

impl Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  at {}:{}", self.message, self.place.file(), self.place.line())
    }
}

impl From<String> for TestFailure {
    #[track_caller]
    fn from(message: String) -> Self {
        Self { message, place: Location::caller(), unavailable: false, of: None }
    }
}

impl From<&str> for TestFailure {
    #[track_caller]
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<feature_core::Error> for TestFailure {
    #[track_caller]
    fn from(error: feature_core::Error) -> Self {
        error.to_string().into()
    }
}

impl From<std::io::Error> for TestFailure {
    #[track_caller]
    fn from(error: std::io::Error) -> Self {
        error.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(program: &str, test: fn() -> BoxFuture<'static, Result<(), TestFailure>>) -> String {
        let test: Run = Arc::new(test);
        match conclude("no-such-backend", attempt(program, PATIENCE, &test)) {
            Ok(Completion::Completed) => "passed".to_owned(),
            Ok(Completion::Ignored { reason }) => format!("ignored: {}", reason.unwrap_or_default()),
            Err(failed) => format!("failed: {}", failed.message().unwrap_or_default()),
        }
    }

    #[test]
    fn a_test_passes_fails_with_its_place_or_is_ignored_with_the_reason() {
        assert_eq!(outcome("sh", || async { Ok(()) }.boxed()), "passed");
        assert_eq!(
            outcome("no-such-program", || async { Ok(()) }.boxed()),
            "ignored: no no-such-program on the PATH"
        );
        let unavailable = || async { Err(TestFailure::unavailable("no\n TLS")) }.boxed();
        assert_eq!(outcome("sh", unavailable), "ignored: no TLS");
        let other =
            || async { Err(TestFailure::unavailable("no other").of("no-such-backend-either")) }.boxed();
        assert_eq!(outcome("sh", other), "ignored: no other");
        let fails = || {
            async {
                let failed: Result<(), String> = Err("wrong".to_owned());
                Ok(failed?)
            }
            .boxed()
        };
        let failed = outcome("sh", fails);
        assert!(failed.starts_with("failed: wrong\n  at ") && failed.contains("server_tests.rs"), "{failed}");
    }
}
