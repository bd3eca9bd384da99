//! How the cost of a call grows with its size, and with the store's.
//!
//! Each series changes one thing; all else stays. The embedded store is a file, with commits that do not wait for the
//! disk; Redis is a server of its own on the loopback interface. A file named by `FSTORE_BENCH_PICTURE` gets the
//! same as a picture.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark reports, and ends where it cannot")]

mod picture;
mod store_size;

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_core::{
    EntityKey, FeatureValue, FeatureWrite, Features, OnlineStore, OnlineStoreBackend, Result, StoreUrl,
    SystemClock, ViewRead,
};
use futures::future::try_join_all;
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_redis::RedisOnlineStore;
use store_testkit::bench::BenchOptions;
use store_testkit::servers::{RedisOptions, Server};
use tempfile::TempDir;

const TENANT: &str = "bench";

/// What one series of a store came to.
struct Series {
    store: &'static str,
    points: Vec<Point>,
}

struct Point {
    x: usize,
    /// Calls per second, of all callers together.
    calls_per_s: f64,
}

/// A question, and how each store answers it.
struct Growth {
    name: &'static str,
    /// What x counts.
    unit: &'static str,
    /// How many of what costs something one call of this x has, for the last column.
    parts: fn(usize) -> usize,
    part: &'static str,
    series: Vec<Series>,
}

#[tokio::main]
async fn main() {
    let Some(options) = BenchOptions::from_args() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Server::start_redis(&RedisOptions::default()).await;
    let mut stores = vec![("embedded", embedded(&folder, "growth").expect("a store"))];
    match &redis {
        Ok(server) => {
            let store = RedisOnlineStore::open(server.url()).await.expect("a connection");
            stores.push(("Redis", OnlineStore::new(Arc::new(store))));
        }
        Err(why) => println!("Redis: not measured: {why}"),
    }
    let mut all = Vec::new();
    for (mut growth, measure) in questions() {
        if !options.wants(growth.name) {
            continue;
        }
        for (name, store) in &stores {
            let points = measure(store, &options).await.expect("the store works");
            growth.series.push(Series { store: name, points });
        }
        growth.print();
        all.push(growth);
    }
    if let Some(file) = std::env::var_os("FSTORE_BENCH_PICTURE") {
        std::fs::write(file, picture::draw(&all).expect("a picture")).expect("the file is written");
    }
    if options.wants("store") {
        store_size::measure(&folder, redis.as_ref().ok(), options.quick).await.expect("the stores work");
    }
}

fn embedded(folder: &TempDir, name: &str) -> Result<OnlineStore> {
    let file = folder.path().join(name).with_extension("redb");
    let url = format!("embedded:{}?durability=off", file.display());
    let config = EmbeddedConfig::from_url(&StoreUrl::parse(&url)?)?;
    let backend: Arc<dyn OnlineStoreBackend> =
        Arc::new(EmbeddedOnlineStore::connect(config, Arc::new(SystemClock))?);
    Ok(OnlineStore::new(backend))
}

type Measured<'a> = futures::future::LocalBoxFuture<'a, Result<Vec<Point>>>;
type Measure = for<'a> fn(&'a OnlineStore, &'a BenchOptions) -> Measured<'a>;

fn questions() -> Vec<(Growth, Measure)> {
    let growth = |name, unit, parts, part| Growth { name, unit, parts, part, series: Vec::new() };
    vec![
        (
            growth("entities of a read", "entities", |x| x, "record"),
            (|store, options| Box::pin(entities(store, options))) as Measure,
        ),
        (growth("features of a record", "features", |x| x * 10, "feature"), |store, options| {
            Box::pin(features(store, options))
        }),
        (growth("views of a read", "views", |x| x * 100, "record"), |store, options| {
            Box::pin(views(store, options))
        }),
        (growth("callers", "callers", |_| 1, "read"), |store, options| Box::pin(callers(store, options))),
        (growth("size of a record", "bytes", |x| x / 1_000, "KB"), |store, options| {
            Box::pin(bytes(store, options))
        }),
    ]
}

impl Growth {
    fn print(&self) {
        println!("\n{}\n", self.name);
        let heads = self
            .series
            .iter()
            .flat_map(|s| [format!("{}, calls/s", s.store), format!("{}, ns per {}", s.store, self.part)]);
        println!("| {} | {} |", self.unit, heads.collect::<Vec<_>>().join(" | "));
        println!("|---{}|", "|---".repeat(self.series.len() * 2));
        let Some(first) = self.series.first() else { return };
        for (at, Point { x, .. }) in first.points.iter().enumerate() {
            let cells = self.series.iter().flat_map(|series| {
                let rate = series.points[at].calls_per_s;
                [format!("{rate:.0}"), format!("{:.0}", 1e9 / rate / (self.parts)(*x) as f64)]
            });
            println!("| {x} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

fn keys(range: std::ops::Range<usize>) -> Result<Vec<EntityKey>> {
    range.map(|n| EntityKey::new("customer_id", n as u64)).collect()
}

fn floats(n: usize, seed: usize) -> Features {
    (0..n).map(|i| (format!("feature_{i:04}"), (seed * 31 + i) as f64 * 0.618_033_988_75)).collect()
}

async fn fill(store: &OnlineStore, view: &str, keys: &[EntityKey], features: usize) -> Result<()> {
    for (number, part) in keys.chunks(1_000).enumerate() {
        let row = |(i, key): (usize, &EntityKey)| {
            FeatureWrite::new(key.clone(), floats(features, number * 1_000 + i))
        };
        store.batch_write(TENANT, view, part.iter().enumerate().map(row)).await?.into_result()?;
    }
    Ok(())
}

/// How long each point is measured.
fn length(options: &BenchOptions) -> Duration {
    Duration::from_millis(if options.quick { 50 } else { 1_000 })
}

/// Calls per second, by one caller.
async fn rate(options: &BenchOptions, mut call: impl AsyncFnMut(usize) -> Result<()>) -> Result<f64> {
    // Warms up.
    call(0).await?;
    let (mut calls, began) = (0, Instant::now());
    while began.elapsed() < length(options) {
        calls += 1;
        call(calls).await?;
    }
    Ok(calls as f64 / began.elapsed().as_secs_f64())
}

fn window(keys: &[EntityKey], call: usize, rows: usize) -> &[EntityKey] {
    let start = call.wrapping_mul(7_919) * rows % (keys.len() - rows + 1);
    &keys[start..start + rows]
}

async fn entities(store: &OnlineStore, options: &BenchOptions) -> Result<Vec<Point>> {
    let mut keys = keys(0..20_000)?;
    fastrand::Rng::with_seed(1).shuffle(&mut keys);
    fill(store, "entities", &keys, 50).await?;
    let mut points = Vec::new();
    for x in [1, 10, 100, 1_000, 10_000] {
        let call = async |call| {
            let rows = store.batch_read(TENANT, "entities", window(&keys, call, x), None).await?;
            assert!(rows.iter().all(|row| matches!(row, Ok(Some(_)))));
            Ok(())
        };
        points.push(Point { x, calls_per_s: rate(options, call).await? });
    }
    Ok(points)
}

async fn features(store: &OnlineStore, options: &BenchOptions) -> Result<Vec<Point>> {
    let keys = keys(0..200)?;
    let mut points = Vec::new();
    for x in [1, 10, 100, 1_000, 5_000] {
        let view = format!("features_{x}");
        fill(store, &view, &keys, x).await?;
        let call = async |call| {
            let rows = store.batch_read(TENANT, &view, window(&keys, call, 10), None).await?;
            assert!(rows.iter().all(|row| matches!(row, Ok(Some(_)))));
            Ok(())
        };
        points.push(Point { x, calls_per_s: rate(options, call).await? });
    }
    Ok(points)
}

async fn views(store: &OnlineStore, options: &BenchOptions) -> Result<Vec<Point>> {
    let keys = keys(0..1_000)?;
    let names: Vec<String> = (0..50).map(|number| format!("view_{number}")).collect();
    for name in &names {
        fill(store, name, &keys, 10).await?;
    }
    let mut points = Vec::new();
    for x in [1, 2, 5, 10, 20, 50] {
        let call = async |call| {
            let entity_keys = window(&keys, call, 100);
            let read = |name| ViewRead { feature_view: name, entity_keys, feature_names: None };
            let reads: Vec<_> = names[..x].iter().map(|name| read(name)).collect();
            let views = store.read_views(TENANT, &reads).await?;
            assert!(views.iter().flatten().all(|row| matches!(row, Ok(Some(_)))));
            Ok(())
        };
        points.push(Point { x, calls_per_s: rate(options, call).await? });
    }
    Ok(points)
}

async fn callers(store: &OnlineStore, options: &BenchOptions) -> Result<Vec<Point>> {
    let keys: Arc<[EntityKey]> = keys(0..1_000)?.into();
    fill(store, "callers", &keys, 50).await?;
    let mut points = Vec::new();
    for x in [1, 4, 16, 64, 256] {
        let until = Instant::now() + length(options);
        let one = |caller: usize| {
            let (store, keys) = (store.clone(), Arc::clone(&keys));
            tokio::spawn(async move {
                let mut calls = 0;
                while Instant::now() < until {
                    let key = &keys[(caller * 31 + calls) % keys.len()];
                    assert!(store.read_features(TENANT, "callers", key, None).await?.is_some());
                    calls += 1;
                }
                Ok(calls)
            })
        };
        let calls = try_join_all((0..x).map(one)).await.expect("no caller fails");
        let calls = calls.into_iter().sum::<Result<usize>>()?;
        let calls_per_s = calls as f64 / length(options).as_secs_f64();
        points.push(Point { x, calls_per_s });
    }
    Ok(points)
}

async fn bytes(store: &OnlineStore, options: &BenchOptions) -> Result<Vec<Point>> {
    let keys = keys(0..20)?;
    let mut points = Vec::new();
    for x in [1_000, 10_000, 100_000, 1_000_000] {
        let view = format!("bytes_{x}");
        for key in &keys {
            let mut value = vec![0; x];
            fastrand::Rng::with_seed(x as u64).fill(&mut value);
            let write = FeatureWrite::new(key.clone(), [("embedding", FeatureValue::from(value))]);
            store.batch_write(TENANT, &view, [write]).await?.into_result()?;
        }
        let call = async |call: usize| {
            let row = store.read_features(TENANT, &view, &keys[call % keys.len()], None).await?;
            row.map(|_| ()).ok_or_else(|| feature_core::Error::corrupt("a record is gone"))
        };
        points.push(Point { x, calls_per_s: rate(options, call).await? });
    }
    Ok(points)
}
