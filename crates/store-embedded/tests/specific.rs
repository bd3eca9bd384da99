//! What only this backend has: the file, its durability, its upkeep.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use feature_core::{
    CallContext, EntityKey, ErrorKind, Features, ManualClock, OnlineStore, OnlineStoreBackend, PurgeProgress,
    RecordKey, Result, Scope, SystemClock, Timestamp, Ttl, VersionedRecord, ViewKey,
};
use futures::StreamExt;
use redb::{Database, ReadableDatabase, TableDefinition};
use store_embedded::{Durability, EmbeddedConfig, EmbeddedOnlineStore};
use tempfile::TempDir;

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

struct Store {
    backend: Arc<EmbeddedOnlineStore>,
    handle: OnlineStore,
    clock: ManualClock,
}

impl Store {
    fn connect(config: &EmbeddedConfig) -> Result<Self> {
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000_000));
        let backend = Arc::new(EmbeddedOnlineStore::connect(config.clone(), Arc::new(clock.clone()))?);
        let handle = OnlineStore::builder(Arc::clone(&backend) as Arc<dyn OnlineStoreBackend>)
            .clock(clock.clone())
            .build()?;
        Ok(Self { backend, handle, clock })
    }

    fn open(path: &Path) -> Result<Self> {
        Self::connect(&EmbeddedConfig::file(path))
    }

    async fn write(&self, tenant: &str, id: i64, value: i64, ttl: Ttl) -> Result<()> {
        let features = Features::from([("value", value), ("double", 2 * value)]);
        self.handle.write_features(tenant, "v", &entity(id), features, None, Some(ttl)).await.map(|_| ())
    }

    async fn read(&self, tenant: &str, id: i64) -> Result<Option<i64>> {
        let row = self.handle.read_features(tenant, "v", &entity(id), None).await?;
        Ok(row.map(|row| {
            let value = row.get("value").and_then(feature_core::FeatureValue::as_i64).unwrap();
            assert_eq!(row.get("double"), Some(&(2 * value).into()), "half of a write");
            value
        }))
    }

    async fn records(&self, scope: &Scope) -> Vec<(String, VersionedRecord)> {
        let rows = self.backend.scan(scope).map(|row| row.unwrap());
        rows.map(|(key, record)| (key.to_string(), record)).collect().await
    }
}

fn entity(id: i64) -> EntityKey {
    EntityKey::new("id", id).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let patience = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), patience).await.expect("it never came about");
}

#[tokio::test]
async fn a_file_has_one_owner_at_a_time() {
    let directory = directory();
    let path = directory.path().join("s.redb");
    let first = Store::open(&path).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && error.message().contains(path.to_str().unwrap()), "{error}");
    first.write("t", 1, 10, Ttl::Never).await.unwrap();
    first.handle.close().await.unwrap();
    // Closed, though not dropped.
    let second = Store::open(&path).unwrap();
    assert_eq!(second.read("t", 1).await.unwrap(), Some(10));
    drop(second);
    assert_eq!(Store::open(&path).unwrap().read("t", 1).await.unwrap(), Some(10));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_and_left_alone() {
    let directory = directory();
    let text = directory.path().join("text");
    std::fs::write(&text, "dear diary").unwrap();
    let foreign = directory.path().join("foreign.redb");
    let table: TableDefinition<&str, u64> = TableDefinition::new("accounts");
    let db = Database::create(&foreign).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(table).unwrap().insert("me", 7).unwrap();
    txn.commit().unwrap();
    drop(db);
    for path in [&text, &foreign] {
        let before = std::fs::read(path).unwrap();
        let error = Store::open(path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
        assert!(std::fs::read(path).unwrap() == before, "{} was changed", path.display());
    }
    for (path, words) in [
        (directory.path().join("no/such/s.redb"), "make it first"),
        (directory.path().into(), "is a directory"),
    ] {
        let error = Store::open(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn empty_files_become_stores_and_newer_formats_do_not_open() {
    let directory = directory();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    // What a crash leaves between the making of the database and of its tables.
    let bare = directory.path().join("bare");
    drop(Database::create(&bare).unwrap());
    for path in [&empty, &bare] {
        let store = Store::open(path).unwrap();
        store.write("t", 1, 1, Ttl::Never).await.unwrap();
        drop(store);
        assert_eq!(Store::open(path).unwrap().read("t", 1).await.unwrap(), Some(1));
    }
    let about: TableDefinition<&str, u64> = TableDefinition::new("feature-store");
    let db = Database::open(&empty).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(about).unwrap().insert("format", 2).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = Store::open(&empty).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("format 2"), "{error}");
}

#[test]
fn of_many_who_make_a_store_one_has_it_and_nobody_sees_half_of_it() {
    let directory = directory();
    for round in 0..20 {
        let path = directory.path().join(round.to_string());
        let start = Barrier::new(5);
        let open = || {
            start.wait();
            Store::open(&path)
        };
        // What a crash would leave at the moment when the file is there.
        let look = || {
            start.wait();
            loop {
                match std::fs::read(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => thread::yield_now(),
                    read => return read.ok(),
                }
            }
        };
        let (opened, seen) = thread::scope(|scope| {
            let looks = scope.spawn(look);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            let opened = threads.into_iter().map(|thread| thread.join().unwrap());
            (opened.collect::<Vec<Result<Store>>>(), looks.join().unwrap())
        });
        // None, when all of them look whose file it is at the same moment.
        assert!(opened.iter().filter(|opened| opened.is_ok()).count() <= 1);
        for error in opened.iter().filter_map(|opened| opened.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
        drop(opened);
        Store::open(&path).unwrap();
        // Not every system lets others read what is locked.
        if let Some(seen) = seen {
            std::fs::write(&path, seen).unwrap();
            let db = Database::open(&path).unwrap();
            assert_eq!(db.begin_read().unwrap().list_tables().unwrap().count(), 2);
        }
    }
}

/// What the file would hold if the process, or the machine, stopped now.
async fn after_a_crash(path: &Path, id: i64) -> Option<i64> {
    let copy = path.with_extension("crashed");
    std::fs::copy(path, &copy).unwrap();
    Store::open(&copy).unwrap().read("t", id).await.unwrap()
}

#[tokio::test]
async fn durability_is_as_promised() {
    let directory = directory();
    let settings = [
        Durability::EachWrite,
        Durability::Interval(Duration::from_secs(3_600)),
        Durability::Interval(Duration::from_millis(20)),
        Durability::Off,
    ];
    for (number, durability) in settings.into_iter().enumerate() {
        let path = directory.path().join(number.to_string());
        let config = EmbeddedConfig { durability, ..EmbeddedConfig::file(&path) };
        let store = Store::connect(&config).unwrap();
        store.write("t", 1, 1, Ttl::Never).await.unwrap();
        match durability {
            Durability::EachWrite => assert_eq!(after_a_crash(&path, 1).await, Some(1)),
            Durability::Interval(interval) if interval < Duration::from_secs(1) => {
                until(async || after_a_crash(&path, 1).await == Some(1)).await;
            }
            Durability::Interval(_) | Durability::Off => assert_eq!(after_a_crash(&path, 1).await, None),
        }
        store.handle.close().await.unwrap();
        assert_eq!(after_a_crash(&path, 1).await, Some(1), "{durability}: after close");

        let store = Store::connect(&config).unwrap();
        store.write("t", 1, 2, Ttl::Never).await.unwrap();
        drop(store);
        assert_eq!(after_a_crash(&path, 1).await, Some(2), "{durability}: after drop");
    }
}

#[tokio::test]
async fn without_durability_much_written_is_synced_all_the_same() {
    let directory = directory();
    let path = directory.path().join("s.redb");
    let config = EmbeddedConfig { durability: Durability::Off, ..EmbeddedConfig::file(&path) };
    let store = Store::connect(&config).unwrap();
    store.write("t", 1, 1, Ttl::Never).await.unwrap();
    for round in 0..40 {
        let features = Features::from([("blob", vec![round as u8; 1 << 20])]);
        store.handle.write_features("t", "blobs", &entity(1), features, None, None).await.unwrap();
    }
    assert_eq!(after_a_crash(&path, 1).await, Some(1));
    assert!(store.backend.file_bytes().unwrap() < 200 << 20, "room that became free is used again");
}

#[tokio::test]
async fn what_expired_is_reclaimed_and_nothing_else() {
    let store = Store::connect(&EmbeddedConfig::default()).unwrap();
    for id in 0..2_500 {
        let features = Features::from([("value", id), ("double", 2 * id)]);
        let ttl = if id % 2 == 0 { Ttl::from_secs(10) } else { Ttl::Never };
        store.handle.write_features("t", "v", &entity(id), features, None, Some(ttl)).await.unwrap();
    }
    store.write("t", 3, 3, Ttl::from_secs(20)).await.unwrap();
    assert_eq!(store.backend.reclaim_now().await.unwrap(), 0);
    store.clock.advance(Duration::from_micros(9_999_999));
    assert_eq!(store.backend.reclaim_now().await.unwrap(), 0);
    store.write("t", 0, 7, Ttl::from_secs(10)).await.unwrap();
    store.clock.advance(Duration::from_micros(1));
    assert_eq!(store.backend.reclaim_now().await.unwrap(), 1_249);
    assert_eq!(store.backend.reclaim_now().await.unwrap(), 0);
    assert_eq!(store.records(&Scope::Store).await.len(), 1_251);
    assert_eq!(store.read("t", 0).await.unwrap(), Some(7));
    store.clock.advance(Duration::from_secs(10));
    assert_eq!(
        store.backend.reclaim_now().await.unwrap(),
        2,
        "what was written meanwhile, and what lived longer"
    );
    assert_eq!(store.records(&Scope::Store).await.len(), 1_249);
}

#[tokio::test]
async fn reclaiming_goes_on_by_itself_and_after_a_reopening() {
    let directory = directory();
    let path = directory.path().join("s.redb");
    let store = Store::open(&path).unwrap();
    store.write("t", 1, 1, Ttl::from_secs(1)).await.unwrap();
    store.write("t", 2, 2, Ttl::Never).await.unwrap();
    drop(store);
    let config = EmbeddedConfig { reclaim_interval: Duration::from_millis(5), ..EmbeddedConfig::file(&path) };
    let store = Store::connect(&config).unwrap();
    store.clock.advance(Duration::from_secs(1));
    until(async || store.records(&Scope::Store).await.len() == 1).await;
    assert_eq!(store.read("t", 2).await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_shrinks_the_file_and_keeps_the_rest_while_it_is_read() {
    let directory = directory();
    let store = Store::open(&directory.path().join("s.redb")).unwrap();
    store.write("t", 1, 5, Ttl::Never).await.unwrap();
    let rows = (0..300).map(|id| {
        let time = Timestamp::from_micros(id);
        (entity(id), Features::from([("blob", vec![id as u8; 20_000])]), time)
    });
    store.handle.batch_write("t", "blobs", rows).await.unwrap().into_result().unwrap();
    store.handle.purge(&Scope::view("t", "blobs").unwrap()).await.unwrap();
    let done = AtomicBool::new(false);
    let read = async {
        while !done.load(Ordering::Relaxed) {
            assert_eq!(store.read("t", 1).await.unwrap(), Some(5));
            // A read that need not wait would never let the other future have its turn.
            tokio::task::yield_now().await;
        }
    };
    let compact = async {
        let report = store.backend.compact().await.unwrap();
        done.store(true, Ordering::Relaxed);
        report
    };
    let (report, ()) = tokio::join!(compact, read);
    assert!(report.before_bytes > 6_000_000 && report.after_bytes < report.before_bytes / 2, "{report:?}");
    assert_eq!(store.backend.file_bytes().unwrap(), report.after_bytes);
    let in_memory = EmbeddedOnlineStore::in_memory().unwrap();
    assert_eq!(in_memory.compact().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_read_while_one_writes_and_one_gives_up() {
    let directory = directory();
    for config in [EmbeddedConfig::default(), EmbeddedConfig::file(directory.path().join("s.redb"))] {
        let store = Arc::new(Store::connect(&config).unwrap());
        store.write("t", 1, 0, Ttl::Never).await.unwrap();
        // What somebody has seen, or was told is written, everybody sees who reads after that.
        let seen = Arc::new(AtomicI64::new(0));
        let writes = {
            let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
            tokio::spawn(async move {
                for value in 1..300 {
                    store.write("t", 1, value, Ttl::Never).await.unwrap();
                    seen.fetch_max(value, Ordering::SeqCst);
                    // A call that is dropped at once, done or not, leaves no half.
                    let write = store.write("t", 2, value, Ttl::Never);
                    let _ = tokio::time::timeout(Duration::ZERO, write).await;
                }
            })
        };
        let reads = (0..4).map(|_| {
            let (store, seen, done) = (Arc::clone(&store), Arc::clone(&seen), writes.abort_handle());
            tokio::spawn(async move {
                while !done.is_finished() {
                    let before = seen.load(Ordering::SeqCst);
                    let value = store.read("t", 1).await.unwrap().unwrap();
                    assert!(value >= before, "{value} after {before}");
                    seen.fetch_max(value, Ordering::SeqCst);
                    store.read("t", 2).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await.unwrap();
        }
        writes.await.unwrap();
        assert_eq!(store.read("t", 1).await.unwrap(), Some(299));
    }
}

#[tokio::test]
async fn a_purge_takes_its_scope_however_large_and_no_neighbour() {
    let store = Store::connect(&EmbeddedConfig::default()).unwrap();
    let rows =
        |count| (0..count).map(|id| (entity(id), Features::from([("n", id)]), Timestamp::from_micros(id)));
    for (tenant, view, count) in
        [("pay", "v", 2_345), ("pay", "vv", 3), ("team_pay", "v", 3), ("pay;", "v", 3)]
    {
        store.handle.batch_write(tenant, view, rows(count)).await.unwrap().into_result().unwrap();
    }
    let mut neighbours = store.records(&Scope::Store).await;
    neighbours.retain(|(key, _)| !key.starts_with("pay:v:"));
    let scope = Scope::view("pay", "v").unwrap();
    assert_eq!(store.handle.purge(&scope).await.unwrap().removed, 2_345);
    assert_eq!(store.handle.purge(&scope).await.unwrap().removed, 0);
    assert_eq!(store.records(&Scope::Store).await, neighbours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_ends_though_others_keep_writing_behind_it() {
    let store = Store::connect(&EmbeddedConfig::default()).unwrap();
    for id in 0..10 {
        store.write("t", id, id, Ttl::Never).await.unwrap();
    }
    let done = AtomicBool::new(false);
    let write = async {
        let mut id = 1_000_000;
        while !done.load(Ordering::Relaxed) {
            store.write("t", id, id, Ttl::Never).await.unwrap();
            id += 1;
        }
    };
    let purge = async {
        let report = store.handle.purge(&Scope::tenant("t").unwrap()).await.unwrap();
        done.store(true, Ordering::Relaxed);
        report.removed
    };
    let (removed, ()) = tokio::join!(purge, write);
    assert!(removed >= 10);
    assert_eq!(store.read("t", 3).await.unwrap(), None);
}

#[tokio::test]
async fn foreign_keys_and_damaged_records_fail_one_by_one() {
    let directory = directory();
    let path = directory.path().join("s.redb");
    let store = Store::open(&path).unwrap();
    for id in 0..600 {
        store.write("t", id, id, Ttl::Never).await.unwrap();
    }
    assert_eq!(store.backend.verify().await.unwrap().records, 600);
    drop(store);
    let db = Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut records = txn.open_table(RECORDS).unwrap();
        records.insert(&b"not one of ours"[..], &b"x"[..]).unwrap();
        records.insert(&b"t:v:id=7"[..], &b"no header"[..]).unwrap();
    }
    txn.commit().unwrap();
    drop(db);

    let store = Store::open(&path).unwrap();
    let rows: Vec<_> = store.handle.scan(&Scope::Store).collect().await;
    let errors: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
    assert_eq!((rows.len(), errors.len()), (601, 2));
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Corrupt));
    let report = store.backend.verify().await.unwrap();
    assert_eq!((report.records, report.corrupt, report.repaired), (601, 2, false));

    // Not overwritten unseen; a delete makes room.
    assert_eq!(store.write("t", 7, 8, Ttl::Never).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.read("t", 8).await.unwrap(), Some(8));
    store.handle.delete("t", "v", &[entity(7)]).await.unwrap();
    store.write("t", 7, 8, Ttl::Never).await.unwrap();
    assert_eq!(store.read("t", 7).await.unwrap(), Some(8));
}

#[tokio::test]
async fn the_health_report_warns_of_what_can_be_lost() {
    let directory = directory();
    let config =
        EmbeddedConfig { durability: Durability::Off, ..EmbeddedConfig::file(directory.path().join("s")) };
    let store = Store::connect(&config).unwrap();
    store.write("t", 1, 1, Ttl::Never).await.unwrap();
    let health = store.handle.check().await.unwrap();
    let fact = |name| health.facts.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!((fact("records"), fact("durability")), (Some("1"), Some("off")));
    assert!(health.warnings[0].contains("durability is off"), "{health:?}");
    assert!(store.handle.capabilities().durable);

    let store = Store::open(&directory.path().join("t")).unwrap();
    assert_eq!(store.handle.check().await.unwrap().warnings, Vec::<String>::new());
    let store = Store::connect(&EmbeddedConfig::default()).unwrap();
    assert!(store.handle.check().await.unwrap().warnings[0].contains("in memory"));
    assert!(!store.handle.capabilities().durable);
}

#[tokio::test]
async fn after_close_everything_is_unavailable() {
    let directory = directory();
    let store = Store::open(&directory.path().join("s.redb")).unwrap();
    store.write("t", 1, 1, Ttl::Never).await.unwrap();
    let mut scan = store.backend.scan(&Scope::Store);
    let (once, twice) = tokio::join!(store.backend.close(), store.backend.close());
    assert!(once.is_ok() && twice.is_ok() && store.backend.close().await.is_ok());
    let view = ViewKey::new("t", "v").unwrap();
    let keys: Vec<_> = (0..2_000).map(|id| RecordKey::new(view.clone(), entity(id))).collect();
    let call = || CallContext::with_timeout(Duration::from_secs(10));
    let backend = &store.backend;
    for error in [
        backend.get(&keys[..1], call()).await.remove(0).unwrap_err(),
        backend.get(&keys, call()).await.remove(1_999).unwrap_err(),
        backend.delete(&keys, call()).await.remove(1_999).unwrap_err(),
        store.write("t", 1, 2, Ttl::Never).await.unwrap_err(),
        scan.next().await.unwrap().unwrap_err(),
        backend.purge(&Scope::tenant("t").unwrap(), &PurgeProgress::default()).await.unwrap_err(),
        backend.check().await.unwrap_err(),
        backend.reclaim_now().await.unwrap_err(),
        backend.compact().await.unwrap_err(),
        backend.verify().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("closed") && !error.is_retryable() && !error.in_doubt(), "{error}");
    }
    assert!(scan.next().await.is_none());
}

#[test]
fn stores_need_no_runtime_to_open_and_drop() {
    let directory = directory();
    let path = directory.path().join("s.redb");
    let open = || EmbeddedOnlineStore::connect(EmbeddedConfig::file(&path), Arc::new(SystemClock));
    drop(open().unwrap());
    // A compacted or closed store leaves a database that anyone can read.
    let db = Database::open(&path).unwrap();
    assert_eq!(db.begin_read().unwrap().list_tables().unwrap().count(), 2);
}
