//! The handle over a store that fails: what it repeats, what it reports, and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    EntityKey, Error, ErrorKind, FeatureWrite, ManualClock, OnlineStore, OnlineStoreBackend, Scope,
    StoreSettings, Timestamp, WriteOutcome,
};
use futures::StreamExt;
use store_testkit::{Call, Fault, FaultyBackend, MapStore, Operation};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

struct Setup {
    store: OnlineStore,
    faulty: Arc<FaultyBackend>,
    /// The same records, without faults.
    sound: OnlineStore,
}

fn setup(script: impl Fn(Call) -> Fault + Send + Sync + 'static) -> Setup {
    let clock = ManualClock::at(NOW);
    let map: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(clock.clone())));
    let faulty = Arc::new(FaultyBackend::new(map.clone(), script));
    let settings = StoreSettings { max_conflict_retries: 8, ..StoreSettings::default() };
    let handle =
        |backend| OnlineStore::builder(backend).clock(clock.clone()).settings(settings.clone()).build();
    Setup { store: handle(faulty.clone()).unwrap(), sound: handle(map).unwrap(), faulty }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "connection refused")
}

fn entity(name: &str) -> EntityKey {
    EntityKey::new("id", name).unwrap()
}

async fn write(store: &OnlineStore, name: &str, value: i64) -> feature_core::Result<WriteOutcome> {
    store.write_features("t", "v", &entity(name), [("f", value)], Some(NOW), None).await
}

async fn value(store: &OnlineStore, name: &str) -> Option<i64> {
    store.read_features("t", "v", &entity(name), None).await.unwrap()?.get("f")?.as_i64()
}

/// Applies a fault to the first calls of one method.
fn at_first(operation: Operation, calls: usize, fault: Fault) -> impl Fn(Call) -> Fault + Send + Sync {
    move |call| match call.operation == operation && call.number < calls {
        true => fault.clone(),
        false => Fault::None,
    }
}

#[tokio::test]
async fn a_write_that_is_refused_is_merged_and_tried_again() {
    let s = setup(at_first(Operation::Put, 5, Fault::Refuse));
    assert_eq!(write(&s.store, "e", 1).await.unwrap(), WriteOutcome::Applied);
    assert_eq!(value(&s.sound, "e").await, Some(1));
    assert_eq!(s.faulty.count(Operation::Put), 6);
}

#[tokio::test]
async fn a_write_that_is_refused_for_ever_is_a_conflict_and_stores_nothing() {
    let s = setup(at_first(Operation::Put, usize::MAX, Fault::Refuse));
    let error = write(&s.store, "e", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.is_retryable() && !error.in_doubt(), "{error}");
    assert_eq!(value(&s.sound, "e").await, None);
}

#[tokio::test]
async fn a_write_that_fails_after_a_refusal_may_be_what_was_in_its_own_way() {
    // The first put took effect without an answer; the backend sent it again, and that was refused.
    for (operation, number) in [(Operation::Get, 0), (Operation::Put, 1)] {
        let s = setup(move |call| match call {
            Call { operation: Operation::Put, number: 0, .. } => Fault::Refuse,
            call if (call.operation, call.number) == (operation, number) => Fault::Fail(unavailable()),
            _ => Fault::None,
        });
        let error = write(&s.store, "a", 1).await.unwrap_err();
        assert_eq!((error.kind(), error.in_doubt()), (ErrorKind::Unavailable, true), "{error}");
    }
    let s = setup(at_first(Operation::Put, 1, Fault::Fail(unavailable())));
    assert!(!write(&s.store, "a", 1).await.unwrap_err().in_doubt());
}

#[tokio::test]
async fn a_lost_reply_leaves_a_doubt_that_writing_again_settles() {
    let s = setup(at_first(Operation::Put, 1, Fault::LoseReply));
    let error = write(&s.store, "e", 1).await.unwrap_err();
    assert!(error.in_doubt() && error.is_retryable(), "{error}");
    let row = s.sound.read_features("t", "v", &entity("e"), None).await.unwrap();
    write(&s.store, "e", 1).await.unwrap();
    assert_eq!(s.sound.read_features("t", "v", &entity("e"), None).await.unwrap(), row);
    assert_eq!(value(&s.sound, "e").await, Some(1));
}

#[tokio::test]
async fn a_row_that_fails_takes_no_other_with_it() {
    let s = setup(|call| match call.operation {
        Operation::Put | Operation::Get | Operation::Delete => Fault::FailRow(1, unavailable()),
        _ => Fault::None,
    });
    let names = ["a", "b", "c"];
    let keys = names.map(entity);
    let writes = keys.iter().map(|key| FeatureWrite::new(key.clone(), [("f", 1)]));
    let report = s.store.batch_write("t", "v", writes).await.unwrap();
    assert_eq!(
        report.failures().map(|(row, error)| (row, error.kind())).collect::<Vec<_>>(),
        [(1, ErrorKind::Unavailable)]
    );
    assert_eq!(value(&s.sound, "b").await, None);
    let rows = s.store.batch_read("t", "v", &keys, None).await.unwrap();
    let seen: Vec<_> =
        rows.iter().map(|row| row.as_ref().map(Option::is_some).map_err(Error::kind)).collect();
    assert_eq!(seen, [Ok(true), Err(ErrorKind::Unavailable), Ok(true)]);
    let deleted = s.store.delete("t", "v", &keys).await.unwrap();
    let seen: Vec<_> = deleted.iter().map(|row| row.as_ref().copied().map_err(Error::kind)).collect();
    assert_eq!(seen, [Ok(true), Err(ErrorKind::Unavailable), Ok(true)]);
}

#[tokio::test]
async fn errors_name_operation_backend_and_record() {
    let s = setup(|_| Fault::Fail(unavailable()));
    let error = write(&s.store, "e", 1).await.unwrap_err();
    assert_eq!(
        (error.operation(), error.backend(), error.key()),
        (Some("write"), Some("map"), Some("t:v:id=e"))
    );
    let error = s.store.read_features("t", "v", &entity("e"), None).await.unwrap_err();
    assert_eq!(
        (error.operation(), error.backend(), error.key()),
        (Some("read"), Some("map"), Some("t:v:id=e"))
    );
    assert_eq!(s.store.check().await.unwrap_err().operation(), Some("check"));
    let scope = Scope::view("t", "v").unwrap();
    assert_eq!(s.store.purge(&scope).await.unwrap_err().operation(), Some("purge"));
    assert_eq!(s.store.close().await.unwrap_err().operation(), Some("close"));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_leaves_a_write_in_doubt() {
    let s = setup(|_| Fault::Delay(Duration::from_secs(60)));
    let store = s.store.with_deadline(Duration::from_millis(20));
    let error = write(&store, "e", 1).await.unwrap_err();
    assert_eq!((error.kind(), error.in_doubt()), (ErrorKind::DeadlineExceeded, true));
    let error = store.read_features("t", "v", &entity("e"), None).await.unwrap_err();
    assert_eq!((error.kind(), error.in_doubt()), (ErrorKind::DeadlineExceeded, false));
    let deleted = store.delete("t", "v", &[entity("e")]).await.unwrap().remove(0).unwrap_err();
    assert_eq!((deleted.kind(), deleted.in_doubt()), (ErrorKind::DeadlineExceeded, true));
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test]
async fn an_answer_with_too_few_rows_is_an_error_of_the_rows_and_no_other_s_data() {
    let s = setup(|call| match call.operation {
        Operation::Get | Operation::Delete => Fault::CutAnswer(1),
        _ => Fault::None,
    });
    for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
        write(&s.sound, name, number).await.unwrap();
    }
    let keys = ["a", "b", "c"].map(entity);
    let rows = s.store.batch_read("t", "v", &keys, None).await.unwrap();
    assert!(
        rows[1..].iter().all(|row| row.as_ref().is_err_and(|e| e.kind() == ErrorKind::Internal)),
        "{rows:?}"
    );
    let deleted = s.store.delete("t", "v", &keys).await.unwrap();
    assert!(deleted[1..].iter().all(|row| row.as_ref().is_err_and(Error::in_doubt)), "{deleted:?}");
}

#[tokio::test]
async fn a_scan_goes_on_after_a_row_that_fails_and_says_when_it_was_cut_off() {
    for (fault, rows, errors) in [(Fault::FailRow(1, unavailable()), 2, 1), (Fault::CutAnswer(1), 1, 1)] {
        let s = setup(at_first(Operation::Scan, 1, fault));
        for name in ["a", "b", "c"] {
            write(&s.sound, name, 1).await.unwrap();
        }
        let scanned: Vec<_> = s.store.scan(&Scope::view("t", "v").unwrap()).collect().await;
        assert_eq!(scanned.iter().filter(|row| row.is_ok()).count(), rows);
        assert_eq!(scanned.iter().filter(|row| row.is_err()).count(), errors);
    }
}

#[tokio::test]
async fn whatever_fails_at_random_repeating_the_writes_ends_in_the_right_features() {
    for seed in 0..20 {
        let clock = ManualClock::at(NOW);
        let map: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(clock.clone())));
        let faults = vec![Fault::Fail(unavailable()), Fault::LoseReply, Fault::Refuse];
        let faulty = FaultyBackend::random(map, seed, 3, faults);
        let store = OnlineStore::builder(Arc::new(faulty)).clock(clock).build().unwrap();
        let mut order: Vec<i64> = (0..12).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        for second in order {
            let at = Timestamp::from_micros(NOW.as_micros() + second);
            let features = [(if second % 2 == 0 { "even" } else { "odd" }, second)];
            while store.write_features("t", "v", &entity("e"), features, Some(at), None).await.is_err() {}
        }
        let row = loop {
            if let Ok(row) = store.read_features("t", "v", &entity("e"), None).await {
                break row.unwrap();
            }
        };
        assert_eq!(
            (row.get("even"), row.get("odd")),
            (Some(&10i64.into()), Some(&11i64.into())),
            "seed {seed}"
        );
    }
}
