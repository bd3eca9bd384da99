//! Records that count up, each of one process alone, with a log of what was acknowledged to it: so that the
//! loss of a single write shows.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use feature_core::{EntityKey, FeatureValue, OnlineStore, Timestamp};
use tokio::task::JoinSet;

use crate::migration::{BULK_VIEW, LASTING_OF_THREE, TENANT, first_failure, now_micros};

const VIEW: &str = "counted";
const LOG: &str = "acknowledged-";

type Said<T = ()> = Result<T, String>;
type Found = Option<BTreeMap<String, i64>>;

/// What was last acknowledged of each record.
pub(crate) struct Acknowledged(BTreeMap<String, i64>);

impl Acknowledged {
    /// Reads the logs of every process so far.
    pub(crate) fn read(folder: &Path) -> Said<Self> {
        let mut last = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(record) = name.strip_prefix(LOG) else { continue };
            let log = fs::read_to_string(entry.path()).map_err(|e| e.to_string())?;
            // A line that was cut off is not an acknowledgement.
            let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok());
            last.insert(record.to_owned(), lines.max().unwrap_or(0));
        }
        Ok(Self(last))
    }

    pub(crate) fn records(&self) -> usize {
        self.0.len()
    }

    /// Requires all of it from a store; how many writes that were. Of each record one more may be there,
    /// which was under way when its process was killed.
    pub(crate) async fn check(&self, store: &OnlineStore) -> Said<i64> {
        for (record, &last) in &self.0 {
            let found = read(store, record).await?;
            if found != counted_to(last) && found != counted_to(last + 1) {
                return Err(format!("record {record}: {last} was acknowledged, {found:?} was read"));
            }
        }
        Ok(self.0.values().sum())
    }
}

/// The record after this many writes: each sets one of two features, so that every write merges.
fn counted_to(n: i64) -> Found {
    let set = [n - 1, n].into_iter().filter(|n| *n > 0).map(|n| (feature(n), n));
    Some(set.collect()).filter(|features: &BTreeMap<_, _>| !features.is_empty())
}

fn feature(n: i64) -> String {
    format!("f{}", n % 2)
}

async fn read(store: &OnlineStore, record: &str) -> Said<Found> {
    let key = EntityKey::new("id", record).map_err(|e| e.to_string())?;
    let row = store.read_features(TENANT, VIEW, &key, None).await;
    let row = row.map_err(|e| format!("a read failed: {e}"))?;
    Ok(row.map(|row| {
        row.iter().map(|(name, _, value)| (name.to_owned(), value.as_i64().unwrap_or(-1))).collect()
    }))
}

/// Tasks that count, as many that read what they and others have written.
pub(crate) struct Counters {
    stopped: Arc<AtomicBool>,
    tasks: JoinSet<Said>,
}

impl Counters {
    /// Starts this many of each, on records that no process had before. `bulk` is how many records of the
    /// bulk there are.
    pub(crate) fn start(store: &OnlineStore, folder: &Path, tasks: usize, bulk: u64) -> Said<Self> {
        let process = fastrand::u64(..);
        let records: Vec<_> = (0..tasks).map(|task| format!("{process:x}-{task}")).collect();
        let counts: Arc<Vec<AtomicI64>> = Arc::new((0..tasks).map(|_| AtomicI64::new(0)).collect());
        let stopped = Arc::new(AtomicBool::new(false));
        let mut all = JoinSet::new();
        for at in 0..tasks {
            let log = File::create_new(folder.join(format!("{LOG}{}", records[at])));
            let log = log.map_err(|e| e.to_string())?;
            let (store, record, counts, stopped) =
                (store.clone(), records[at].clone(), Arc::clone(&counts), Arc::clone(&stopped));
            all.spawn(async move { count(store, record, log, &counts[at], &stopped).await });
        }
        for _ in 0..tasks {
            let (store, records, counts, stopped) =
                (store.clone(), records.clone(), Arc::clone(&counts), Arc::clone(&stopped));
            all.spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    let at = fastrand::usize(..records.len());
                    look(&store, &records[at], &counts[at]).await?;
                    look_at_bulk(&store, fastrand::u64(..bulk)).await?;
                }
                Ok(())
            });
        }
        Ok(Self { stopped, tasks: all })
    }

    /// What is wrong, as soon as something is.
    pub(crate) async fn failure(&mut self) -> String {
        first_failure(&mut self.tasks).await
    }

    /// Ends them, all of which must have been content.
    pub(crate) async fn stop(mut self) -> Said {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task.map_err(|e| e.to_string())??;
        }
        Ok(())
    }
}

/// Counts up in one record, and notes each number once it is acknowledged.
async fn count(
    store: OnlineStore,
    record: String,
    mut log: File,
    count: &AtomicI64,
    stopped: &AtomicBool,
) -> Said {
    let key = EntityKey::new("id", record.as_str()).map_err(|e| e.to_string())?;
    let (start, mut n) = (now_micros(), 0);
    while !stopped.load(Ordering::Relaxed) {
        n += 1;
        let at = Some(Timestamp::from_micros(start + n));
        while let Err(error) = store.write_features(TENANT, VIEW, &key, [(feature(n), n)], at, None).await {
            if !error.is_retryable() {
                return Err(format!("a write failed for good: {error}"));
            }
        }
        log.write_all(format!("{n}\n").as_bytes()).map_err(|e| e.to_string())?;
        count.store(n, Ordering::Release);
    }
    Ok(())
}

/// Reads a record that another task writes: never older than what was acknowledged before, nor a part of a
/// write.
async fn look(store: &OnlineStore, record: &str, count: &AtomicI64) -> Said {
    let least = count.load(Ordering::Acquire);
    let found = read(store, record).await?;
    let n = found.iter().flatten().map(|(_, n)| *n).max().unwrap_or(0);
    if n < least || found != counted_to(n) {
        return Err(format!("record {record}: {least} was acknowledged, {found:?} was read"));
    }
    Ok(())
}

/// Reads a record that nobody writes.
async fn look_at_bulk(store: &OnlineStore, id: u64) -> Said {
    let key = EntityKey::new("id", id).map_err(|e| e.to_string())?;
    let row = store.read_features(TENANT, BULK_VIEW, &key, None).await;
    let row = row.map_err(|e| format!("a read failed: {e}"))?;
    let found = row.as_ref().and_then(|row| row.get("twice")).and_then(FeatureValue::as_i64);
    if found != Some(2 * id as i64) && (id % 3 < LASTING_OF_THREE || found.is_some()) {
        return Err(format!("record {id} of those that were there before is {found:?}"));
    }
    Ok(())
}
