//! Load that goes on while a test does harm, and then proves what must hold.
//!
//! Writers and readers work on a few entities through an [`OnlineStore`]. Everything that is written is
//! remembered with what became of it, so that a store that loses an acknowledged write, serves something
//! older than it has acknowledged, mixes up records, or keeps a caller waiting, is caught.

mod ledger;
mod plan;
mod remote;
mod report;
mod stats;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use feature_core::{EntityKey, ErrorKind, OnlineStore, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use plan::LoadPlan;
pub use remote::{RemoteLoad, RemoteReport};
pub use report::{LoadReport, Loss, Verification};
pub use stats::{CallStats, ErrorClass, ErrorStats};

use ledger::Ledger;
use worker::{Shared, Worker};

/// How many calls in a row must succeed, for every worker, before the store counts as recovered.
const IN_A_ROW: usize = 3;
/// How often a wait looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long past its deadline a call may last before it counts as hung.
const HUNG: Duration = Duration::from_secs(30);

/// Writers and readers at work. Dropping it ends them.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use feature_core::{OnlineStore, SystemClock};
/// use store_testkit::MapStore;
/// use store_testkit::load::{Load, LoadPlan};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), String> {
/// let store = OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock))));
/// let load = Load::start(&store, "tenant-of-its-own", LoadPlan::default())?;
/// // Here the test does harm to the server, waits for what follows, and makes it good again.
/// load.wait_for_success(Duration::from_secs(10)).await?;
/// let report = load.stop().await;
/// report.sound(Duration::from_millis(500))?;
/// report.verify(&store).await?.sound()
/// # }
/// ```
pub struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the workers. The tenant should hold nothing yet: what another load has left there is newer
    /// than what this one writes.
    ///
    /// # Errors
    /// A plan without entities, or a tenant that has no valid name.
    pub fn start(store: &OnlineStore, tenant: &str, plan: LoadPlan) -> Result<Self, String> {
        if plan.entities == 0 || plan.batch == 0 || plan.batch > plan.entities {
            return Err("a load needs entities, and a batch between 1 and their number".to_owned());
        }
        let keys: Result<Vec<EntityKey>> =
            (0..plan.entities).map(|number| EntityKey::new("customer_id", number.to_string())).collect();
        let shared = Arc::new(Shared {
            store: store.with_deadline(plan.deadline),
            tenant: tenant.to_owned(),
            keys: keys.map_err(|e| e.to_string())?,
            ledger: Ledger::new(plan.writers, plan.entities),
            progress: Default::default(),
            stopped: false.into(),
            plan,
        });
        let plan = &shared.plan;
        let workers = (0..plan.writers).map(Worker::Writer).chain((0..plan.readers).map(|_| Worker::Reader));
        let workers: Vec<Worker> = workers.collect();
        shared.progress().workers = vec![Default::default(); workers.len()];
        let run = |(place, worker): (usize, &Worker)| tokio::spawn(worker.run(place, shared.clone()));
        let tasks = workers.iter().enumerate().map(run).collect();
        Ok(Self { shared, tasks })
    }

    /// Waits until every worker has had three calls in a row that began after now and succeeded with every
    /// row. From then on errors are counted from zero for [`wait_for_error`](Self::wait_for_error).
    ///
    /// # Errors
    /// It took longer. Says which worker had how many, and what went wrong for it last.
    pub async fn wait_for_success(&self, within: Duration) -> Result<(), String> {
        let start = Instant::now();
        let phase = {
            let mut progress = self.shared.progress();
            progress.phase += 1;
            progress.phase
        };
        loop {
            let behind = {
                let mut progress = self.shared.progress();
                let behind = |worker: &&worker::Progress| worker.streak(phase) < IN_A_ROW;
                let behind: Vec<String> = progress
                    .workers
                    .iter()
                    .filter(behind)
                    .map(|worker| format!("{} of {IN_A_ROW}: {}", worker.streak(phase), worker.last))
                    .collect();
                if behind.is_empty() {
                    progress.seen.clear();
                    return Ok(());
                }
                behind
            };
            if start.elapsed() >= within {
                return Err(format!(
                    "within {within:?} these workers had not {IN_A_ROW} successful calls in a row:\n  {}",
                    behind.join("\n  ")
                ));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a row has failed with an error of one of these kinds, since the load began or since
    /// the last [`wait_for_success`](Self::wait_for_success) ended.
    ///
    /// # Errors
    /// None did. Says which errors there were instead.
    pub async fn wait_for_error(&self, kinds: &[ErrorKind], within: Duration) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let seen = self.errors_seen();
            if seen.iter().any(|class| kinds.contains(&class.kind)) {
                return Ok(());
            }
            if start.elapsed() >= within {
                let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "within {within:?} no row failed with any of {kinds:?}; the errors were: {}",
                    if seen.is_empty() { "none".to_owned() } else { seen.join("; ") }
                ));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The classes of errors since the load began or since the last
    /// [`wait_for_success`](Self::wait_for_success) ended.
    pub fn errors_seen(&self) -> BTreeSet<ErrorClass> {
        self.shared.progress().seen.clone()
    }

    /// Ends the workers, each after the call it is in, and says how it went.
    pub async fn stop(mut self) -> LoadReport {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let patience = self.shared.plan.deadline + HUNG;
        let mut hung = 0;
        for mut task in std::mem::take(&mut self.tasks) {
            match timeout(patience, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(ended)) => self.shared.progress().wrong(format!("a worker ended early: {ended}")),
                Err(_) => {
                    task.abort();
                    hung += 1;
                }
            }
        }
        if hung > 0 {
            self.shared.progress().wrong(format!("{hung} calls were not back {HUNG:?} after their deadline"));
        }
        LoadReport::new(self.shared.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
