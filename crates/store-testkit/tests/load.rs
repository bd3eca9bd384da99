//! The load over stores that do wrong, each in its own way: it must notice.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use feature_core::{
    CallContext, Error, ErrorKind, OnlineStore, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result,
    SystemClock, VersionedRecord,
};
use store_testkit::load::{Load, LoadPlan, LoadReport};
use store_testkit::{BrokenStore, Fault, FaultyBackend, Flaw, MapStore, Operation};

const TENANT: &str = "t";
const SOON: Duration = Duration::from_secs(20);
/// Generous: nothing here depends on how fast this machine is.
const SLACK: Duration = Duration::from_secs(5);

fn plan() -> LoadPlan {
    LoadPlan { entities: 20, batch: 5, rest: Duration::from_micros(200), ..LoadPlan::default() }
}

fn map() -> Arc<MapStore> {
    Arc::new(MapStore::new(Arc::new(SystemClock)))
}

fn broken(flaw: Flaw) -> OnlineStore {
    OnlineStore::new(Arc::new(BrokenStore::new(flaw, Arc::new(SystemClock))))
}

/// Runs the load until every worker has been heard of, and a while longer.
async fn run(store: &OnlineStore) -> LoadReport {
    let load = Load::start(store, TENANT, plan()).unwrap();
    for _ in 0..10 {
        load.wait_for_success(SOON).await.unwrap();
    }
    load.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_store_passes() {
    let store = broken(Flaw::None);
    let report = run(&store).await;
    report.sound(SLACK).unwrap();
    assert!(report.writes().rows_ok > 0 && report.reads().rows_ok > 0, "{report}");
    assert!(report.writes().errors.is_empty(), "{report}");
    let verification = report.verify(&store).await.unwrap();
    verification.sound().unwrap();
    assert_eq!(verification.checked, 20 * 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_that_are_lost_are_found() {
    for flaw in [Flaw::LosesWrites, Flaw::LosesConcurrentUpdates, Flaw::IgnoresShape] {
        let store = Arc::new(BrokenStore::new(flaw, Arc::new(SystemClock)));
        // Time for other writers to come between what a write has seen and what it does.
        let slow = FaultyBackend::new(store, |call| match call.operation {
            Operation::Put => Fault::Delay(Duration::from_millis(1)),
            _ => Fault::None,
        });
        let store = OnlineStore::new(Arc::new(slow));
        let report = run(&store).await;
        let verification = report.verify(&store).await.unwrap();
        assert!(report.nothing_stale().is_err(), "{flaw:?}: no read has noticed");
        let error = verification.sound().unwrap_err();
        assert!(error.contains("acknowledged writes are lost"), "{flaw:?}: {error}");
        assert!(report.sound(SLACK).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_everything_when_it_is_restarted_is_found() {
    let report = run(&broken(Flaw::None)).await;
    report.sound(SLACK).unwrap();
    let verification = report.verify(&OnlineStore::new(map())).await.unwrap();
    assert!(verification.lost.len() > 50, "{}", verification.lost.len());
    assert!(verification.lost.iter().all(|loss| loss.found == 0));
    assert_eq!(verification.wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_what_was_are_found() {
    let report = run(&broken(Flaw::ServesStaleReads)).await;
    assert!(report.stale() > 0);
    assert!(report.nothing_stale().unwrap_err().contains("was acknowledged before it began"));
}

/// Does wrong in ways of its own.
#[derive(Debug)]
struct Odd {
    inner: MapStore,
    /// Gives the first two records of a get as each other's.
    swaps: bool,
    /// Says of a put that is done that it failed, without a doubt.
    denies: bool,
    /// How long a get keeps everybody waiting.
    blocks: Duration,
}

impl feature_core::BackendWrapper for Odd {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.inner
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        std::thread::sleep(self.blocks);
        let mut rows = self.inner.get(keys, call).await;
        if self.swaps && rows.len() > 1 {
            rows.swap(0, 1);
        }
        rows
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let denied = || Error::new(ErrorKind::Unavailable, "not done, honestly");
        let outcomes = self.inner.put(puts, call).await.into_iter();
        outcomes.map(|row| if self.denies && fastrand::bool() { Err(denied()) } else { row }).collect()
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.inner.delete(keys, call).await
    }
}

fn odd(how: impl FnOnce(&mut Odd)) -> OnlineStore {
    let inner = MapStore::new(Arc::new(SystemClock));
    let mut odd = Odd { inner, swaps: false, denies: false, blocks: Duration::ZERO };
    how(&mut odd);
    OnlineStore::new(Arc::new(odd))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_given_as_another_s_is_found() {
    let report = run(&odd(|store| store.swaps = true)).await;
    let error = report.sound(SLACK).unwrap_err();
    assert!(error.contains("which was never written"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_took_effect_though_it_surely_failed_is_found() {
    let store = odd(|store| store.denies = true);
    let load = Load::start(&store, TENANT, plan()).unwrap();
    load.wait_for_error(&[ErrorKind::Unavailable], SOON).await.unwrap();
    let report = load.stop().await;
    let error = report.verify(&store).await.unwrap().sound().unwrap_err();
    assert!(error.contains("failed without a doubt"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_its_deadline_is_found() {
    let plan = LoadPlan { deadline: Duration::from_millis(20), writers: 0, ..plan() };
    let store = odd(|store| store.blocks = Duration::from_millis(200));
    let load = Load::start(&store, TENANT, plan).unwrap();
    load.wait_for_success(SOON).await.unwrap();
    let report = load.stop().await;
    let error = report.sound(Duration::from_millis(100)).unwrap_err();
    assert!(error.contains("its deadline was 20ms"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_happened_may_have_happened() {
    let map = map();
    let lost = vec![Fault::LoseReply, Fault::Fail(Error::new(ErrorKind::Throttled, "slow down"))];
    let store = OnlineStore::new(Arc::new(FaultyBackend::random(map.clone(), 1, 2, lost)));
    let load = Load::start(&store, TENANT, plan()).unwrap();
    load.wait_for_error(&[ErrorKind::Throttled], SOON).await.unwrap();
    load.wait_for_error(&[ErrorKind::Unavailable], SOON).await.unwrap();
    let report = load.stop().await;
    report.sound(SLACK).unwrap();
    let in_doubt = report.writes().errors.keys().any(|class| class.in_doubt);
    assert!(in_doubt && report.writes().errors_of(ErrorKind::Unavailable) > 0, "{report}");
    report.verify(&OnlineStore::new(map)).await.unwrap().sound().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_see_the_fault_come_and_go() {
    let failing = Arc::new(AtomicBool::new(true));
    let script = failing.clone();
    let faulty = FaultyBackend::new(map(), move |call| {
        match script.load(Ordering::Relaxed) && call.operation == Operation::Put {
            true => Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused")),
            false => Fault::None,
        }
    });
    let load = Load::start(&OnlineStore::new(Arc::new(faulty)), TENANT, plan()).unwrap();
    load.wait_for_error(&[ErrorKind::Conflict, ErrorKind::Unavailable], SOON).await.unwrap();
    let error = load.wait_for_error(&[ErrorKind::Corrupt], Duration::from_millis(50)).await.unwrap_err();
    assert!(error.contains("Unavailable, retryable"), "{error}");
    let error = load.wait_for_success(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.contains("0 of 3: Unavailable: connection refused"), "{error}");

    failing.store(false, Ordering::Relaxed);
    load.wait_for_success(SOON).await.unwrap();
    assert!(load.errors_seen().is_empty());
    failing.store(true, Ordering::Relaxed);
    load.wait_for_error(&[ErrorKind::Unavailable], SOON).await.unwrap();
    load.stop().await.sound(SLACK).unwrap();
}
