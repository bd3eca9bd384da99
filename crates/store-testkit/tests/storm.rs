//! The storm over good stores and over stores that do wrong.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, ErrorKind, OnlineStore, SystemClock};
use store_testkit::storm::{StormPlan, storm};
use store_testkit::{BrokenStore, Fault, FaultyBackend, Flaw, MapStore, Operation};

const TENANT: &str = "t";

fn plan() -> StormPlan {
    StormPlan { writes: 20_000, merges: 4_000, entities: 500, batch: 100, ..StormPlan::default() }
}

/// A store with a flaw, slow enough for writers to come between each other.
fn store(flaw: Flaw) -> OnlineStore {
    let store = Arc::new(BrokenStore::new(flaw, Arc::new(SystemClock)));
    OnlineStore::new(Arc::new(FaultyBackend::new(store, |call| match call.operation {
        Operation::Put => Fault::Delay(Duration::from_millis(1)),
        _ => Fault::None,
    })))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_every_feature_of_a_good_store_is_the_newest() {
    let report = storm(&store(Flaw::None), TENANT, plan()).await.unwrap();
    assert_eq!(report.rows, 24_000 + 24_000 / 20, "{report}");
    assert_eq!(report.applied + report.superseded, report.rows, "{report}");
    assert!(report.superseded > report.rows / 4, "{report}");
    // Every entity has the set; of what is beside it most have some.
    assert!((500 * 3 + 1_000..=500 * 3 + 250 * 8).contains(&report.features), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flaws_that_lose_or_age_features_are_found() {
    for flaw in [
        Flaw::IgnoresPreconditions,
        Flaw::IgnoresShape,
        Flaw::LastArrivalWins,
        Flaw::LosesConcurrentUpdates,
        Flaw::StoresWhatItRefuses,
        Flaw::NeverSaysRefused,
        Flaw::LosesWrites,
        Flaw::WritesInTwoSteps,
    ] {
        let outcome = storm(&store(flaw), TENANT, plan()).await;
        let error = outcome.err().unwrap_or_else(|| panic!("{flaw:?} is not noticed"));
        assert!(error.contains("features are not the newest"), "{flaw:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fail_for_a_while_are_written_again() {
    let map = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let faulty = FaultyBackend::new(map, |call| match (call.operation, call.number % 10) {
        (Operation::Put, 3) => Fault::LoseReply,
        (Operation::Put, 7) => Fault::Fail(Error::new(ErrorKind::Throttled, "slow down")),
        _ => Fault::None,
    });
    let plan = StormPlan { writes: 2_000, merges: 200, ..plan() };
    let report = storm(&OnlineStore::new(Arc::new(faulty)), TENANT, plan).await.unwrap();
    assert!(report.retried > 0, "{report}");
    assert_eq!(report.applied + report.superseded, report.rows, "{report}");
}

#[tokio::test]
async fn a_row_that_cannot_be_written_ends_the_storm() {
    let map = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let closed = Error::new(ErrorKind::PermissionDenied, "not yours");
    let faulty = FaultyBackend::new(map, move |_| Fault::Fail(closed.clone()));
    let error = storm(&OnlineStore::new(Arc::new(faulty)), TENANT, plan()).await.unwrap_err();
    assert!(error.contains("cannot be written: PermissionDenied"), "{error}");
    let none = StormPlan { writers: 0, ..plan() };
    assert!(storm(&store(Flaw::None), TENANT, none).await.is_err());
}
