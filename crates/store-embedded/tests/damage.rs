//! Files that were damaged behind the store's back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::sync::Arc;

use feature_core::{
    EntityKey, ErrorKind, Features, OnlineStore, OnlineStoreBackend, Result, Scope, SystemClock, Timestamp,
    Ttl,
};
use futures::StreamExt;
use store_embedded::{Durability, EmbeddedConfig, EmbeddedOnlineStore, VerifyReport};

const RECORDS: i64 = 400;

/// The database panics on some damage, hundreds of times here; its messages would bury the others.
fn hush() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|location| location.file().contains("redb")) {
            usual(info);
        }
    }));
}

fn entity(id: i64) -> EntityKey {
    EntityKey::new("id", id).unwrap()
}

fn text(id: i64) -> String {
    format!("{id}").repeat(100)
}

async fn real_file(path: &Path) -> Vec<u8> {
    let store = OnlineStore::new(Arc::new(EmbeddedOnlineStore::open(path).unwrap()));
    for part in 0..4 {
        let rows = (0..RECORDS).filter(|id| id % 4 == part).map(|id| {
            (entity(id), Features::from([("text", text(id))]), Timestamp::from_micros(1_000_000 + id))
        });
        store.batch_write("t", "v", rows).await.unwrap().into_result().unwrap();
    }
    store.close().await.unwrap();
    std::fs::read(path).unwrap()
}

/// Uses the store in every way; the ids that it serves, each of them whole.
async fn use_all(path: &Path, check_on_open: bool) -> Result<Vec<i64>> {
    let config = EmbeddedConfig { check_on_open, ..EmbeddedConfig::file(path) };
    let backend = Arc::new(EmbeddedOnlineStore::connect(config, Arc::new(SystemClock))?);
    let store = OnlineStore::new(Arc::clone(&backend) as Arc<dyn OnlineStoreBackend>);
    let entities: Vec<_> = (0..RECORDS).map(entity).collect();
    let mut first_error = None;
    let mut served = Vec::new();
    for (id, row) in (0..).zip(store.batch_read("t", "v", &entities, None).await?) {
        match row {
            Ok(Some(row)) if row.get("text") == Some(&text(id).into()) => served.push(id),
            Ok(_) => {}
            Err(error) => first_error = Some(error),
        }
    }
    let mut keep = |error| first_error.get_or_insert(error).kind();
    let mut rows = store.scan(&Scope::Store);
    while let Some(row) = rows.next().await {
        let _ = row.map_err(&mut keep);
    }
    let _ = backend.reclaim_now().await.map_err(&mut keep);
    let features = Features::from([("n", 1)]);
    let _ = store
        .write_features("t", "new", &entity(1), features, None, Some(Ttl::Never))
        .await
        .map_err(&mut keep);
    let _ = store.check().await.map_err(&mut keep);
    let _ = backend.verify().await.map_err(&mut keep);
    let _ = backend.compact().await.map_err(&mut keep);
    let _ = store.close().await.map_err(&mut keep);
    first_error.map_or(Ok(served), Err)
}

fn assert_kind(error: &feature_core::Error, damage: &str) {
    let expected = [ErrorKind::Corrupt, ErrorKind::InvalidArgument, ErrorKind::Unsupported];
    assert!(expected.contains(&error.kind()), "{damage}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_is_an_error_and_never_a_panic() {
    hush();
    let directory = tempfile::tempdir().unwrap();
    let whole = real_file(&directory.path().join("whole")).await;
    let path = directory.path().join("cut");
    let lengths = [1, 5, 9, 100, 512, 4_095, 4_096, 8_192];
    let spread = (1..12).map(|n| whole.len() * n / 12 + n);
    for length in lengths.into_iter().chain(spread).chain([whole.len() - 1]) {
        for check_on_open in [false, true] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let damage = format!("cut to {length} of {}", whole.len());
            match use_all(&path, check_on_open).await {
                Err(error) => assert_kind(&error, &damage),
                Ok(served) => assert_eq!(served.len(), RECORDS as usize, "{damage}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bytes_are_an_error_and_never_a_panic() {
    hush();
    let directory = tempfile::tempdir().unwrap();
    let whole = real_file(&directory.path().join("whole")).await;
    let path = directory.path().join("flipped");
    let mut random = fastrand::Rng::with_seed(7);
    // The header at every few bytes, and everywhere that something was written.
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let header = (0..512).step_by(17);
    let places: Vec<usize> = header.chain((0..40).map(|_| used[random.usize(..used.len())])).collect();
    let mut found = 0;
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << random.u8(..8);
        let damage = format!("byte {at} of {}", whole.len());
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = use_all(&path, false).await {
            assert_kind(&error, &damage);
            found += 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        match use_all(&path, true).await {
            Err(error) => assert_kind(&error, &damage),
            // What passes the check was not in use, or could be mended.
            Ok(served) => assert_eq!(served.len(), RECORDS as usize, "{damage}"),
        }
    }
    assert!(found > 10, "only {found} of the flips were noticed");
}

#[tokio::test]
async fn a_repair_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grown");
    let before = real_file(&path).await.len();
    let config = EmbeddedConfig { durability: Durability::Off, ..EmbeddedConfig::file(&path) };
    let backend = Arc::new(EmbeddedOnlineStore::connect(config, Arc::new(SystemClock)).unwrap());
    let store = OnlineStore::new(Arc::clone(&backend) as Arc<dyn OnlineStoreBackend>);
    store.write_features("t", "v", &entity(-1), Features::from([("n", 1)]), None, None).await.unwrap();
    // What somebody adds to the file takes back what was not yet synced.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(before as u64 + 4_096).unwrap();
    let expected = VerifyReport { records: RECORDS as u64, corrupt: 0, repaired: true };
    assert_eq!(backend.verify().await.unwrap(), expected);
    assert_eq!(backend.verify().await.unwrap(), VerifyReport { repaired: false, ..expected });
}
