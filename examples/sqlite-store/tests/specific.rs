//! What is this store's own, and the storm and the faults of the kit.

use std::path::Path;
use std::sync::Arc;

use feature_store::{Connector, Error, ErrorKind, OnlineStore, OnlineStoreBackend, Scope, SystemClock};
use sqlite_store::{SqliteScheme, SqliteStore};
use store_testkit::load::{Load, LoadPlan};
use store_testkit::storm::{StormPlan, storm};
use store_testkit::{Fault, FaultyBackend};

fn connect(path: &Path) -> Arc<dyn OnlineStoreBackend> {
    Arc::new(SqliteStore::open(path, Arc::new(SystemClock)).expect("a store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_every_feature_is_the_newest() -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = OnlineStore::new(connect(&folder.path().join("storm.db")));
    let plan = StormPlan { writes: 100_000, merges: 20_000, entities: 4_000, ..StormPlan::default() };
    println!("{}", storm(&store, "acme", plan).await?);
    store.close().await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_and_two_instances_lose_nothing() -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("faults.db");
    let faults = vec![Fault::Fail(Error::new(ErrorKind::Unavailable, "no answer")), Fault::LoseReply];
    let faulty = OnlineStore::new(Arc::new(FaultyBackend::random(connect(&path), 7, 5, faults)));
    let sound = OnlineStore::new(connect(&path));
    let plan = LoadPlan::default();
    let load = Load::start(&faulty, "acme", plan)?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let report = load.stop().await;
    report.nothing_wrong()?;
    report.verify(&sound).await?.sound()
}

#[tokio::test]
async fn a_store_opens_by_url_and_what_is_none_is_left_alone() -> Result<(), Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let url = |name: &str| format!("sqlite:{}", at(name).display());
    let connector = Connector::new().scheme(SqliteScheme);
    let store = connector.open(&url("a.db")).await?;
    assert_eq!(store.purge(&Scope::tenant("acme")?).await?.removed, 0);
    store.close().await?;

    std::fs::write(at("text"), "not a database".repeat(100)).expect("a file");
    rusqlite::Connection::open(at("other.db"))
        .and_then(|other| other.execute_batch("create table t (a)"))
        .expect("a file");
    let later = rusqlite::Connection::open(at("a.db")).expect("a file");
    later.pragma_update(None, "user_version", 2).expect("a version");
    for (name, kind) in [
        ("text", ErrorKind::InvalidArgument),
        ("other.db", ErrorKind::InvalidArgument),
        ("no/folder.db", ErrorKind::InvalidArgument),
        ("a.db", ErrorKind::Unsupported),
    ] {
        let before = std::fs::read(at(name)).ok();
        assert_eq!(connector.open(&url(name)).await.expect_err(name).kind(), kind, "{name}");
        assert_eq!(std::fs::read(at(name)).ok(), before, "{name}");
    }
    for wrong in ["sqlite:", "sqlite://host/a.db", "sqlite:a.db?cache=1"] {
        assert!(connector.parse(wrong).is_err(), "{wrong}");
    }
    Ok(())
}
