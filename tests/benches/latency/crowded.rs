//! How much a tenant with a quota moves another tenant's latency.

use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_core::{EntityKey, Error, ErrorKind};
use futures::future::join_all;
use store_testkit::servers::{RedisOptions, Server};
use store_unified::{Destination, Pattern, Quota, RouteRule, StoreRule, TenantRule, UnifiedFeatureStore};

use super::{Latencies, Outcome, VIEW, keys, redis, text, writes};

/// Tasks that read for the first tenant. With a single one p99 is how fast an idle machine wakes up, which
/// differs by half from run to run.
const READERS: usize = 8;

/// Whom it meets, and where.
struct Crowd {
    /// How many rows the other tenant reads at a time.
    batch: usize,
    /// Whether its records are on a server of their own.
    apart: bool,
}

const CROWDS: [Crowd; 3] = [
    Crowd { batch: 10, apart: false },
    Crowd { batch: 100, apart: false },
    Crowd { batch: 100, apart: true },
];

/// Tasks of a tenant read one record at a time, alone and beside another that reads in batches, at its quota of a
/// hundred calls a second and at ten times that.
pub(crate) async fn crowded(quick: bool) -> Outcome {
    println!("crowded: p99 of single reads, alone, beside a tenant at its quota, and at ten times its quota");
    for crowd in CROWDS {
        crowd.measure(quick).await?;
    }
    Ok(())
}

impl Crowd {
    async fn measure(&self, quick: bool) -> Outcome {
        let &Self { batch, apart } = self;
        let first = Server::start_redis(&RedisOptions::default()).await?;
        let second = Server::start_redis(&RedisOptions::default()).await?;
        let to = if apart { "other" } else { "main" };
        let rows_per_s = u32::try_from(batch * 100).ok().and_then(|rate| rate.try_into().ok());
        let quota = Quota { rows_per_s, burst: Duration::from_millis(100), ..Quota::default() };
        let noisy: Pattern = "noisy".parse().map_err(text)?;
        let store = UnifiedFeatureStore::builder()
            .store(StoreRule::new("main", redis(&first).await?))
            .store(StoreRule::new("other", redis(&second).await?))
            .default_destination(Destination::new("main"))
            .route(RouteRule {
                tenant: noisy.clone(),
                view: "*".parse().map_err(text)?,
                to: Destination::new(to),
            })
            .tenants(TenantRule { tenant: noisy, class: "default".to_owned(), quota })
            .build()
            .map_err(text)?;
        let keys: Arc<[EntityKey]> = keys(1_000).into();
        for tenant in ["quiet", "noisy"] {
            let report = store.batch_write(tenant, VIEW, writes(&keys[..100])).await;
            report.and_then(feature_core::WriteReport::into_result).map_err(text)?;
        }
        let (rounds, round) = (if quick { 6 } else { 30 }, Duration::from_secs(if quick { 1 } else { 2 }));
        let mut latencies: [Vec<Duration>; 3] = Default::default();
        let (mut sent, mut refused) = (0, 0);
        for number in 0..rounds {
            let until = Instant::now() + round;
            let noise = (number % 3 > 0).then(|| {
                let every = Duration::from_millis(if number % 3 == 1 { 10 } else { 1 });
                tokio::spawn(make_noise(store.clone(), Arc::clone(&keys), batch, every, until))
            });
            let quiet =
                (0..READERS).map(|_| tokio::spawn(read_quietly(store.clone(), Arc::clone(&keys), until)));
            for took in join_all(quiet).await {
                latencies[number % 3].extend(took.map_err(text)?);
            }
            if let Some(noise) = noise {
                let (rows, throttled) = noise.await.map_err(text)?;
                if number % 3 == 2 {
                    (sent, refused) = (sent + rows, refused + throttled);
                }
            }
        }
        let reads_per_s = latencies[0].len() as f64 / (round * rounds as u32 / 3).as_secs_f64();
        let [alone, at_quota, beyond] = latencies.map(|took| Latencies::of(took).slowest(10));
        let servers = if apart { "two servers" } else { "one server" };
        let more = |than: Duration| (beyond.as_secs_f64() / than.as_secs_f64() - 1.0) * 100.0;
        println!(
            "crowded: {READERS} readers ({reads_per_s:.0} reads/s), batches of {batch}, on {servers}: \
             {alone:.0?}, {at_quota:.0?}, {beyond:.0?} ({:+.0} % against alone, {:+.0} % against at its quota; \
             aim: less than 20 %; {:.0} % of {sent} rows refused)",
            more(alone),
            more(at_quota),
            refused as f64 * 100.0 / sent as f64,
        );
        Ok(())
    }
}

async fn read_quietly(store: UnifiedFeatureStore, keys: Arc<[EntityKey]>, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        assert!(store.read_features("quiet", VIEW, &keys[fastrand::usize(..10)], None).await.is_ok());
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    took
}

/// How many rows it has sent, and how many were refused.
async fn make_noise(
    store: UnifiedFeatureStore,
    keys: Arc<[EntityKey]>,
    batch: usize,
    every: Duration,
    until: Instant,
) -> (usize, usize) {
    let (mut sent, mut refused) = (0, 0);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while Instant::now() < until {
        ticks.tick().await;
        let rows = store.batch_read("noisy", VIEW, &keys[..batch], None).await.unwrap_or_default();
        let throttled =
            |row: &Result<_, Error>| row.as_ref().is_err_and(|error| error.kind() == ErrorKind::Throttled);
        sent += rows.len();
        refused += rows.iter().filter(|row| throttled(row)).count();
    }
    (sent, refused)
}
