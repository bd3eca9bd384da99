//! Sends calls when they are due, and measures them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::measure::{Kind, Measured, Times};
use super::pace::{Gate, Schedule};

/// What is sent.
pub(crate) trait Load: Send + Sync + 'static {
    /// A call, ready to be sent.
    type Call: Send;

    /// Makes a call ready. What that takes is not measured.
    fn prepare(&self, number: u64) -> Self::Call;

    /// What a call does.
    fn kind(&self, number: u64) -> Kind;

    /// Sends it, and waits for the answer.
    fn send(&self, call: Self::Call) -> impl Future<Output = Sent> + Send;
}

/// A call that has its answer.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) kind: Kind,
    /// How many rows it was about.
    pub(crate) rows: u64,
    /// How many of them there was something of.
    pub(crate) found: u64,
    /// Why it failed, as a whole or first.
    pub(crate) failure: Option<String>,
}

impl Sent {
    pub(crate) fn failed(kind: Kind, failure: String) -> Self {
        Self { kind, rows: 0, found: 0, failure: Some(failure) }
    }
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Calls a second, whatever becomes of them; `None` sends each call when one before it is answered.
    pub(crate) rate: Option<f64>,
    /// At most so many calls at a time.
    pub(crate) concurrency: usize,
    /// How long nothing is measured at the beginning.
    pub(crate) warm_up: Duration,
    /// How long it is measured.
    pub(crate) duration: Duration,
}

/// How far it is, to be read while it goes on. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Calls that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn answered_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends calls as the plan says, until its end or until `stop` ends.
pub(crate) async fn run<L: Load>(
    load: Arc<L>,
    plan: Plan,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) -> Measured {
    run_paced(load, plan, progress, stop, |gate, began| {
        std::thread::spawn(move || gate.keep_pace(began.into_std()));
    })
    .await
}

async fn run_paced<L: Load>(
    load: Arc<L>,
    plan: Plan,
    progress: &Progress,
    stop: impl Future<Output = ()>,
    pace: impl FnOnce(Arc<Gate>, Instant),
) -> Measured {
    let began = Instant::now();
    let lasting = plan.warm_up + plan.duration;
    let gate = plan.rate.map(|rate| Arc::new(Gate::new(Schedule::new(rate, lasting))));
    let running = Arc::new(Running {
        load,
        gate: gate.clone(),
        began,
        stopped: AtomicBool::new(false),
        prepared: AtomicU64::new(0),
        begun: AtomicU64::new(0),
        measured: Mutex::new(Measured::new(plan.warm_up)),
        progress: progress.clone(),
    });
    let workers: Vec<_> = (0..plan.concurrency).map(|_| tokio::spawn(Arc::clone(&running).work())).collect();
    if let Some(gate) = &gate {
        pace(Arc::clone(gate), began);
    }
    tokio::select! {
        () = tokio::time::sleep(lasting) => {}
        () = stop => {}
    }
    let end = began.elapsed();
    running.stopped.store(true, Ordering::Relaxed);
    if let Some(gate) = &gate {
        gate.close();
    }
    // What has been sent has its answer, or fails, before its deadline.
    for worker in workers {
        let _ = worker.await;
    }
    running.settle(end)
}

struct Running<L> {
    load: Arc<L>,
    gate: Option<Arc<Gate>>,
    began: Instant,
    stopped: AtomicBool,
    /// How many calls were made ready.
    prepared: AtomicU64,
    /// How many calls have begun: the next one's place in the schedule.
    begun: AtomicU64,
    measured: Mutex<Measured>,
    progress: Progress,
}

impl<L: Load> Running<L> {
    async fn work(self: Arc<Self>) {
        while !self.stopped.load(Ordering::Relaxed) {
            let call = self.load.prepare(self.prepared.fetch_add(1, Ordering::Relaxed));
            let due = match &self.gate {
                Some(gate) if !gate.pass().await => return,
                Some(gate) => Some(gate.schedule.due(self.begun.fetch_add(1, Ordering::Relaxed))),
                None => None,
            };
            let sent = self.began.elapsed();
            let outcome = self.load.send(call).await;
            let times = Times { due: due.unwrap_or(sent), sent, answered: self.began.elapsed() };
            self.measured().record(times, &outcome);
            self.progress.answered_one();
        }
    }

    /// What was measured until the end, with the calls that were due by then and have not begun.
    fn settle(&self, end: Duration) -> Measured {
        let mut measured = std::mem::replace(&mut *self.measured(), Measured::new(Duration::ZERO));
        if let Some(Gate { schedule, .. }) = self.gate.as_deref() {
            let waiting = self.begun.load(Ordering::Relaxed)..schedule.calls();
            for call in waiting.take_while(|call| schedule.due(*call) < end) {
                measured.record_waiting(self.load.kind(call), schedule.due(call), end);
            }
        }
        measured.end(end);
        measured
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that answers within a millisecond, but stands still once.
    struct Stalling {
        from: Instant,
        until: Instant,
    }

    impl Load for Stalling {
        type Call = ();

        fn prepare(&self, _: u64) {}

        fn kind(&self, _: u64) -> Kind {
            Kind::Read
        }

        async fn send(&self, (): ()) -> Sent {
            let stands_still = self.from <= Instant::now() && Instant::now() < self.until;
            let answered = if stands_still { self.until } else { Instant::now() + Duration::from_millis(1) };
            tokio::time::sleep_until(answered).await;
            Sent { kind: Kind::Read, rows: 1, found: 1, failure: None }
        }
    }

    /// Stands still for a second in the middle of ten, under four calls at a time.
    async fn stalled(rate: Option<f64>) -> Measured {
        let second = Duration::from_secs(1);
        let from = Instant::now() + 5 * second;
        let load = Arc::new(Stalling { from, until: from + second });
        let plan = Plan { rate, concurrency: 4, warm_up: second, duration: 9 * second };
        let progress = Progress::default();
        run_paced(load, plan, &progress, std::future::pending(), |gate, began| {
            tokio::spawn(async move {
                let mut released = 0;
                while let Some(next) = gate.release(&mut released, began.elapsed()) {
                    tokio::time::sleep_until(began + next).await;
                }
            });
        })
        .await
    }

    fn millis(nanos: u64) -> u64 {
        nanos / 1_000_000
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_shows_in_the_response_times_and_not_in_the_service_times() {
        let measured = stalled(Some(500.0)).await;
        let Measured { reads, seconds, not_begun, .. } = &measured;
        assert_eq!((reads.calls, *not_begun, measured.lasted), (4_500, 0, Duration::from_secs(9)));
        // Four of 4,500 calls were sent into the stall, of all that were due during it.
        assert!(millis(reads.service.value_at_quantile(0.999)) <= 2);
        assert!(millis(reads.service.max()) >= 999);
        // One in nine was due during it, and waited for half a second on average.
        assert!(millis(reads.response.value_at_quantile(0.99)) >= 900);
        assert!(millis(reads.response.value_at_quantile(0.94)) >= 400);
        assert!(millis(reads.response.value_at_quantile(0.8)) <= 2);
        let calls: Vec<u64> = seconds.iter().map(|second| second.calls).collect();
        assert!(calls[4] <= 4 && calls[5] >= 900, "{calls:?}");
        assert!(seconds[5].longest >= Duration::from_millis(999) && seconds[2].longest.as_millis() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_hides_it() {
        let Measured { reads, .. } = stalled(None).await;
        assert!(reads.calls > 10_000);
        assert!(millis(reads.response.value_at_quantile(0.999)) <= 2);
        assert_eq!(reads.response.max(), reads.service.max());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_has_no_time_for_counts_as_having_waited() {
        // Four at a time of a millisecond each are some thousand calls a second.
        let Measured { reads, not_begun, .. } = stalled(Some(8_000.0)).await;
        assert_eq!(reads.calls + not_begun, 9 * 8_000);
        assert!(not_begun > 20_000, "{not_begun}");
        assert!(millis(reads.response.value_at_quantile(0.9)) > 1_000);
        assert!(millis(reads.service.value_at_quantile(0.999)) <= 2);
    }
}
