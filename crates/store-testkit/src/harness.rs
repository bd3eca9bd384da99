//! Runs the cases: as a test target, or as a library call.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use feature_core::{ManualClock, OnlineStoreBackend};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

use crate::case::{Case, Context, Outcome, START, failure};
use crate::factory::BackendFactory;
use crate::writing::Writing;
use crate::{servers, suite};

/// How long a case may take. The slowest take a second or two; a case that hangs must not hang the run.
const PATIENCE: Duration = Duration::from_secs(180);

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The store keeps the promise.
    Passed,
    /// There was nothing to check on this store, and why.
    NotTried(String),
    /// Why the case failed, and where.
    Failed(String),
}

/// The name of a case and what became of it.
pub type CaseResult = (String, Verdict);

/// Runs the whole suite as a test target with `harness = false`, with the arguments of ordinary tests.
///
/// Nothing is opened while listing. Ends with a line `suite: NAME | SERVER` on the standard output, what was not
/// tried on this store and why, and stops the [`servers`] that were started. Cases that kill a writing process
/// start this program again, without arguments.
pub fn conformance(factory: impl BackendFactory) -> ExitCode {
    conformance_of(vec![Box::new(factory)])
}

/// Runs the whole suite over each of several backends in one test target. The names of the cases begin with
/// the name of the backend, and each backend whose cases have run has its line at the end; otherwise as
/// [`conformance`].
pub fn conformance_of(factories: Vec<Box<dyn BackendFactory>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            say(&format!("no runtime for the suite: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Some(writing) = Writing::asked_for() {
        return runtime.block_on(writing.of_one(&factories));
    }
    let arguments = Arguments::from_args();
    Writing::allow();
    let probes: Vec<_> = factories.into_iter().map(|factory| Arc::new(Probe::new(factory))).collect();
    let trials = named(&probes).into_iter().map(|(name, case, probe)| {
        let runtime = runtime.clone();
        Trial::ignorable_test(name, move || probe.run(&runtime, &case))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    probes.iter().flat_map(|probe| probe.summary()).for_each(|line| say(&line));
    runtime.block_on(servers::stop_all());
    conclusion.exit_code()
}

/// Every case over every backend, by a name that no other has.
fn named(probes: &[Arc<Probe>]) -> Vec<(String, Case, Arc<Probe>)> {
    let of = |probe: &Arc<Probe>| {
        let prefix = if probes.len() > 1 { format!("{}::", probe.factory.name()) } else { String::new() };
        let named = |case: Case| (format!("{prefix}{}", case.name), case, Arc::clone(probe));
        suite::cases().into_iter().map(named).collect::<Vec<_>>()
    };
    probes.iter().flat_map(of).collect()
}

/// Runs every case whose name contains `filter`, eight at a time.
pub async fn run_cases(factory: Arc<dyn BackendFactory>, filter: &str) -> Vec<CaseResult> {
    let cases: Vec<Case> = suite::cases().into_iter().filter(|case| case.name.contains(filter)).collect();
    stream::iter(cases)
        .map(|case| {
            let factory = factory.clone();
            async move {
                let verdict = match run(factory, &case).await {
                    Ok(()) => Verdict::Passed,
                    Err(failure) if failure.skipped => Verdict::NotTried(failure.to_string()),
                    Err(failure) => Verdict::Failed(failure.to_string()),
                };
                (case.name, verdict)
            }
        })
        .buffered(8)
        .collect()
        .await
}

/// Whether the backend is available, asked once, by the first case that runs.
struct Probe {
    factory: Arc<dyn BackendFactory>,
    /// Why not, if not.
    reason: OnceLock<Option<String>>,
    /// How many cases were not tried, by why.
    not_tried: Mutex<BTreeMap<String, usize>>,
}

impl Probe {
    fn new(factory: Box<dyn BackendFactory>) -> Self {
        Self { factory: Arc::from(factory), reason: OnceLock::new(), not_tried: Mutex::default() }
    }

    /// The lines at the end, if a case has run.
    fn summary(&self) -> Vec<String> {
        let Some(reason) = self.reason.get() else { return Vec::new() };
        let (name, server) = (self.factory.name(), reason.as_ref());
        let server = server.map_or_else(|| self.factory.server(), |why| format!("not available: {why}"));
        let not_tried = self.not_tried.lock().unwrap_or_else(PoisonError::into_inner);
        let not_tried = not_tried.iter().map(|(why, cases)| format!("{cases} not tried on {name}: {why}"));
        not_tried.chain([format!("suite: {name} | {}", one_line(&server))]).collect()
    }

    fn run(&self, runtime: &Runtime, case: &Case) -> Result<Completion, Failed> {
        let reason = self.reason.get_or_init(|| runtime.block_on(self.ask()));
        match reason {
            None => match runtime.block_on(run(self.factory.clone(), case)) {
                Ok(()) => Ok(Completion::Completed),
                Err(failure) if failure.skipped => {
                    let mut not_tried = self.not_tried.lock().unwrap_or_else(PoisonError::into_inner);
                    *not_tried.entry(failure.to_string()).or_default() += 1;
                    Ok(Completion::ignored_with(failure))
                }
                Err(failure) => Err(failure.into()),
            },
            Some(reason) if self.factory.requires().into_iter().any(is_required) => Err(reason.into()),
            Some(reason) => Ok(Completion::ignored_with(one_line(reason))),
        }
    }

    async fn ask(&self) -> Option<String> {
        let backend: Arc<dyn OnlineStoreBackend> =
            match self.factory.open(Arc::new(ManualClock::at(START))).await {
                Ok(backend) => backend,
                Err(reason) => return Some(reason),
            };
        backend.close().await.err().map(|error| error.to_string())
    }
}

/// Whether the environment demands that the tests of this backend run.
pub(crate) fn is_required(name: &str) -> bool {
    std::env::var("FSTORE_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == name))
}

async fn run(factory: Arc<dyn BackendFactory>, case: &Case) -> Outcome {
    let work = async {
        let context = Context::open(factory).await.map_err(failure)?;
        let (store, tenant) = (context.store.clone(), context.tenant.clone());
        let outcome = (case.run)(context).await;
        // A shared server should not fill up with what a good run has left behind.
        if outcome.is_ok()
            && let Ok(scope) = feature_core::Scope::tenant(&tenant)
        {
            let _ = store.purge(&scope).await;
        }
        outcome
    };
    let work = tokio::time::timeout(PATIENCE, std::panic::AssertUnwindSafe(work).catch_unwind());
    match work.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(failure(format!("the backend panicked: {text}")))
        }
        Err(_) => Err(failure(format!("the case did not end within {PATIENCE:?}"))),
    }
}

/// The text without line breaks, as a reason must be.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A test target prints for its user.
#[expect(clippy::print_stdout, reason = "the runner reads this line")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use feature_core::Clock;

    use super::*;

    /// A backend that is not available, by its name.
    struct Unreachable(&'static str);

    #[async_trait::async_trait]
    impl BackendFactory for Unreachable {
        fn name(&self) -> &'static str {
            self.0
        }

        async fn open(&self, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
            Err("no server:\n  nobody answers".to_owned())
        }
    }

    #[test]
    fn where_the_backend_cannot_be_had_a_case_is_ignored_with_the_reason() {
        let runtime = Runtime::new().unwrap();
        let probe = Probe::new(Box::new(Unreachable("unreachable")));
        assert!(probe.summary().is_empty());
        let Ok(Completion::Ignored { reason }) = probe.run(&runtime, &suite::cases()[0]) else {
            panic!("the case is not ignored");
        };
        assert_eq!(reason.as_deref(), Some("no server: nobody answers"));
        assert_eq!(probe.summary(), ["suite: unreachable | not available: no server: nobody answers"]);
    }

    #[test]
    fn the_cases_of_several_backends_are_told_apart_by_name() {
        let names = |backends: &[&'static str]| {
            let probes: Vec<_> =
                backends.iter().map(|name| Arc::new(Probe::new(Box::new(Unreachable(name))))).collect();
            named(&probes).into_iter().map(|(name, ..)| name).collect::<Vec<_>>()
        };
        let alone = names(&["a"]);
        let with_prefix =
            |prefix: &str| alone.iter().map(|name| format!("{prefix}::{name}")).collect::<Vec<_>>();
        assert_eq!(alone, suite::cases().into_iter().map(|case| case.name).collect::<Vec<_>>());
        assert_eq!(names(&["a", "b"]), [with_prefix("a"), with_prefix("b")].concat());
    }

    #[test]
    fn no_two_cases_have_the_same_name() {
        let mut names: Vec<_> = suite::cases().into_iter().map(|case| case.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
