//! Opening stores by URL and by settings file.
#![cfg(all(feature = "embedded", feature = "unified"))]
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use feature_store::embedded::EmbeddedOnlineStore;
use feature_store::{
    Clock, ConnectOptions, Connector, EntityKey, Error, ErrorKind, FeatureView, ManualClock,
    OnlineStoreBackend, Result, Scheme, StoreUrl, Ttl, async_trait,
};

const VIEWS: &str = "
feature_views:
  - {name: customers, entities: [id], features: {visits: int64}, ttl: 7d}
";

fn key() -> EntityKey {
    EntityKey::new("id", 1).unwrap()
}

fn url(folder: &Path, name: &str) -> String {
    format!("embedded:{}", folder.join(name).display())
}

/// A store in memory under a scheme of its own, that keeps what it was told.
#[derive(Clone, Default)]
struct Own(Arc<Mutex<Vec<(String, bool)>>>);

#[async_trait]
impl Scheme for Own {
    fn name(&self) -> &str {
        "own"
    }

    fn example(&self) -> &str {
        "own:name"
    }

    fn check(&self, url: &StoreUrl) -> Result<()> {
        match url.path() {
            "" => Err(Error::invalid_argument("the store URL has no name: write own:name")),
            _ => url.params().finish(),
        }
    }

    async fn connect(&self, url: &StoreUrl, options: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>> {
        self.check(url)?;
        self.0.lock().unwrap().push((url.path().to_owned(), options.create_missing));
        Ok(Arc::new(EmbeddedOnlineStore::in_memory()?))
    }
}

#[tokio::test]
async fn what_is_written_is_there_when_the_store_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path(), "a.redb");
    let store = feature_store::open(&url).await.unwrap();
    store.write_features("t", "v", &key(), [("a", 1)], None, None).await.unwrap();
    store.close().await.unwrap();
    let store = Connector::new().create_missing(false).open(&url).await.unwrap();
    assert!(store.read_features("t", "v", &key(), None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_is_not_there_is_made_only_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path(), "a.redb");
    let existing = Connector::new().create_missing(false);
    for error in [
        existing.open(&url).await.unwrap_err(),
        existing.connect(&url).await.unwrap_err(),
        existing.open_declared(&url).await.unwrap_err(),
        existing.connect_embedded(&existing.parse(&url).unwrap()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with(&format!("there is no store at {}", &url["embedded:".len()..])));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(existing.open("embedded::memory:").await.is_ok(), "memory is always there");
}

#[tokio::test]
async fn clock_views_and_settings_reach_the_handle() {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let connector = Connector::new().clock(clock.clone());
    let views = FeatureView::from_yaml(VIEWS).unwrap();
    let store = connector.builder("embedded::memory:").await.unwrap().views(views).build().unwrap();
    let wrong = store.write_features("t", "customers", &key(), [("visits", "many")], None, None).await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidArgument);
    store.write_features("t", "customers", &key(), [("visits", 3)], None, None).await.unwrap();
    let row = store.read_features("t", "customers", &key(), None).await.unwrap().unwrap();
    assert_eq!(row.timestamp, clock.now());
    clock.advance(std::time::Duration::from_secs(7 * 86_400));
    assert_eq!(store.read_features("t", "customers", &key(), None).await.unwrap(), None, "the TTL is over");
}

#[tokio::test]
async fn views_declared_in_the_store_hold_for_who_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path(), "a.redb");
    let connector = Connector::new();
    let backend = connector.connect(&url).await.unwrap();
    let catalog = connector.catalog(Arc::clone(&backend)).unwrap();
    for view in FeatureView::from_yaml(VIEWS).unwrap() {
        catalog.declare(&view).await.unwrap();
    }
    assert_eq!(catalog.view("other").await.unwrap(), None);
    drop(catalog);
    backend.close().await.unwrap();
    drop(backend);

    let store = connector.open_declared(&url).await.unwrap();
    assert_eq!(store.view("customers").unwrap().ttl, Some(Ttl::from_secs(7 * 86_400)));
    store.close().await.unwrap();
    drop(store);
    assert!(connector.open(&url).await.unwrap().view("customers").is_none());
}

#[test]
fn urls_are_checked_without_connecting_and_secrets_are_not_shown() {
    let connector = Connector::new().scheme(Own::default());
    for right in ["embedded:no/such/folder/a.redb", "own:x"] {
        connector.parse(right).unwrap();
    }
    for (wrong, hint) in [
        ("features.redb", "for a file say embedded:features.redb"),
        (
            "mongo://app:hunter2@db/x?token=hunter2",
            "unknown store scheme `mongo`; known are embedded:features.redb",
        ),
        ("mongo:x", "own:name"),
        ("embedded:a.redb?password=hunter2", "unknown parameter `password`"),
        ("embedded://app:hunter2@db/x", "names a host"),
        ("own:", "write own:name"),
        ("own:x?a=hunter2", "unknown parameter `a`"),
        ("", "the store URL has no scheme"),
    ] {
        let error = connector.parse(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}");
        assert!(error.message().contains(hint), "{wrong}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_scheme_of_ones_own_opens_by_url_and_from_a_settings_file() {
    let own = Own::default();
    let connector = Connector::new().scheme(own.clone()).create_missing(false);
    connector.open("own:one").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fstore.yaml");
    std::fs::write(&file, "stores: {a: 'own:two', b: 'embedded::memory:'}\ndefault: {store: a}\n").unwrap();
    let store = connector.open_settings(&file).await.unwrap();
    assert_eq!(store.route("t", "v").unwrap().to.store, "a");
    assert_eq!(*own.0.lock().unwrap(), [("one".to_owned(), false), ("two".to_owned(), false)]);

    let mine = Own::default();
    let connector = connector.scheme(mine.clone());
    connector.open("own:three").await.unwrap();
    assert_eq!((own.0.lock().unwrap().len(), mine.0.lock().unwrap().len()), (2, 1), "the newer one counts");
}

#[tokio::test]
async fn every_mistake_of_a_settings_file_is_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fstore.toml");
    std::fs::write(&file, "stores.a = 'mongo:hunter2'\nstores.b = 'embedded:'\ndefault.store = 'c'\n")
        .unwrap();
    let error = feature_store::open_settings(&file).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let message = error.message();
    for part in
        ["fstore.toml", "line 1: stores.a: unknown store scheme `mongo`", "line 2: stores.b: ", "line 3: "]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("hunter2"), "{message}");
    let error = feature_store::open_settings(folder.path().join("absent.yaml")).await.unwrap_err();
    assert!(error.message().starts_with("cannot read the settings file "), "{error}");
}

/// A future that is not `Send` cannot be spawned, and nothing else would notice.
#[tokio::test]
async fn opening_can_be_spawned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fstore.yaml");
    std::fs::write(&file, "stores: {a: 'embedded::memory:'}\n").unwrap();
    let opened = tokio::spawn(async move {
        let one = feature_store::open("embedded::memory:").await;
        let declared = Connector::new().open_declared("embedded::memory:").await;
        let all = feature_store::open_settings(file).await;
        one.is_ok() && declared.is_ok() && all.is_ok()
    });
    assert!(opened.await.expect("no panic"));
}
