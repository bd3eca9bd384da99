//! What the tests of live migrations share: the handle of a settings file, and records that one task writes.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use feature_core::{
    EntityKey, FeatureWrite, OnlineStore, OnlineStoreBackend, RecordHeader, Result, Scope, StoreUrl,
    SystemClock, Timestamp,
};
use futures::StreamExt;
use store_aerospike::AerospikeOnlineStore;
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_redis::RedisOnlineStore;
use store_testkit::TestFailure;
use store_unified::{SettingsFormat, SettingsReader, UnifiedFeatureStore};
use tokio::task::JoinSet;

pub(crate) type Backend = Arc<dyn OnlineStoreBackend>;

pub(crate) const TENANT: &str = "acme";
/// Where [`fill`] writes.
pub(crate) const BULK_VIEW: &str = "bulk";
/// Of three records there so many do not expire meanwhile.
pub(crate) const LASTING_OF_THREE: u64 = 2;
const OWN_VIEW: &str = "own";
/// How long a call may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// A settings file about two stores, all of whose records are in the first. A change of phase is followed after
/// 4 s; writes wait for 0.82 s when a migration is finished, and give that up after 2.46 s.
pub(crate) fn settings_file(folder: &Path, old: &str, new: &str) -> PathBuf {
    let file = folder.join("fstore.yaml");
    let text = format!(
        "stores:\n  old: {old}\n  new: {new}\ndefault: {{ store: old }}\ndeadline: 2s\n\
         migration: {{ refresh: 100ms, lease: 2s, longest_write: 2s }}\n"
    );
    std::fs::write(&file, text).expect("the settings file is written");
    file
}

pub(crate) async fn open(file: &Path) -> Result<UnifiedFeatureStore> {
    let text = std::fs::read_to_string(file).expect("the settings file is there");
    let settings = SettingsReader::new(SettingsFormat::Yaml).read(&text).expect("the settings are right");
    settings.open(async |entry| connect(&entry.url).await, SystemClock).await
}

pub(crate) async fn connect(url: &StoreUrl) -> Result<Backend> {
    Ok(match url.scheme() {
        "embedded" => {
            Arc::new(EmbeddedOnlineStore::connect(EmbeddedConfig::from_url(url)?, Arc::new(SystemClock))?)
        }
        "aerospike" => Arc::new(AerospikeOnlineStore::open(&url.to_string()).await?),
        _ => Arc::new(RedisOnlineStore::open(&url.to_string()).await?),
    })
}

/// Everything that a store serves of the tenant, byte for byte.
pub(crate) async fn contents(store: &Backend) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    let mut scan = store.scan(&Scope::tenant(TENANT)?);
    let now = Timestamp::from_micros(now_micros());
    while let Some(row) = scan.next().await {
        let (key, record) = row?;
        let header = RecordHeader::parse(&record.bytes)?;
        // A deleted record is remembered for a while as one without features.
        let is_grave = header.features == 0 && header.event_time == Timestamp::MIN;
        if !is_grave && !header.is_expired(now) {
            records.insert(key.to_string(), record.bytes.to_vec());
        }
    }
    Ok(records)
}

/// Requires that both stores serve the same, byte for byte; nobody may write meanwhile.
pub(crate) async fn equal(old: &Backend, new: &Backend) -> std::result::Result<(), TestFailure> {
    let (in_old, in_new) = (contents(old).await?, contents(new).await?);
    let differing: Vec<_> = in_old.iter().filter(|(key, bytes)| in_new.get(*key) != Some(bytes)).collect();
    println!("{} records in the source, {} in the target", in_old.len(), in_new.len());
    if in_old.len() != in_new.len() || !differing.is_empty() {
        return Err(format!("the stores differ: {differing:?}").into());
    }
    Ok(())
}

pub(crate) fn now_micros() -> i64 {
    use feature_core::Clock as _;
    SystemClock.now().as_micros()
}

/// Records of this run alone, each written by one task and nobody else, so that what is to be read next is
/// known exactly.
pub(crate) struct OwnRecords {
    stopped: Arc<AtomicBool>,
    tasks: JoinSet<std::result::Result<(u64, u64), String>>,
}

impl OwnRecords {
    /// Starts the tasks.
    pub(crate) fn start(store: &OnlineStore, tasks: u64) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let store = store.with_deadline(DEADLINE);
        let id = fastrand::u64(..);
        let run = |task| own_record(store.clone(), format!("{id:x}-{task}"), Arc::clone(&stopped));
        let tasks = (0..tasks).map(run).collect();
        Self { stopped, tasks }
    }

    /// What is wrong, as soon as something is.
    pub(crate) async fn failure(&mut self) -> String {
        first_failure(&mut self.tasks).await
    }

    /// Ends them; how many writes were acknowledged, and how many had to be repeated.
    pub(crate) async fn stop(mut self) -> std::result::Result<(u64, u64), String> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut all = (0, 0);
        while let Some(task) = self.tasks.join_next().await {
            let (writes, repeated) = task.map_err(|e| e.to_string())??;
            all = (all.0 + writes, all.1 + repeated);
        }
        Ok(all)
    }
}

/// Why the first task failed that did; without one there is nothing to wait for.
pub(crate) async fn first_failure<T: 'static>(tasks: &mut JoinSet<std::result::Result<T, String>>) -> String {
    while let Some(task) = tasks.join_next().await {
        match task {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => return why,
            Err(panicked) => return panicked.to_string(),
        }
    }
    std::future::pending().await
}

async fn own_record(
    store: OnlineStore,
    id: String,
    stopped: Arc<AtomicBool>,
) -> std::result::Result<(u64, u64), String> {
    let key = EntityKey::new("id", id.as_str()).map_err(|e| e.to_string())?;
    let mut features: Option<BTreeMap<String, i64>> = None;
    let (mut writes, mut repeated) = (0, 0);
    let start = now_micros();
    while !stopped.load(Ordering::Relaxed) {
        let (what, name) = (fastrand::u8(..8), format!("f{}", fastrand::u8(..3)));
        let at = Timestamp::from_micros(start + writes as i64);
        let value = writes as i64;
        loop {
            let write = FeatureWrite::new(key.clone(), [(name.clone(), value)]).at(at);
            let write = if what == 6 { write.replacing() } else { write };
            let done = match what {
                7 => store
                    .delete(TENANT, OWN_VIEW, std::slice::from_ref(&key))
                    .await
                    .and_then(|mut rows| rows.remove(0))
                    .map(drop),
                _ => store
                    .batch_write(TENANT, OWN_VIEW, [write])
                    .await
                    .and_then(feature_core::WriteReport::into_result)
                    .map(drop),
            };
            match done {
                Ok(()) => break,
                Err(error) if error.is_retryable() => repeated += 1,
                Err(error) => return Err(format!("a write failed for good: {error}")),
            }
        }
        writes += 1;
        match what {
            7 => features = None,
            6 => features = Some([(name, value)].into()),
            _ => drop(features.get_or_insert_default().insert(name, value)),
        }
        let row = store.read_features(TENANT, OWN_VIEW, &key, None).await;
        let row = row.map_err(|e| format!("a read failed: {e}"))?;
        let found: Option<BTreeMap<String, i64>> = row.map(|row| {
            row.iter().map(|(name, _, value)| (name.to_owned(), value.as_i64().unwrap_or(-1))).collect()
        });
        if found != features {
            return Err(format!("record {id}: acknowledged was {features:?}, read was {found:?}"));
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..20))).await;
    }
    Ok((writes, repeated))
}

/// Writes records that are there before anything begins, of which each third expires meanwhile.
pub(crate) async fn fill(store: &OnlineStore, records: u64) -> Result<()> {
    let lives = [None, Some(Duration::from_secs(3600)), Some(Duration::from_secs(20))];
    for first in (0..records).step_by(1000) {
        let write = |id: u64| {
            let features = [("n", id as i64), ("twice", 2 * id as i64)];
            let mut write = FeatureWrite::new(EntityKey::new("id", id).expect("a key"), features);
            write.ttl = lives[id as usize % lives.len()].map(Into::into);
            write
        };
        let rows = (first..records.min(first + 1000)).map(write);
        store.batch_write(TENANT, BULK_VIEW, rows).await?.into_result()?;
    }
    Ok(())
}
