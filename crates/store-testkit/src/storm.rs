//! A storm of writes at shuffled times from many writers, after which every feature must be the newest.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use feature_core::{EntityKey, FeatureRow, FeatureValue, FeatureWrite, Features, OnlineStore, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::case::START;

/// The view that a storm writes to.
const VIEW: &str = "storm";
/// One row in this many is written a second time, elsewhere in the order.
const REPEATED: usize = 20;
/// How often a row that fails with a retryable error is written again, and after what time.
const TRIES: usize = 20;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How many rows are read back at a time, and how many wrong features a message lists.
const ROWS: usize = 500;
const SHOWN: usize = 10;

/// How large a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StormPlan {
    /// Tasks that write at the same time.
    pub writers: usize,
    /// Rows that write a whole set of features.
    pub writes: usize,
    /// Rows that write one feature beside the set, one of as many as there are writers; to the first half
    /// of the entities, so that the others are left to the fast path.
    pub merges: usize,
    /// How many entities the rows are spread over.
    pub entities: usize,
    /// How many features the set has.
    pub features: usize,
    /// How many rows a call has.
    pub batch: usize,
    /// Decides the order and who is written; the same seed makes the same rows.
    pub seed: u64,
}

impl Default for StormPlan {
    fn default() -> Self {
        Self {
            writers: 8,
            writes: 1_000_000,
            merges: 100_000,
            entities: 20_000,
            features: 3,
            batch: 500,
            seed: 1,
        }
    }
}

/// What a storm was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StormReport {
    /// Rows written, repeated ones included.
    pub rows: usize,
    /// Rows of which something counted when they arrived.
    pub applied: usize,
    /// Rows that came too late.
    pub superseded: usize,
    /// How many times a row failed with a retryable error and was written again.
    pub retried: usize,
    /// Features read back and compared.
    pub features: usize,
    /// How long writing took.
    pub wrote_in: Duration,
    /// How long reading back took.
    pub read_in: Duration,
}

impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows in {:.1?} ({:.0} rows/s): {} applied, {} superseded, {} retried; {} features right, read in {:.1?}",
            self.rows,
            self.wrote_in,
            self.rows as f64 / self.wrote_in.as_secs_f64(),
            self.applied,
            self.superseded,
            self.retried,
            self.features,
            self.read_in,
        )
    }
}

/// What becomes of the rows.
#[derive(Default)]
struct Counts {
    applied: usize,
    superseded: usize,
    retried: usize,
}

/// Writes rows with distinct event times in a shuffled order, some of them twice, from many writers at
/// once; then reads everything back and compares values and event times with the newest write of each
/// feature, found without the crate's merge. The tenant should hold nothing yet.
///
/// # Errors
/// A row that cannot be written; features that are not the newest, missing or unheard of: how many, and
/// some of them.
pub async fn storm(store: &OnlineStore, tenant: &str, plan: StormPlan) -> Result<StormReport, String> {
    let total = u32::try_from(plan.writes + plan.merges).map_err(|_| "the storm has too many rows")?;
    if plan.writers == 0 || plan.entities < 2 || plan.batch == 0 || plan.features == 0 {
        return Err("a storm needs a writer, two entities, a feature, and rows in a batch".to_owned());
    }
    let keys = (0..plan.entities).map(|number| EntityKey::new("customer_id", number.to_string()));
    let keys = keys.collect::<feature_core::Result<Vec<_>>>().map_err(|e| e.to_string())?;
    let mut order: Vec<u32> = (0..total).chain((0..total).step_by(REPEATED)).collect();
    fastrand::Rng::with_seed(plan.seed).shuffle(&mut order);
    let (store, tenant, next) = (store.clone(), tenant.to_owned(), AtomicUsize::new(0));
    let storm = Arc::new(Storm { store, tenant, plan, keys, order, next });

    let start = Instant::now();
    let mut writers: JoinSet<_> = (0..storm.plan.writers).map(|_| storm.clone().work()).collect();
    let mut counts = Counts::default();
    while let Some(ended) = writers.join_next().await {
        let own = ended.map_err(|e| format!("a writer ended early: {e}"))??;
        counts.applied += own.applied;
        counts.superseded += own.superseded;
        counts.retried += own.retried;
    }
    let wrote_in = start.elapsed();

    let start = Instant::now();
    let features = storm.compare().await?;
    let Counts { applied, superseded, retried } = counts;
    let (rows, read_in) = (storm.order.len(), start.elapsed());
    Ok(StormReport { rows, applied, superseded, retried, features, wrote_in, read_in })
}

/// A storm under way.
struct Storm {
    store: OnlineStore,
    tenant: String,
    plan: StormPlan,
    keys: Vec<EntityKey>,
    /// The rows by number, in the order in which they are written.
    order: Vec<u32>,
    /// How many of them are taken.
    next: AtomicUsize,
}

impl StormPlan {
    /// Which entity a row concerns.
    fn entity(&self, row: u32) -> usize {
        let from = if self.is_merge(row) { self.entities / 2 } else { self.entities };
        (mix(self.seed ^ u64::from(row)) % from as u64) as usize
    }

    fn is_merge(&self, row: u32) -> bool {
        row as usize >= self.writes
    }

    /// The features that a row writes, by number: those of the set, then those beside it.
    fn features_of(&self, row: u32) -> std::ops::Range<usize> {
        if self.is_merge(row) {
            let feature = self.features + row as usize % self.writers;
            return feature..feature + 1;
        }
        0..self.features
    }

    fn row(&self, row: u32, keys: &[EntityKey]) -> FeatureWrite {
        let features: Features = self.features_of(row).map(|f| (name(f), value(row, f))).collect();
        FeatureWrite::new(keys[self.entity(row)].clone(), features).at(time(row))
    }
}

fn name(feature: usize) -> String {
    format!("f{feature:03}")
}

fn value(row: u32, feature: usize) -> i64 {
    mix(u64::from(row) << 16 | feature as u64).cast_signed()
}

fn time(row: u32) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + i64::from(row))
}

/// Scatters numbers (the finalizer of SplitMix64).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl Storm {
    /// Takes rows and writes them until none is left.
    async fn work(self: Arc<Self>) -> Result<Counts, String> {
        let mut counts = Counts::default();
        loop {
            let from = self.next.fetch_add(self.plan.batch, Ordering::Relaxed).min(self.order.len());
            let rows = &self.order[from..self.order.len().min(from + self.plan.batch)];
            if rows.is_empty() {
                return Ok(counts);
            }
            self.write(rows.iter().map(|row| self.plan.row(*row, &self.keys)).collect(), &mut counts).await?;
        }
    }

    /// Writes rows, again where that can help.
    async fn write(&self, mut rows: Vec<FeatureWrite>, counts: &mut Counts) -> Result<(), String> {
        for _ in 0..TRIES {
            let report = self.store.batch_write(&self.tenant, VIEW, rows.iter().cloned()).await;
            let report = report.map_err(|e| e.to_string())?;
            counts.applied += report.applied();
            counts.superseded += report.superseded();
            if let Some((_, error)) = report.failures().find(|(_, error)| !error.is_retryable()) {
                return Err(format!("a row of the storm cannot be written: {error}"));
            }
            let failed: Vec<usize> = report.failures().map(|(row, _)| row).collect();
            if failed.is_empty() {
                return Ok(());
            }
            counts.retried += failed.len();
            rows = failed.into_iter().map(|row| rows[row].clone()).collect();
            sleep(TRY_AGAIN_AFTER).await;
        }
        Err(format!("{} rows of the storm failed {TRIES} times", rows.len()))
    }

    /// Compares everything with what it must be; how many features that were.
    async fn compare(&self) -> Result<usize, String> {
        let Self { plan, keys, .. } = self;
        let mut newest: HashMap<(usize, usize), u32> = HashMap::new();
        let mut count_of = vec![0; plan.entities];
        for row in 0..(plan.writes + plan.merges) as u32 {
            let entity = plan.entity(row);
            for feature in plan.features_of(row) {
                // Rows are numbered in the order of their times.
                if newest.insert((entity, feature), row).is_none() {
                    count_of[entity] += 1;
                }
            }
        }
        let mut wrong = Vec::new();
        for (chunk, keys) in keys.chunks(ROWS).enumerate() {
            let rows = self.store.batch_read(&self.tenant, VIEW, keys, None).await;
            for (at, row) in rows.map_err(|e| e.to_string())?.into_iter().enumerate() {
                let entity = chunk * ROWS + at;
                let row = row.map_err(|e| format!("entity {entity} cannot be read: {e}"))?;
                let found = row.as_ref().map_or(0, FeatureRow::len);
                if found != count_of[entity] {
                    wrong.push(format!("entity {entity} has {found} features, not {}", count_of[entity]));
                }
                for feature in 0..plan.features + plan.writers {
                    let Some(newest) = newest.get(&(entity, feature)) else { continue };
                    let name = name(feature);
                    let found = row.as_ref().and_then(|row| Some((row.get(&name)?, row.event_time(&name)?)));
                    let expected = (FeatureValue::from(value(*newest, feature)), time(*newest));
                    if found != Some((&expected.0, expected.1)) {
                        wrong
                            .push(format!("entity {entity}, {name}: found {found:?}, expected {expected:?}"));
                    }
                }
            }
        }
        if wrong.is_empty() {
            return Ok(newest.len());
        }
        let shown: Vec<_> = wrong.iter().take(SHOWN).map(String::as_str).collect();
        Err(format!("{} features are not the newest:\n  {}", wrong.len(), shown.join("\n  ")))
    }
}
