//! How reads and rewrites slow down as a store grows.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_core::{
    CallContext, EntityKey, Error, FeatureWrite, OnlineStore, RecordKey, Result, Scope, Timestamp, ViewKey,
};
use store_redis::RedisOnlineStore;
use store_testkit::servers::Server;
use tempfile::TempDir;

use super::{TENANT, embedded, floats};

const VIEW: &str = "customers";
const BATCH: usize = 10_000;

/// Records of 10 floats: loaded in the order of their keys, read at random, written again at random.
pub(crate) async fn measure(folder: &TempDir, redis: Option<&Server>, quick: bool) -> Result<()> {
    println!("\nrecords of a store\n");
    println!(
        "| store | records | loaded, rows/s | read 1, /s | read 100, records/s | rewritten, rows/s | file / records |"
    );
    println!("|---|---|---|---|---|---|---|");
    let sizes: &[usize] = if quick { &[10_000, 100_000] } else { &[10_000, 100_000, 1_000_000, 10_000_000] };
    for &records in sizes {
        let name = format!("size_{records}");
        let store = embedded(folder, &name)?;
        let figures = one(&store, records).await?;
        let file = folder.path().join(name).with_extension("redb");
        // What it takes of the disk; it grows by doubling its length, with a hole at the end.
        let size = std::fs::metadata(&file).map_or(0, |about| about.blocks() * 512);
        let of_records = figures.bytes * records as f64;
        println!("| embedded | {records} | {figures} | {:.2} |", size as f64 / of_records);
        store.close().await?;
        let _ = std::fs::remove_file(file);
    }
    // A server holds all of it in memory, so a tenth less.
    for &records in &sizes[..sizes.len() - 1] {
        let Some(server) = redis else { break };
        let store = OnlineStore::new(Arc::new(RedisOnlineStore::open(server.url()).await?));
        println!("| Redis | {records} | {} | - |", one(&store, records).await?);
        store.purge(&Scope::view(TENANT, VIEW)?).await?;
        store.close().await?;
    }
    Ok(())
}

struct Figures {
    loaded: f64,
    read_one: f64,
    read_batch: f64,
    rewritten: f64,
    /// Of a key and its record, on average.
    bytes: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { loaded, read_one, read_batch, rewritten, .. } = self;
        write!(f, "{loaded:.0} | {read_one:.0} | {read_batch:.0} | {rewritten:.0}")
    }
}

fn key(n: usize) -> Result<EntityKey> {
    // Of one length, so that they are loaded in order.
    EntityKey::new("customer_id", format!("{n:08}"))
}

async fn write(store: &OnlineStore, rows: impl Iterator<Item = usize>, time: i64) -> Result<()> {
    let row = |n: usize| Ok(FeatureWrite::new(key(n)?, floats(10, n)).at(Timestamp::from_micros(time)));
    let rows = rows.map(row).collect::<Result<Vec<_>>>()?;
    store.batch_write(TENANT, VIEW, rows).await?.into_result().map(drop)
}

async fn one(store: &OnlineStore, records: usize) -> Result<Figures> {
    let began = Instant::now();
    for first in (0..records).step_by(BATCH) {
        write(store, first..(first + BATCH).min(records), 1_700_000_000_000_000).await?;
    }
    let loaded = records as f64 / began.elapsed().as_secs_f64();
    let mut random = fastrand::Rng::with_seed(1);
    let mut read = async |batch: usize, calls: usize| -> Result<f64> {
        let batches: Vec<Vec<EntityKey>> = (0..calls)
            .map(|_| (0..batch).map(|_| key(random.usize(..records))).collect())
            .collect::<Result<_>>()?;
        let began = Instant::now();
        for keys in &batches {
            let rows = store.batch_read(TENANT, VIEW, keys, None).await?;
            assert!(rows.iter().all(|row| matches!(row, Ok(Some(_)))));
        }
        Ok((calls * batch) as f64 / began.elapsed().as_secs_f64())
    };
    let read_batch = read(100, 2_000).await?;
    let read_one = read(1, 20_000).await?;
    let rewrites = records.min(500_000);
    let began = Instant::now();
    for _ in (0..rewrites).step_by(BATCH) {
        let rows: Vec<usize> = (0..BATCH.min(rewrites)).map(|_| random.usize(..records)).collect();
        write(store, rows.into_iter(), 1_700_000_001_000_000).await?;
    }
    let rewritten = rewrites as f64 / began.elapsed().as_secs_f64();
    let sample = RecordKey::new(ViewKey::new(TENANT, VIEW)?, key(0)?);
    let call = CallContext::with_timeout(Duration::from_secs(10));
    let found = store.backend().get(std::slice::from_ref(&sample), call).await.remove(0)?;
    let record = found.ok_or_else(|| Error::corrupt("the first record is gone"))?;
    let bytes = (sample.text_len() + record.bytes.len()) as f64;
    Ok(Figures { loaded, read_one, read_batch, rewritten, bytes })
}
