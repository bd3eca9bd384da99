//! Migrations over stores in memory, in a time that is only pretended: nothing is slept for.

mod commands;
mod model;
mod phases;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use feature_core::{
    EntityKey, ManualClock, OnlineStore, OnlineStoreBackend, Scope, StoreSettings, Timestamp,
};
use futures::StreamExt;
use store_testkit::{Fault, FaultyBackend, MapStore};

use super::{MigrationProgress, MigrationSettings, MigrationStatus, Migrations, StartOptions};
use crate::wrappers::{MirrorSettings, Mirrored};

type Backend = Arc<dyn OnlineStoreBackend>;

const TENANT: &str = "acme";
const VIEW: &str = "trips";
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

const SETTINGS: MigrationSettings = MigrationSettings {
    refresh: Duration::from_millis(100),
    lease: Duration::from_millis(500),
    longest_write: Duration::from_millis(500),
};

/// Two stores, `old` and `new`, that several processes share.
struct World {
    clock: ManualClock,
    old: Backend,
    new: Backend,
}

/// What one process has.
struct Process {
    mirror: Arc<Mirrored>,
    store: OnlineStore,
    migrations: Migrations,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::at(START);
        let map = || Arc::new(MapStore::new(Arc::new(clock.clone())));
        Self { old: map(), new: map(), clock }
    }

    fn process(&self) -> Process {
        self.process_over(self.old.clone(), self.new.clone(), None)
    }

    /// A process for which each call takes up to so many milliseconds before it has an effect.
    fn slow_process(&self, seed: u64, millis: u64) -> Process {
        let slow = |inner: &Backend, seed| -> Backend {
            let random = Mutex::new(fastrand::Rng::with_seed(seed));
            Arc::new(FaultyBackend::new(inner.clone(), move |_| {
                Fault::Delay(Duration::from_millis(random.lock().unwrap().u64(..millis)))
            }))
        };
        self.process_over(slow(&self.old, seed), slow(&self.new, !seed), None)
    }

    fn process_over(&self, old: Backend, new: Backend, mirror: Option<MirrorSettings>) -> Process {
        let (old, new) = (("old".to_owned(), old), ("new".to_owned(), new));
        let clock = Arc::new(self.clock.clone());
        let mirror = Arc::new(Mirrored::new(old, vec![new], mirror, clock, SETTINGS).unwrap());
        let settings = StoreSettings { deadline: SETTINGS.longest_write, ..StoreSettings::default() };
        let store = OnlineStore::builder(mirror.clone()).clock(self.clock.clone()).settings(settings);
        let migrations = Migrations::new(vec![mirror.clone()], |_| vec![0]);
        Process { mirror, store: store.build().unwrap(), migrations }
    }

    async fn old_rows(&self) -> Vec<String> {
        rows(&self.old, &self.clock).await
    }

    async fn new_rows(&self) -> Vec<String> {
        rows(&self.new, &self.clock).await
    }
}

impl Process {
    async fn start(&self) -> feature_core::Result<MigrationStatus> {
        self.migrations.start(&scope(), "new", StartOptions::default(), &progress()).await
    }

    async fn put(&self, entity: u64, feature: &str, value: i64, at: i64) -> feature_core::Result<()> {
        let at = Timestamp::from_micros(START.as_micros() + at);
        let features = [(feature, value)];
        self.store.write_features(TENANT, VIEW, &key(entity), features, Some(at), None).await.map(drop)
    }

    async fn get(&self, entity: u64, feature: &str) -> feature_core::Result<Option<i64>> {
        let row = self.store.read_features(TENANT, VIEW, &key(entity), None).await?;
        Ok(row.and_then(|row| row.get(feature)?.as_i64()))
    }

    async fn delete(&self, entity: u64) -> feature_core::Result<bool> {
        self.store.delete(TENANT, VIEW, &[key(entity)]).await?.remove(0)
    }
}

fn key(entity: u64) -> EntityKey {
    EntityKey::new("id", entity).unwrap()
}

fn scope() -> Scope {
    Scope::view(TENANT, VIEW).unwrap()
}

fn progress() -> MigrationProgress {
    MigrationProgress::default()
}

/// What a store serves of the tenant, a line a record, sorted.
async fn rows(backend: &Backend, clock: &ManualClock) -> Vec<String> {
    let store = OnlineStore::builder(backend.clone()).clock(clock.clone()).build().unwrap();
    let rows = store.scan(&Scope::tenant(TENANT).unwrap()).map(|row| {
        let (key, row) = row.unwrap();
        let features: Vec<_> =
            row.iter().map(|(name, _, value)| (name, value, row.event_time(name))).collect();
        format!("{key} {} {:?} {features:?}", row.timestamp, row.expires_at)
    });
    let mut rows: Vec<String> = rows.collect().await;
    rows.sort();
    rows
}
