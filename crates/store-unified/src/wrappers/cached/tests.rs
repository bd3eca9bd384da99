//! The cache under writes, failures, dropped futures and the passing of time.

use feature_core::{
    EntityKey, Error, ErrorKind, FeatureWrite, Features, ManualClock, OnlineStore, Precondition, Record,
};
use futures::future::BoxFuture;
use futures::poll;
use store_testkit::{Fault, FaultyBackend, Operation};

use super::testing::{Gated, START, TTL, cached, call, is_stored, key, keys, map, put, value, values};
use super::*;
use crate::wrappers::fallback::{Fallback, FallbackSettings};
use crate::wrappers::provenance::watch;

#[tokio::test]
async fn records_and_their_absence_are_served_for_their_time_and_no_longer() {
    let clock = ManualClock::at(START);
    let below = Arc::new(FaultyBackend::counting(map(&clock)));
    let settings = CacheSettings {
        ttl: Some(TTL),
        views: vec![("off".parse().unwrap(), None), ("short-*".parse().unwrap(), Some(TTL / 10))],
        ..CacheSettings::default()
    };
    let store = Cached::new(below.clone(), Arc::new(clock.clone()), settings);
    let expires = START.saturating_add(TTL / 2);
    let three =
        [put(key("v", 1), 1, None), put(key("v", 2), 2, Some(expires)), put(key("short-v", 1), 3, None)];
    store.put(three.to_vec(), call()).await;

    let asked = [keys([1, 2, 3]), vec![key("short-v", 1), key("off", 1)]].concat();
    // How many of them are read from the store, after how long.
    for (seconds, read) in [(0, 5), (0, 1), (1, 2), (4, 3), (5, 5)] {
        clock.advance(Duration::from_secs(seconds));
        let rows = values(&store.get(&asked, call()).await);
        assert_eq!(rows, [Some(1), Some(2), None, Some(3), None]);
        assert_eq!(below.calls().last().unwrap().rows, read, "{seconds}");
    }
    clock.set(START.saturating_sub(Duration::from_micros(1)));
    store.get(&asked, call()).await;
    assert_eq!(below.calls().last().unwrap().rows, 5, "the clock was set back");
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses), (4 + 3 + 2, 4 + 1 + 2 + 4 + 4));
}

#[tokio::test]
async fn a_read_that_began_before_a_write_leaves_nothing_behind() {
    type Write = fn(&Cached, RecordKey) -> BoxFuture<'_, ()>;
    let writes: [Write; 3] = [
        |store, key| {
            Box::pin(async move {
                assert!(is_stored(&store.put(vec![put(key, 7, None)], call()).await[0]));
            })
        },
        |store, key| {
            Box::pin(async move {
                assert!(store.delete(&[key], call()).await[0].as_ref().unwrap());
            })
        },
        |store, key| {
            Box::pin(async move {
                let scope = Scope::View(key.view().clone());
                assert_eq!(store.purge(&scope, &PurgeProgress::default()).await.unwrap().removed, 1);
            })
        },
    ];
    for (number, write) in writes.into_iter().enumerate() {
        let clock = ManualClock::at(START);
        let map = map(&clock);
        map.put(vec![put(key("v", 1), 1, None)], call()).await;
        let gated = Gated::new(map, &[("get", "after")]);
        let store = cached(gated.clone(), &clock);
        let now = (number == 0).then_some(7);

        let asked = keys([1]);
        let mut before = store.get(&asked, call());
        assert!(poll!(&mut before).is_pending(), "it has read, and is not answered yet");
        write(&store, key("v", 1)).await;
        let mut after = store.get(&asked, call());
        assert!(poll!(&mut after).is_pending(), "it must not be served, nor join the other");
        gated.open("get", "after");
        assert_eq!(values(&before.await), [Some(1)], "the write came later");
        gated.open("get", "after");
        assert_eq!(values(&after.await), [now]);
        assert_eq!(values(&store.get(&asked, call()).await), [now], "it is in the cache now");
        assert_eq!(store.stats().hits, 1);
        assert!(store.shared.traffic.lock().is_idle());
    }
}

#[tokio::test]
async fn a_read_that_began_during_a_write_leaves_nothing_behind() {
    let clock = ManualClock::at(START);
    let gated = Gated::new(map(&clock), &[("get", "after"), ("put", "before")]);
    let store = cached(gated.clone(), &clock);
    let asked = keys([1]);
    for abandoned in [false, true] {
        let mut write = store.put(vec![put(key("v", 1), 1, None)], call());
        assert!(poll!(&mut write).is_pending());
        let mut during = store.get(&asked, call());
        // Whether it would read what this one does nobody knows, so it reads for itself.
        let mut another = store.get(&asked, call());
        assert!(poll!(&mut during).is_pending() && poll!(&mut another).is_pending());
        gated.open("put", "before");
        if abandoned {
            assert!(poll!(&mut write).is_ready());
        } else {
            assert!(is_stored(&write.await[0]));
        }
        let mut after = store.get(&asked, call());
        assert!(poll!(&mut after).is_pending());
        gated.open("get", "after");
        gated.open("get", "after");
        let old = (abandoned).then_some(1);
        assert_eq!((values(&during.await), values(&another.await)), (vec![old], vec![old]));
        gated.open("get", "after");
        assert_eq!(values(&after.await), [Some(1)]);
        assert_eq!(values(&store.get(&asked, call()).await), [Some(1)]);
    }
}

#[tokio::test]
async fn a_read_that_began_during_a_purge_leaves_nothing_behind() {
    let clock = ManualClock::at(START);
    let map = map(&clock);
    map.put(vec![put(key("v", 1), 1, None)], call()).await;
    let gated = Gated::new(map, &[("purge", "before")]);
    let store = cached(gated.clone(), &clock);
    let (scope, progress) = (Scope::tenant("t").unwrap(), PurgeProgress::default());
    let mut purge = store.purge(&scope, &progress);
    assert!(poll!(&mut purge).is_pending());
    let asked = keys([1]);
    assert_eq!(values(&store.get(&asked, call()).await), [Some(1)]);
    gated.open("purge", "before");
    purge.await.unwrap();
    assert_eq!(values(&store.get(&asked, call()).await), [None]);
    assert!(store.shared.traffic.lock().is_idle());
}

/// The entry may come into the cache after the write has begun, if the read is just about to put it there.
#[tokio::test]
async fn an_entry_that_is_marked_afterwards_is_not_served() {
    let clock = ManualClock::at(START);
    let store = cached(map(&clock), &clock);
    let served = START..START.saturating_add(TTL);
    for (stale, hits) in [(false, 1), (true, 1)] {
        let marks = Marks::new([stale].into_iter());
        let entry = Entry { record: None, served: served.clone(), marks, number: 0 };
        store.shared.records.insert(key("v", 1), entry);
        store.get(&keys([1]), call()).await;
        assert_eq!(store.stats().hits, hits, "stale: {stale}");
    }
}

#[tokio::test]
async fn a_write_that_is_dropped_or_fails_leaves_nothing_behind() {
    let clock = ManualClock::at(START);
    let map = map(&clock);
    let gated = Gated::new(map.clone(), &[("put", "after")]);
    let lost = Error::new(ErrorKind::Unavailable, "gone").with_in_doubt(true);
    let faulty =
        Arc::new(FaultyBackend::new(gated.clone(), move |call| match (call.operation, call.number) {
            (Operation::Put, 1) => Fault::LoseReply,
            (Operation::Put, 2) => Fault::Fail(lost.clone()),
            _ => Fault::None,
        }));
    let store = cached(faulty, &clock);
    let asked = keys([1]);
    assert_eq!(values(&store.get(&asked, call()).await), [None]);
    let mut dropped = store.put(vec![put(key("v", 1), 1, None)], call());
    assert!(poll!(&mut dropped).is_pending(), "it has taken effect");
    drop(dropped);
    assert_eq!(values(&store.get(&asked, call()).await), [Some(1)]);
    gated.open("put", "after");
    assert!(store.put(vec![put(key("v", 1), 2, None)], call()).await[0].is_err(), "its reply was lost");
    assert_eq!(values(&store.get(&asked, call()).await), [Some(2)]);
    map.put(vec![put(key("v", 1), 3, None)], call()).await;
    assert!(store.put(vec![put(key("v", 1), 4, None)], call()).await[0].is_err());
    assert_eq!(values(&store.get(&asked, call()).await), [Some(3)]);
    assert!(store.shared.traffic.lock().is_idle());
}

#[tokio::test]
async fn a_refused_write_leads_to_what_the_store_has() {
    let clock = ManualClock::at(START);
    let map = map(&clock);
    // The store does not hand over what stood in the way, so the handle has to read it.
    let refuses_once = FaultyBackend::new(map.clone(), |call| match (call.operation, call.number) {
        (Operation::Put, 1) => Fault::Refuse,
        _ => Fault::None,
    });
    let over = |store| OnlineStore::builder(store).clock(clock.clone()).build().unwrap();
    let mine = over(Arc::new(cached(Arc::new(refuses_once), &clock)));
    let other = over(map.clone());
    let id = EntityKey::new("id", 1).unwrap();
    let write = |name: &str, value: i64| FeatureWrite::new(id.clone(), [(name, value)]).at(START);
    mine.batch_write("t", "v", [write("a", 1)]).await.unwrap();
    assert!(mine.read_features("t", "v", &id, None).await.unwrap().is_some());
    other.batch_write("t", "v", [write("b", 2)]).await.unwrap();
    let report = mine.batch_write("t", "v", [write("c", 3)]).await.unwrap();
    assert_eq!(report.applied(), 1);
    let row = other.read_features("t", "v", &id, None).await.unwrap().unwrap();
    assert_eq!(row.names().iter().collect::<Vec<_>>(), ["a", "b", "c"]);

    // The same by hand: the ground of a write is from the cache, and no longer true.
    let store = cached(map.clone(), &clock);
    let ground = store.get(&keys([1]), call()).await.remove(0).unwrap();
    other.batch_write("t", "v", [write("d", 4)]).await.unwrap();
    assert_eq!(store.get(&keys([1]), call()).await.remove(0).unwrap(), ground);
    let on_ground =
        RecordPut { precondition: Precondition::Unchanged(ground.clone()), ..put(key("v", 1), 5, None) };
    assert!(matches!(store.put(vec![on_ground], call()).await[0], Ok(PutOutcome::Refused(_))));
    assert_ne!(store.get(&keys([1]), call()).await.remove(0).unwrap(), ground);
}

#[tokio::test]
async fn reads_at_the_same_time_are_one_read_of_each_record() {
    let clock = ManualClock::at(START);
    let below = Arc::new(FaultyBackend::counting(map(&clock)));
    below.put((1..5).map(|n| put(key("v", n), n as i64, None)).collect(), call()).await;
    let gated = Gated::new(below.clone(), &[("get", "after")]);
    let store = cached(gated.clone(), &clock);
    let asked = [keys([1, 2]), keys([2, 3]), keys([3, 1, 2]), keys([9, 2, 4])];
    let mut reads: Vec<_> = asked.iter().map(|keys| store.get(keys, call())).collect();
    for read in &mut reads {
        assert!(poll!(read).is_pending());
    }
    let rows: Vec<_> =
        below.calls().iter().filter(|call| call.operation == Operation::Get).map(|call| call.rows).collect();
    assert_eq!(rows, [2, 1, 2], "the third has nothing left to read, the fourth two records");
    (0..3).for_each(|_| gated.open("get", "after"));
    let rows: Vec<_> = futures::future::join_all(reads).await.iter().map(|rows| values(rows)).collect();
    assert_eq!(rows[..2], [[Some(1), Some(2)], [Some(2), Some(3)]]);
    assert_eq!(rows[2..], [[Some(3), Some(1), Some(2)], [None, Some(2), Some(4)]]);
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses, stats.joined), (0, 5, 5));
    assert!(store.shared.traffic.lock().is_idle());
}

#[tokio::test]
async fn who_joined_a_read_is_not_left_alone_by_the_one_who_began_it() {
    let clock = ManualClock::at(START);
    let below = Arc::new(FaultyBackend::counting(map(&clock)));
    let gated = Gated::new(below.clone(), &[("get", "after")]);
    let store = cached(gated.clone(), &clock);
    let asked = keys([1]);
    let mut first = store.get(&asked, call());
    let mut second = store.get(&asked, call());
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(first);
    gated.open("get", "after");
    assert_eq!(values(&second.await), [None]);
    assert_eq!(below.count(Operation::Get), 1);
    // A read that nobody waits for any more is not joined.
    clock.advance(TTL);
    let mut abandoned = store.get(&asked, call());
    assert!(poll!(&mut abandoned).is_pending());
    drop(abandoned);
    assert!(store.shared.traffic.lock().is_idle());
    gated.open("get", "after");
    assert_eq!(values(&store.get(&asked, call()).await), [None]);
    assert_eq!(below.count(Operation::Get), 3);
}

#[tokio::test(start_paused = true)]
async fn a_read_past_its_deadline_is_not_waited_for() {
    let clock = ManualClock::at(START);
    let below = Arc::new(FaultyBackend::counting(map(&clock)));
    let gated = Gated::new(below.clone(), &[("get", "after")]);
    let store = cached(gated.clone(), &clock);
    let asked = keys([1]);
    let mut stuck = store.get(&asked, CallContext::with_timeout(Duration::from_millis(20)));
    assert!(poll!(&mut stuck).is_pending());
    tokio::time::advance(Duration::from_millis(20)).await;
    let mut own = store.get(&asked, call());
    assert!(poll!(&mut own).is_pending());
    assert_eq!(below.count(Operation::Get), 2);
}

#[tokio::test(start_paused = true)]
async fn who_joined_a_read_in_vain_reads_for_itself() {
    let clock = ManualClock::at(START);
    let down = Error::new(ErrorKind::Unavailable, "connection refused");
    for fault in [Fault::Fail(down), Fault::Delay(Duration::from_secs(3600)), Fault::CutAnswer(0)] {
        let script = move |call: store_testkit::Call| match (call.operation, call.number) {
            (Operation::Get, 0) => fault.clone(),
            _ => Fault::None,
        };
        let below = Arc::new(FaultyBackend::new(map(&clock), script));
        below.put(vec![put(key("v", 1), 1, None)], call()).await;
        let gated = Gated::new(below.clone(), &[("get", "before")]);
        let store = cached(gated.clone(), &clock);
        let asked = keys([1]);
        let short = CallContext::with_timeout(Duration::from_millis(20));
        let mut first = Box::pin(tokio::time::timeout_at(short.deadline, store.get(&asked, short)));
        let mut second = store.get(&asked, call());
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        (0..2).for_each(|_| gated.open("get", "before"));
        let (first, second) = futures::future::join(first, second).await;
        assert!(first.is_err() || first.is_ok_and(|rows| rows[0].is_err()));
        assert_eq!(values(&second), [Some(1)]);
        assert_eq!(below.count(Operation::Get), 2);
        assert_eq!(values(&store.get(&asked, call()).await), [Some(1)], "the second read is in the cache");
        let stats = store.stats();
        assert_eq!((stats.hits, stats.misses, stats.joined), (1, 2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_fallback_has_answered_is_marked_for_all_who_wait_and_not_kept() {
    let clock = ManualClock::at(START);
    let fails_once = |call: store_testkit::Call| match (call.operation, call.number) {
        (Operation::Get, 0) => Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused")),
        _ => Fault::None,
    };
    let first = Arc::new(FaultyBackend::new(map(&clock), fails_once));
    let second = map(&clock);
    first.put(vec![put(key("v", 1), 1, None)], call()).await;
    second.put(vec![put(key("v", 1), 2, None)], call()).await;
    let second = Gated::new(second, &[("get", "before")]);
    let fallback = Fallback::new(first, second.clone(), "main", FallbackSettings::default());
    let store = cached(Arc::new(fallback), &clock);
    let asked = keys([1]);
    let mut reads = [(); 2].map(|()| Box::pin(watch(store.get(&asked, call()))));
    for read in &mut reads {
        assert!(poll!(read).is_pending());
    }
    second.open("get", "before");
    for (rows, from_fallback) in futures::future::join_all(reads).await {
        assert_eq!(values(&rows), [Some(2)]);
        assert!(from_fallback.contains(&asked[0]));
    }
    assert_eq!(store.stats().joined, 1);
    let (rows, from_fallback) = watch(store.get(&asked, call())).await;
    assert_eq!((values(&rows), from_fallback.len()), (vec![Some(1)], 0));
}

#[tokio::test]
async fn memory_is_bounded_and_holds_what_it_says() {
    let clock = ManualClock::at(START);
    let below = map(&clock);
    let settings = CacheSettings { max_bytes: 100_000, ttl: Some(TTL), views: Vec::new() };
    let store = Cached::new(below.clone(), Arc::new(clock.clone()), settings);
    let large = |n: usize| {
        let text = "x".repeat(5_000);
        let record = Record::of_write(START, None, Features::from([("text", text.as_str())]));
        RecordPut { bytes: record.encode().unwrap().into(), ..put(key("v", n), 1, None) }
    };
    below.put((0..200).map(large).collect(), call()).await;
    let (kept, given) = (store.get(&keys([0]), call()).await, below.get(&keys([0]), call()).await);
    assert_eq!(value(&kept[0]), value(&given[0]));
    let kept = store.get(&keys([0]), call()).await;
    let address = |rows: &[Row]| rows[0].as_ref().unwrap().as_ref().unwrap().bytes.as_ptr();
    assert_eq!(store.stats().hits, 1);
    assert_ne!(address(&kept), address(&given), "it must not keep the memory of what the store has given");
    for _ in 0..3 {
        for n in 0..200 {
            store.get(&keys([n]), call()).await;
        }
        store.shared.records.run_pending_tasks();
        let bytes = store.stats().bytes;
        assert!((50_000..=100_000).contains(&bytes), "{bytes}");
    }
    store.purge(&Scope::tenant("t").unwrap(), &PurgeProgress::default()).await.unwrap();
    for _ in 0..10 {
        store.shared.records.run_pending_tasks();
    }
    assert_eq!(store.stats().bytes, 0);
}

#[tokio::test]
async fn a_closed_cache_serves_nothing() {
    let clock = ManualClock::at(START);
    let store = cached(map(&clock), &clock);
    store.get(&keys([1]), call()).await;
    store.close().await.unwrap();
    let closed = store.get(&keys([1]), call()).await.remove(0);
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Unavailable);
    store.close().await.unwrap();
}
