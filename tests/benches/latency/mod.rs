//! Latencies, with and without what is to help.

mod crowded;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use feature_core::{EntityKey, FeatureWrite, OnlineStore, OnlineStoreBackend};
use futures::future::join_all;
use store_embedded::EmbeddedOnlineStore;
use store_redis::RedisOnlineStore;
use store_testkit::servers::{RedisOptions, Server};
use store_testkit::{Fault, FaultyBackend, Operation};
use store_unified::{
    CircuitSettings, Destination, FallbackSettings, FeatureRequest, HedgeSettings, MirrorSettings, Registry,
    StoreRule, UnifiedFeatureStore,
};

pub(crate) use crowded::crowded;

type Outcome = Result<(), String>;

const TENANT: &str = "bench";
const VIEW: &str = "customers";

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn keys(n: usize) -> Vec<EntityKey> {
    (0..n).map(|n| EntityKey::new("customer_id", n as u64).expect("a key")).collect()
}

fn writes(keys: &[EntityKey]) -> Vec<FeatureWrite> {
    keys.iter().map(|key| FeatureWrite::new(key.clone(), [("orders", 1i64), ("visits", 2)])).collect()
}

/// Sorted latencies.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self(all)
    }

    /// The time that so many of a thousand reads reach or exceed.
    fn slowest(&self, of_thousand: usize) -> Duration {
        let at = self.0.len() * (1_000 - of_thousand) / 1_000;
        self.0.get(at.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Reads that stall for 200 ms, one of a hundred, with and without hedging.
pub(crate) async fn stalls(quick: bool) -> Outcome {
    let reads = if quick { 4_000 } else { 40_000 };
    let mut p99 = Vec::new();
    for hedge in [None, Some(HedgeSettings { after: Duration::from_millis(5), max_extra: 0.05 })] {
        let inner: Arc<dyn OnlineStoreBackend> = Arc::new(EmbeddedOnlineStore::in_memory().map_err(text)?);
        let keys = keys(1_000);
        let report = OnlineStore::new(Arc::clone(&inner)).batch_write(TENANT, VIEW, writes(&keys)).await;
        report.and_then(feature_core::WriteReport::into_result).map_err(text)?;
        let stalling = Arc::new(FaultyBackend::new(inner, |call| match call.number % 100 {
            99 => Fault::Delay(Duration::from_millis(200)),
            _ => Fault::None,
        }));
        let store = UnifiedFeatureStore::builder()
            .store(StoreRule { hedge, ..StoreRule::new("main", stalling.clone()) })
            .build()
            .map_err(text)?;
        let reader = |task: usize| {
            let (store, keys) = (store.clone(), &keys);
            async move {
                let mut took = Vec::with_capacity(reads / 16);
                for n in 0..reads / 16 {
                    let key = &keys[(task * 7_919 + n * 31) % keys.len()];
                    let began = Instant::now();
                    let row = store.read_features(TENANT, VIEW, key, None).await;
                    took.push(began.elapsed());
                    assert!(matches!(row, Ok(Some(_))));
                }
                took
            }
        };
        let all = Latencies::of(join_all((0..16).map(reader)).await.concat());
        let extra = stalling.count(Operation::Get) as f64 / all.0.len() as f64 - 1.0;
        println!(
            "stalls of 200 ms on 1 % of {} reads, {:<12} p99 {:>9.2?}, p99.9 {:>9.2?}, extra reads {:.2} %",
            all.0.len(),
            if hedge.is_some() { "hedged:" } else { "not hedged:" },
            all.slowest(10),
            all.slowest(1),
            extra * 100.0
        );
        p99.push(all.slowest(10).as_secs_f64());
    }
    println!("stalls: hedging cuts p99 by {:.1} (aim: 5, with 5 % extra reads at most)", p99[0] / p99[1]);
    Ok(())
}

async fn redis(server: &Server) -> Result<Arc<dyn OnlineStoreBackend>, String> {
    Ok(Arc::new(RedisOnlineStore::open(server.url()).await.map_err(text)?))
}

/// The first store is stopped while it is read, with a deadline of 20 ms and a fallback.
pub(crate) async fn stopped(quick: bool) -> Outcome {
    let first = Server::start_redis(&RedisOptions::default()).await?;
    let second = Server::start_redis(&RedisOptions::default()).await?;
    let registry = Registry::from_yaml(
        "feature_views: [{name: customers, entities: [customer_id], features: {orders: int64, visits: int64}}]",
    );
    let circuit = CircuitSettings { slow: Duration::from_millis(8), ..CircuitSettings::default() };
    let fallback = FallbackSettings { after: Duration::from_millis(8) };
    let store = UnifiedFeatureStore::builder()
        .store(StoreRule { circuit: Some(circuit), ..StoreRule::new("first", redis(&first).await?) })
        .store(StoreRule::new("second", redis(&second).await?))
        .default_destination(
            Destination::new("first")
                .with_fallback("second", fallback)
                .with_mirror(MirrorSettings { to: "second".to_owned(), required: true }),
        )
        .registry(registry.map_err(text)?)
        .build()
        .map_err(text)?;
    let keys = keys(1_000);
    let report = store.batch_write(TENANT, VIEW, writes(&keys)).await;
    report.and_then(feature_core::WriteReport::into_result).map_err(text)?;

    let store = store.with_deadline(Duration::from_millis(20));
    let (done, from_first) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let features = || [("customers:orders"), ("customers:visits")].map(|f| f.parse().expect("a feature"));
    let reader = |task: usize| {
        let (store, done, from_first) = (store.clone(), Arc::clone(&done), Arc::clone(&from_first));
        let (keys, features) = (keys.clone(), features());
        tokio::spawn(async move {
            let mut reads: Vec<(Instant, Duration, bool)> = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let at = fastrand::usize(..keys.len() - 10);
                let request = FeatureRequest::features(TENANT, features.clone(), keys[at..at + 10].to_vec());
                let began = Instant::now();
                let table = store.read(&request).await;
                let took = began.elapsed();
                let good = table.as_ref().is_ok_and(|table| table.errors().is_empty());
                let fell_back = table.is_ok_and(|table| table.from_fallback().count() > 0);
                from_first.fetch_add(u64::from(good && !fell_back), Ordering::Relaxed);
                reads.push((began, took, good));
                tokio::time::sleep(Duration::from_millis(2 + task as u64 % 2)).await;
            }
            reads
        })
    };
    let readers: Vec<_> = (0..8).map(reader).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stop = Instant::now();
    first.pause().await?;
    tokio::time::sleep(Duration::from_secs(if quick { 3 } else { 10 })).await;
    let go_on = Instant::now();
    first.resume().await?;
    let before = from_first.load(Ordering::Relaxed);
    let back = loop {
        if from_first.load(Ordering::Relaxed) > before + 100 {
            break Some(go_on.elapsed());
        }
        if go_on.elapsed() > Duration::from_secs(10) {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    done.store(true, Ordering::Relaxed);
    let mut reads = Vec::new();
    for reader in readers {
        reads.extend(reader.await.map_err(text)?);
    }
    let during: Vec<_> = reads.iter().filter(|(began, ..)| *began >= stop && *began < go_on).collect();
    let in_time = during.iter().filter(|(_, took, good)| *good && *took <= Duration::from_millis(25)).count();
    let latencies = Latencies::of(during.iter().map(|(_, took, _)| *took).collect());
    println!(
        "stopped: {in_time} of {} reads ({:.3} %) answered within 25 ms while the first store was stopped \
         (aim: 99.9 %), p99 {:.2?}, slowest {:.2?}",
        during.len(),
        in_time as f64 * 100.0 / during.len() as f64,
        latencies.slowest(10),
        latencies.slowest(0),
    );
    match back {
        Some(back) => println!("stopped: a hundred reads from the first store {back:.2?} after it went on"),
        None => println!("stopped: reads had not come back to the first store after 10 s"),
    }
    Ok(())
}
