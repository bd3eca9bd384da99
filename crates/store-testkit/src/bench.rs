//! Throughput of the handle over a backend, against the plain client with the same bytes in the same run.
//!
//! The ratio is what counts: both sides take turns round by round, so that a machine whose speed drifts
//! slows both. Figures are records per second; the ratio is the median of the rounds' ratios.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{
    EntityKey, FeatureWrite, Features, OnlineStore, RecordKey, Timestamp, Ttl, ViewKey, ViewRead,
};
use futures::future::{BoxFuture, join_all};

/// The plain client: what an application would write that stores opaque bytes itself.
#[async_trait]
pub trait RawStore: Send + Sync {
    /// Reads the values of keys that exist, in one round trip, and hands them over as owned bytes.
    async fn get(&self, keys: &[String]) -> Vec<Vec<u8>>;

    /// Writes values in one round trip, with the durability that the backend under test has.
    async fn put(&self, rows: &[(String, Bytes)]);
}

/// How long to measure and where to write the results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BenchOptions {
    /// A short run, to check that it works; its figures are rough.
    pub quick: bool,
    /// A file for the results as JSON.
    pub json: Option<PathBuf>,
    /// Only what has this in its name is measured.
    pub filter: Option<String>,
}

impl BenchOptions {
    /// Reads `--quick`, `--json FILE` and a filter from the command line. Without `--bench`, which `cargo bench`
    /// passes and `cargo test` does not, there is nothing to measure: `None`.
    pub fn from_args() -> Option<Self> {
        let mut options = Self::default();
        let mut bench = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => bench = true,
                "--quick" => options.quick = true,
                "--json" => options.json = args.next().map(PathBuf::from),
                filter => options.filter = Some(filter.to_owned()),
            }
        }
        bench.then_some(options)
    }

    /// Whether what has this name is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// Rounds, and how long each side of a round takes at least.
    fn rounds(&self) -> (usize, Duration) {
        if self.quick { (3, Duration::from_millis(50)) } else { (15, Duration::from_millis(300)) }
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchResult {
    /// What was measured.
    pub name: String,
    /// Records per second through the handle.
    pub ours_per_s: f64,
    /// Records per second through the plain client, where there is one to compare with.
    pub raw_per_s: Option<f64>,
    /// Ours over raw.
    pub ratio: Option<f64>,
}

/// Measures a call over and over: `rows` records a call. What `call` does before it gives its future, such
/// as making up the values to write, is not counted: an application has them already.
async fn rate<'a>(rows: usize, least: Duration, call: &mut impl FnMut(usize) -> BoxFuture<'a, ()>) -> f64 {
    let (mut calls, mut took) = (0, Duration::ZERO);
    while took < least {
        let work = call(calls);
        let start = Instant::now();
        work.await;
        took += start.elapsed();
        calls += 1;
    }
    (calls * rows) as f64 / took.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Measures two ways to the same end in turns.
pub async fn compare<'a>(
    options: &BenchOptions,
    name: &str,
    rows: usize,
    mut ours: impl FnMut(usize) -> BoxFuture<'a, ()>,
    mut raw: impl FnMut(usize) -> BoxFuture<'a, ()>,
) -> BenchResult {
    let (rounds, least) = options.rounds();
    let (mut ours_rates, mut raw_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (one, other) = if round % 2 == 0 {
            let one = rate(rows, least, &mut ours).await;
            (one, rate(rows, least, &mut raw).await)
        } else {
            let other = rate(rows, least, &mut raw).await;
            (rate(rows, least, &mut ours).await, other)
        };
        // The first round warms up.
        if round > 0 {
            ours_rates.push(one);
            raw_rates.push(other);
            ratios.push(one / other);
        }
    }
    BenchResult {
        name: name.to_owned(),
        ours_per_s: median(ours_rates),
        raw_per_s: Some(median(raw_rates)),
        ratio: Some(median(ratios)),
    }
}

const TENANT: &str = "bench";
const BATCH: usize = 100;

/// The data: entities with 50 features in one view, and with 10 features in each of 5 views.
struct Data<'a> {
    store: &'a OnlineStore,
    raw: &'a dyn RawStore,
    entities: Vec<EntityKey>,
    /// The bytes that the store holds for each entity's 50 features, under the plain client's key.
    wide: Vec<(String, Bytes)>,
    /// The same for the 5 views, by view.
    narrow: Vec<Vec<(String, Bytes)>>,
    /// How many microseconds after the first event time the next one is, so that every write counts.
    next: AtomicI64,
}

const READ_VIEWS: &str = "batch_read_100x5views_x10";
const CONCURRENT_WRITES: &str = "write_1x50_64_in_flight";
/// How many those are.
const AT_ONCE: usize = 64;
const WIDE: &str = "wide";
const NARROW: [&str; 5] = ["view_0", "view_1", "view_2", "view_3", "view_4"];

fn feature_names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("feature_{i:02}")).collect()
}

fn features(n: usize, seed: usize) -> Features {
    let value = |i: usize| (seed * 31 + i) as f64 * 0.618_033_988_75;
    feature_names(n).into_iter().enumerate().map(|(i, name)| (name, value(i))).collect()
}

/// Runs every benchmark that the project has for a backend; the names are the same on every backend.
///
/// # Errors
/// The first error that the store reports.
pub async fn throughput(
    options: &BenchOptions,
    store: &OnlineStore,
    raw: &dyn RawStore,
) -> feature_core::Result<Vec<BenchResult>> {
    let entities = if options.quick { 2_000 } else { 20_000 };
    let data = Data::load(store, raw, entities).await?;
    let mut results = Vec::new();
    let five: Vec<String> = feature_names(50).into_iter().step_by(10).collect();
    for (name, names, batch) in [
        ("batch_read_100x50", None, BATCH),
        ("batch_read_100x5_of_50", Some(&five), BATCH),
        ("read_1x50", None, 1),
    ] {
        if options.wants(name) {
            results.push(data.read(options, name, names.map(Vec::as_slice), batch).await);
        }
    }
    if options.wants(READ_VIEWS) {
        results.push(data.read_views(options).await);
    }
    for (name, batch) in [("batch_write_100x50", BATCH), ("write_1x50", 1)] {
        if options.wants(name) {
            results.push(data.write(options, name, batch).await);
        }
    }
    if options.wants(CONCURRENT_WRITES) {
        results.push(data.write_at_once(options).await);
    }
    Ok(results)
}

impl<'a> Data<'a> {
    async fn load(store: &'a OnlineStore, raw: &'a dyn RawStore, n: usize) -> feature_core::Result<Self> {
        let mut entities = (0..n)
            .map(|i| EntityKey::new("customer_id", i as u64))
            .collect::<feature_core::Result<Vec<_>>>()?;
        // A request for 100 customers is not for neighbours.
        fastrand::Rng::with_seed(1).shuffle(&mut entities);
        let mut data =
            Self { store, raw, entities, wide: Vec::new(), narrow: Vec::new(), next: AtomicI64::new(0) };
        data.wide = data.load_view(WIDE, 50).await?;
        for view in NARROW {
            let rows = data.load_view(view, 10).await?;
            data.narrow.push(rows);
        }
        Ok(data)
    }

    async fn load_view(&self, view: &str, n: usize) -> feature_core::Result<Vec<(String, Bytes)>> {
        let view_key = ViewKey::new(TENANT, view)?;
        let call = feature_core::CallContext::with_timeout(Duration::from_secs(60));
        let mut rows = Vec::with_capacity(self.entities.len());
        for entities in self.entities.chunks(1_000) {
            let writes = entities
                .iter()
                .enumerate()
                .map(|(i, entity)| self.write_of(entity, features(n, rows.len() + i)));
            self.store.batch_write(TENANT, view, writes).await?.into_result()?;
            let keys: Vec<_> = entities.iter().map(|e| RecordKey::new(view_key.clone(), e.clone())).collect();
            for (key, record) in keys.iter().zip(self.store.backend().get(&keys, call).await) {
                let bytes = record?.map(|record| record.bytes).unwrap_or_default();
                rows.push((format!("raw:{key}"), bytes));
            }
            self.raw.put(&rows[rows.len() - entities.len()..]).await;
        }
        Ok(rows)
    }

    fn write_of(&self, entity: &EntityKey, features: Features) -> FeatureWrite {
        let micros = 1_700_000_000_000_000 + self.next.fetch_add(1, Ordering::Relaxed);
        FeatureWrite::new(entity.clone(), features)
            .at(Timestamp::from_micros(micros))
            .with_ttl(Ttl::from_secs(86_400))
    }

    /// Where the batch of a call begins: scattered, the same for both sides.
    fn start(&self, call: usize, batch: usize) -> usize {
        call.wrapping_mul(7_919) * batch % (self.entities.len() - batch)
    }

    async fn read(
        &self,
        options: &BenchOptions,
        name: &str,
        names: Option<&[String]>,
        batch: usize,
    ) -> BenchResult {
        let names: Option<Vec<&str>> = names.map(|names| names.iter().map(String::as_str).collect());
        let keys: Vec<String> = self.wide.iter().map(|(key, _)| key.clone()).collect();
        let ours = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, batch);
            let names = names.as_deref();
            Box::pin(async move {
                let entities = &self.entities[start..start + batch];
                let rows = self.store.batch_read(TENANT, WIDE, entities, names).await;
                assert!(rows.is_ok_and(|rows| rows.iter().all(|row| matches!(row, Ok(Some(_))))));
            })
        };
        let raw = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, batch);
            let keys = &keys[start..start + batch];
            Box::pin(async move {
                assert_eq!(self.raw.get(keys).await.len(), keys.len());
            })
        };
        compare(options, name, batch, ours, raw).await
    }

    async fn read_views(&self, options: &BenchOptions) -> BenchResult {
        let keys: Vec<Vec<String>> =
            self.narrow.iter().map(|rows| rows.iter().map(|(key, _)| key.clone()).collect()).collect();
        let ours = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, BATCH);
            Box::pin(async move {
                let entity_keys = &self.entities[start..start + BATCH];
                let reads =
                    NARROW.map(|feature_view| ViewRead { feature_view, entity_keys, feature_names: None });
                let views = self.store.read_views(TENANT, &reads).await;
                assert!(
                    views.is_ok_and(|views| views.iter().flatten().all(|row| matches!(row, Ok(Some(_)))))
                );
            })
        };
        let raw = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, BATCH);
            let keys: Vec<String> =
                keys.iter().flat_map(|keys| keys[start..start + BATCH].iter().cloned()).collect();
            Box::pin(async move {
                assert_eq!(self.raw.get(&keys).await.len(), keys.len());
            })
        };
        compare(options, READ_VIEWS, BATCH * NARROW.len(), ours, raw).await
    }

    async fn write(&self, options: &BenchOptions, name: &str, batch: usize) -> BenchResult {
        // The values are made before the clock starts.
        let prepared: Vec<Features> = (0..self.entities.len()).map(|seed| features(50, seed)).collect();
        let prepared = &prepared;
        let ours = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, batch);
            let rows = start..start + batch;
            let writes: Vec<_> =
                rows.map(|i| self.write_of(&self.entities[i], prepared[i].clone())).collect();
            Box::pin(async move {
                let report = self.store.batch_write(TENANT, WIDE, writes).await;
                assert!(report.is_ok_and(|report| report.applied() == batch));
            })
        };
        let raw = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, batch);
            Box::pin(self.raw.put(&self.wide[start..start + batch]))
        };
        compare(options, name, batch, ours, raw).await
    }

    /// Writes of single records by many callers at once.
    async fn write_at_once(&self, options: &BenchOptions) -> BenchResult {
        let prepared: Vec<Features> = (0..self.entities.len()).map(|seed| features(50, seed)).collect();
        let prepared = &prepared;
        let ours = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, AT_ONCE);
            let write = |i: usize| {
                let write = self.write_of(&self.entities[i], prepared[i].clone());
                async move {
                    let report = self.store.batch_write(TENANT, WIDE, [write]).await;
                    assert!(report.is_ok_and(|report| report.applied() == 1));
                }
            };
            let writes: Vec<_> = (start..start + AT_ONCE).map(write).collect();
            Box::pin(async move { drop(join_all(writes).await) })
        };
        let raw = |call| -> BoxFuture<'_, ()> {
            let start = self.start(call, AT_ONCE);
            let writes = (start..start + AT_ONCE).map(|i| self.raw.put(&self.wide[i..=i]));
            Box::pin(async move { drop(join_all(writes).await) })
        };
        compare(options, CONCURRENT_WRITES, AT_ONCE, ours, raw).await
    }
}

/// Prints the results as a table and writes them as JSON where the options say so.
///
/// # Errors
/// What keeps the file from being written.
#[expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]
pub fn report(options: &BenchOptions, backend: &str, results: &[BenchResult]) -> std::io::Result<()> {
    let optional =
        |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    println!("{backend}{}", if options.quick { " (quick: rough figures)" } else { "" });
    println!("{:<28} {:>14} {:>14} {:>8}", "", "ours/s", "raw/s", "ratio");
    for result in results {
        let (raw, ratio) = (optional(result.raw_per_s, 0), optional(result.ratio, 2));
        println!("{:<28} {:>14.0} {:>14} {:>8}", result.name, result.ours_per_s, raw, ratio);
    }
    options.json.as_deref().map_or(Ok(()), |file| write_json(file, backend, results))
}

fn write_json(file: &Path, backend: &str, results: &[BenchResult]) -> std::io::Result<()> {
    let row = |r: &BenchResult| {
        serde_json::json!({
            "name": r.name, "ours_per_s": r.ours_per_s, "raw_per_s": r.raw_per_s, "ratio": r.ratio,
        })
    };
    let results: Vec<_> = results.iter().map(row).collect();
    let json = serde_json::json!({ "backend": backend, "results": results });
    std::fs::write(file, format!("{json:#}\n"))
}
