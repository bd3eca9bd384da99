//! What each command does, and what it refuses.

use feature_core::{
    CallContext, Error, ErrorKind, FeatureWrite, PurgeProgress, RecordKey, RecordPut, Ttl, ViewKey,
};
use store_testkit::{Call, Operation};
use tokio::time::{Instant, sleep};

use super::*;
use crate::migration::{Difference, Phase};

/// A world in which so many records are in the old store.
async fn filled(records: u64) -> (World, Process) {
    let world = World::new();
    let process = world.process();
    for entity in 0..records {
        process.put(entity, "f", entity as i64, entity as i64).await.unwrap();
    }
    (world, process)
}

impl Process {
    async fn verify(&self) -> u64 {
        self.migrations.verify(&scope(), false, &progress()).await.unwrap().counts.differing
    }

    async fn cutover(&self) -> feature_core::Result<MigrationStatus> {
        self.migrations.cutover(&scope(), false, &progress()).await
    }

    async fn finish(&self) -> feature_core::Result<MigrationStatus> {
        self.migrations.finish(&scope(), false, &progress()).await
    }

    async fn phase(&self) -> Option<Phase> {
        self.migrations.status().await.unwrap().first().map(|status| status.phase)
    }

    async fn backend_key(&self, entity: u64) -> RecordKey {
        RecordKey::new(ViewKey::new(TENANT, VIEW).unwrap(), key(entity))
    }
}

fn call() -> CallContext {
    CallContext::with_timeout(SETTINGS.longest_write)
}

async fn raw_delete(store: &Backend, process: &Process, entity: u64) {
    store.delete(&[process.backend_key(entity).await], call()).await.remove(0).unwrap();
}

#[tokio::test(start_paused = true)]
async fn records_move_step_by_step_and_the_source_is_left_alone_in_the_end() {
    let (world, process) = filled(1_200).await;
    let status = process.start().await.unwrap();
    assert_eq!((status.phase, status.followed), (Phase::Copied, true));
    assert_eq!((status.looked_at, status.copied), (1_200, 1_200));
    assert_eq!(world.new_rows().await, world.old_rows().await);

    // The source is read: what the target alone has is not seen.
    raw_delete(&world.new, &process, 0).await;
    assert_eq!(process.get(0, "f").await.unwrap(), Some(0));
    let found = process.migrations.verify(&scope(), false, &progress()).await.unwrap();
    assert_eq!((found.counts.source_records, found.counts.target_records), (1_200, 1_199));
    assert_eq!(found.examples, [(process.backend_key(0).await, Difference::Missing)]);
    let error = process.cutover().await.unwrap_err();
    assert!(error.to_string().contains("verify"), "{error}");

    // Starting again copies what is missing and nothing else.
    assert_eq!(process.start().await.unwrap().copied, 1);
    assert_eq!(process.verify().await, 0);
    assert_eq!(process.cutover().await.unwrap().phase, Phase::CutOver);
    process.put(1, "f", -1, 5_000).await.unwrap();
    assert!(process.delete(2).await.unwrap());
    assert_eq!(world.new_rows().await, world.old_rows().await);
    raw_delete(&world.old, &process, 3).await;
    assert_eq!(process.get(3, "f").await.unwrap(), Some(3));

    let error = process.finish().await.unwrap_err();
    assert!(error.to_string().contains("verify"), "{error}");
    raw_delete(&world.new, &process, 3).await;
    assert_eq!(process.verify().await, 0);
    assert_eq!(process.finish().await.unwrap().phase, Phase::Finished);
    let before = world.old_rows().await;
    process.put(4, "f", -4, 5_000).await.unwrap();
    assert!(process.delete(5).await.unwrap());
    assert_eq!(world.old_rows().await, before);
    assert_eq!(process.get(4, "f").await.unwrap(), Some(-4));
    assert_eq!(process.get(5, "f").await.unwrap(), None);
    assert_eq!(process.get(1, "f").await.unwrap(), Some(-1));
}

#[tokio::test(start_paused = true)]
async fn an_abort_leads_back_to_the_source_from_every_phase() {
    for steps in 0..4 {
        let (world, process) = filled(10).await;
        process.start().await.unwrap();
        if steps > 0 {
            process.verify().await;
        }
        if steps > 1 {
            process.cutover().await.unwrap();
            process.put(1, "f", -1, 100).await.unwrap();
        }
        if steps > 2 {
            // It dies while writes are held.
            process.verify().await;
            let held = SETTINGS.until_followed() + SETTINGS.hold() / 2;
            assert!(tokio::time::timeout(held, process.finish()).await.is_err());
            assert_eq!(process.phase().await, Some(Phase::Holding));
        }
        let purge = steps % 2 == 0;
        process.migrations.abort(&scope(), purge, &progress()).await.unwrap();
        assert_eq!(process.phase().await, None);
        assert_eq!(world.new_rows().await.is_empty(), purge, "{steps}");
        let copied = world.new_rows().await;
        process.put(2, "f", -2, 100).await.unwrap();
        assert_eq!(process.get(2, "f").await.unwrap(), Some(-2));
        assert_eq!(process.get(1, "f").await.unwrap(), Some(if steps > 1 { -1 } else { 1 }));
        assert_eq!(world.new_rows().await, copied, "only the source is written");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_migrated_is_refused_before_anything_is_done() {
    let (world, process) = filled(3).await;
    let (migrations, options, progress) = (&process.migrations, StartOptions::default(), progress());
    let tenant = Scope::tenant(TENANT).unwrap();
    let refused = async |scope: &Scope, to: &str, why: &str| {
        let error = migrations.start(scope, to, options, &progress).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&Scope::Store, "new", "a tenant").await;
    refused(&Scope::tenant("__fstore__").unwrap(), "new", "stays there").await;
    refused(&scope(), "old", "the other stores are new").await;
    refused(&scope(), "newer", "the other stores are new").await;
    let error = process.cutover().await.unwrap_err();
    assert!(error.to_string().contains("no migration"), "{error}");
    assert!(process.migrations.abort(&scope(), false, &progress).await.is_err());

    // What stands in the target may be somebody's.
    let other = OnlineStore::builder(world.new.clone()).clock(world.clock.clone()).build().unwrap();
    other.write_features(TENANT, VIEW, &key(77), [("f", 1)], None, None).await.unwrap();
    refused(&scope(), "new", "already has records").await;
    assert_eq!(process.phase().await, None);
    let purging = StartOptions { purge_target: true, ..options };
    migrations.start(&scope(), "new", purging, &progress).await.unwrap();
    assert_eq!(world.new_rows().await, world.old_rows().await);

    refused(&tenant, "new", "end it first").await;
    process.verify().await;
    process.cutover().await.unwrap();
    refused(&scope(), "new", "finish, or abort").await;
    process.verify().await;
    process.finish().await.unwrap();
    refused(&scope(), "new", "change the routes").await;
    assert!(process.migrations.abort(&scope(), false, &progress).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_way_back_leads_back() {
    let (world, process) = filled(5).await;
    process.start().await.unwrap();
    process.verify().await;
    process.cutover().await.unwrap();
    process.verify().await;
    process.finish().await.unwrap();

    // The routes now name the new store.
    let changed = World { old: world.new.clone(), new: world.old.clone(), clock: world.clock.clone() };
    let process = changed.process();
    process.put(1, "f", -1, 100).await.unwrap();
    let purging = StartOptions { purge_target: true, ..StartOptions::default() };
    process.migrations.start(&scope(), "new", purging, &progress()).await.unwrap();
    process.verify().await;
    process.cutover().await.unwrap();
    process.verify().await;
    process.finish().await.unwrap();

    // And now the old one again, which must have forgotten that its records once were elsewhere.
    let process = world.process();
    process.put(2, "f", -2, 100).await.unwrap();
    assert_eq!(process.get(2, "f").await.unwrap(), Some(-2));
    assert_eq!(process.get(1, "f").await.unwrap(), Some(-1));
    assert_eq!(process.phase().await, None);
    assert!(world.old_rows().await.iter().any(|row| row.contains("-2")));
}

#[tokio::test(start_paused = true)]
async fn a_copy_goes_on_where_it_was_and_sweeps_away_what_it_left() {
    let (world, process) = filled(2_000).await;
    let slow = world.slow_process(1, 40);
    let some_copied = async {
        while world.new_rows().await.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        done = slow.start() => panic!("it was done at once: {done:?}"),
        () = some_copied => {}
    }
    assert_eq!(process.phase().await, Some(Phase::Copying));
    let copied = world.new_rows().await.len();
    assert!(0 < copied && copied < 2_000, "{copied}");
    // As if a copy had come after the delete, and its copier had died before it looked back.
    raw_delete(&world.old, &process, 0).await;
    let begun = Instant::now();
    let status = process.start().await.unwrap();
    assert!(begun.elapsed() < SETTINGS.lease, "that every process follows need not be waited for twice");
    assert_eq!(status.phase, Phase::Copied);
    assert_eq!(world.new_rows().await, world.old_rows().await);
    assert_eq!(world.new_rows().await.len(), 1_999);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_aborted_meanwhile_says_so() {
    let (world, process) = filled(5_000).await;
    let slow = Arc::new(world.slow_process(7, 400));
    let copy = tokio::spawn({
        let slow = slow.clone();
        async move { slow.start().await }
    });
    sleep(SETTINGS.until_followed() + Duration::from_secs(1)).await;
    process.migrations.abort(&scope(), false, &progress()).await.unwrap();
    let error = copy.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("ended meanwhile"), "{error}");
    assert_eq!(process.phase().await, None);
}

/// A migration whose finishing is cut off while writes wait.
async fn finish_half(process: &Process) {
    process.start().await.unwrap();
    process.verify().await;
    process.cutover().await.unwrap();
    process.verify().await;
    let held = SETTINGS.until_followed() + SETTINGS.hold() / 2;
    assert!(tokio::time::timeout(held, process.finish()).await.is_err());
    assert_eq!(process.phase().await, Some(Phase::Holding));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_nobody_ends_is_given_up_by_those_who_wait() {
    let (_world, process) = filled(3).await;
    finish_half(&process).await;
    let begun = Instant::now();
    let mut refusals = Vec::new();
    while let Err(error) = process.put(1, "f", -1, 100).await {
        assert!(error.is_retryable() && !error.in_doubt(), "{error}");
        refusals.push(error);
        assert_eq!(process.get(1, "f").await.unwrap(), Some(1), "reads go on");
        assert!(begun.elapsed() < Duration::from_secs(10), "{refusals:?}");
    }
    assert!(!refusals.is_empty(), "the write did not wait");
    assert_eq!(process.phase().await, Some(Phase::CutOver));
    process.verify().await;
    assert_eq!(process.finish().await.unwrap().phase, Phase::Finished);
}

#[tokio::test(start_paused = true)]
async fn whoever_finishes_too_late_is_told_that_writes_went_on() {
    let (_world, process) = filled(3).await;
    finish_half(&process).await;
    let write = async { while process.put(1, "f", -1, 100).await.is_err() {} };
    let finish = async {
        sleep(SETTINGS.hold() * 5 / 2).await;
        process.finish().await
    };
    let ((), finished) = tokio::join!(write, finish);
    let error = finished.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, false), "{error}");
    assert_eq!(process.phase().await, Some(Phase::CutOver));
}

#[tokio::test(start_paused = true)]
async fn writes_wait_while_a_migration_is_finished_and_then_go_on() {
    let (world, process) = filled(3).await;
    let writer = world.slow_process(3, 5);
    let writer = writer.store.with_deadline(Duration::from_secs(2));
    process.start().await.unwrap();
    process.verify().await;
    process.cutover().await.unwrap();
    process.verify().await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writes = tokio::spawn({
        let done = done.clone();
        async move {
            let mut written = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                written += 1;
                let at = Timestamp::from_micros(START.as_micros() + 100 + written);
                let (key, features) = (key(1), [("f", written)]);
                let write = writer.write_features(TENANT, VIEW, &key, features, Some(at), None);
                write.await.expect("a write waits, but does not fail");
            }
            written
        }
    });
    process.finish().await.unwrap();
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = writes.await.unwrap();
    assert_eq!(process.get(1, "f").await.unwrap(), Some(written));
}

#[tokio::test(start_paused = true)]
async fn a_write_fails_when_the_store_that_must_have_it_too_cannot_take_it() {
    let world = World::new();
    let down = || Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused"));
    let no_gets: Backend = Arc::new(FaultyBackend::new(world.new.clone(), move |_| down()));
    let no_puts: Backend =
        Arc::new(FaultyBackend::new(world.new.clone(), move |call| match call.operation {
            Operation::Put => down(),
            _ => Fault::None,
        }));
    let mirror = |required| Some(MirrorSettings { to: "new".to_owned(), required });

    let process = world.process_over(world.old.clone(), no_gets.clone(), mirror(true));
    let error = process.put(1, "f", 1, 1).await.unwrap_err();
    assert!(!error.in_doubt() && error.is_retryable(), "{error:?}");
    assert_eq!(world.old_rows().await.len(), 0, "nothing was written");

    let process = world.process_over(world.old.clone(), no_puts, mirror(true));
    let error = process.put(1, "f", 1, 1).await.unwrap_err();
    assert!(error.in_doubt() && error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("`new` could not be given"), "{error}");

    // The same write again, when the store is back, reaches both, although the first has it already.
    let process = world.process_over(world.old.clone(), world.new.clone(), mirror(true));
    process.put(1, "f", 1, 1).await.unwrap();
    assert_eq!(world.new_rows().await, world.old_rows().await);
    assert_eq!(world.new_rows().await.len(), 1);

    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let process = metrics::with_local_recorder(&recorder, || {
        world.process_over(world.old.clone(), no_gets, mirror(false))
    });
    process.put(2, "f", 1, 1).await.unwrap();
    process.delete(1).await.unwrap();
    let seen = crate::observe::testing::Seen::new(recorder.snapshotter());
    let missed = crate::observe::names::MIRROR_FAILURES;
    assert_eq!(seen.counter(&missed, &[("store", "old"), ("to", "new")]), 2);
    assert_eq!(world.old_rows().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_by_what_was_known_when_the_source_cannot_be_asked_and_writes_do_not() {
    let (world, process) = filled(3).await;
    let up = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let old: Backend = {
        let up = up.clone();
        Arc::new(FaultyBackend::new(world.old.clone(), move |_: Call| {
            match up.load(std::sync::atomic::Ordering::Relaxed) {
                true => Fault::None,
                false => Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused")),
            }
        }))
    };
    process.start().await.unwrap();
    process.verify().await;
    process.cutover().await.unwrap();
    let reader = world.process_over(old, world.new.clone(), None);
    assert_eq!(reader.get(1, "f").await.unwrap(), Some(1));
    up.store(false, std::sync::atomic::Ordering::Relaxed);
    sleep(SETTINGS.lease * 3).await;
    assert_eq!(reader.get(1, "f").await.unwrap(), Some(1));
    let error = reader.put(1, "f", -1, 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.in_doubt() && error.to_string().contains("migration"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn with_nothing_on_the_move_a_call_is_one_call_of_the_source() {
    let (world, _) = filled(3).await;
    let (old, new) = (Arc::new(FaultyBackend::counting(world.old.clone())), world.new.clone());
    let new = Arc::new(FaultyBackend::counting(new));
    let process = world.process_over(old.clone(), new.clone(), None);
    process.get(1, "f").await.unwrap();
    // The first has looked whether anything moves.
    assert_eq!(old.calls().len(), 2);
    for _ in 0..10 {
        process.get(1, "f").await.unwrap();
        process.put(1, "f", 2, 100).await.unwrap();
    }
    assert_eq!(old.calls().len(), 22);
    assert_eq!(new.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_know_the_target_says_what_to_add() {
    let (world, process) = filled(3).await;
    process.start().await.unwrap();
    let others = vec![("another".to_owned(), world.new.clone())];
    let clock = Arc::new(world.clock.clone());
    let mirrored =
        Mirrored::new(("old".to_owned(), world.old.clone()), others, None, clock, SETTINGS).unwrap();
    let store = OnlineStore::builder(Arc::new(mirrored)).clock(world.clock.clone()).build().unwrap();
    assert!(store.read_features(TENANT, VIEW, &key(1), None).await.unwrap().is_some());
    let write = store.write_features(TENANT, VIEW, &key(1), [("f", 9)], None, None).await;
    let error = write.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConfigured, "{error}");
    assert!(error.to_string().contains("`new`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn scans_and_purges_find_each_record_where_it_is_read() {
    for phase in 0..3 {
        let (world, process) = filled(4).await;
        let store = &process.store;
        store.write_features(TENANT, "stays", &key(9), [("f", 9)], None, None).await.unwrap();
        process.start().await.unwrap();
        process.verify().await;
        if phase > 0 {
            process.cutover().await.unwrap();
        }
        if phase > 1 {
            process.verify().await;
            process.finish().await.unwrap();
        }
        assert!(process.delete(0).await.unwrap());
        let tenant = Scope::tenant(TENANT).unwrap();
        let found: Vec<_> = process.mirror.scan(&tenant).map(|row| row.unwrap().0).collect().await;
        assert_eq!(found.len(), 4, "{phase}: {found:?}");
        let report = process.mirror.purge(&scope(), &PurgeProgress::default()).await.unwrap();
        assert_eq!(report.removed, 3, "{phase}");
        assert!(world.old_rows().await.len() == 1 && world.new_rows().await.is_empty(), "{phase}");
        assert_eq!(store.scan(&tenant).count().await, 1);
        store.purge(&tenant).await.unwrap();
        assert_eq!(store.scan(&tenant).count().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_keeps_what_is_left_of_a_life_and_leaves_out_what_has_expired() {
    let (world, process) = filled(0).await;
    for (entity, ttl) in [(1, 10), (2, 20)] {
        let write = FeatureWrite::new(key(entity), [("f", 1)]).with_ttl(Ttl::from_secs(ttl));
        process.store.batch_write(TENANT, VIEW, [write]).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(15));
    process.start().await.unwrap();
    assert_eq!(process.verify().await, 0);
    process.cutover().await.unwrap();
    assert_eq!(process.get(1, "f").await.unwrap(), None);
    assert_eq!(process.get(2, "f").await.unwrap(), Some(1));
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(process.get(2, "f").await.unwrap(), None);
    process.put(2, "g", 1, 0).await.unwrap();
    assert_eq!(world.new_rows().await, world.old_rows().await);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_moves_as_it_is() {
    let (world, process) = filled(2).await;
    let put = RecordPut {
        key: process.backend_key(7).await,
        bytes: bytes::Bytes::from_static(b"damaged"),
        event_time: START,
        shape: 1,
        ttl: None,
        precondition: feature_core::Precondition::Unchanged(None),
    };
    world.old.put(vec![put], call()).await.remove(0).unwrap();
    process.start().await.unwrap();
    assert_eq!(process.verify().await, 0);
    process.cutover().await.unwrap();
    assert_eq!(process.get(7, "f").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(process.get(1, "f").await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_for_some_records_copies_the_others_and_is_not_done() {
    let (world, _) = filled(1_200).await;
    let new: Backend = Arc::new(FaultyBackend::new(world.new.clone(), |call| {
        match call.operation == Operation::Put && call.rows > 1 && call.number < 3 {
            true => Fault::FailRow(3, Error::new(ErrorKind::LimitExceeded, "too large")),
            false => Fault::None,
        }
    }));
    let process = world.process_over(world.old.clone(), new, None);
    let error = process.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("2 of 1200 records were not copied"), "{error}");
    assert_eq!(process.phase().await, Some(Phase::Copying));
    assert_eq!(world.new_rows().await.len(), 1_198);
    assert_eq!(process.start().await.unwrap().copied, 2);
}
