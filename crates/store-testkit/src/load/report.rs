//! How a load went, and whether the store has what it acknowledged.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use feature_core::OnlineStore;
use tokio::time::{Instant, sleep};

use super::plan::{COMMON_VIEW, OWN_VIEW, thing};
use super::stats::CallStats;
use super::worker::{Overall, Shared};

/// How many rows a verification reads at a time, and how long it puts up with errors.
const ROWS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How many faults a message lists.
const SHOWN: usize = 10;

/// How a load went.
pub struct LoadReport {
    shared: Arc<Shared>,
    overall: Overall,
}

impl LoadReport {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let overall = shared.progress().clone();
        Self { shared, overall }
    }

    /// The writes.
    pub fn writes(&self) -> &CallStats {
        &self.overall.writes
    }

    /// The reads; each reads two rows an entity.
    pub fn reads(&self) -> &CallStats {
        &self.overall.reads
    }

    /// How many reads gave something older than what was acknowledged before they began. Only a fault
    /// that may lose acknowledged writes excuses any.
    pub fn stale(&self) -> usize {
        self.overall.stale.0
    }

    /// That no call lasted longer than its deadline and this much more.
    ///
    /// # Errors
    /// One did.
    pub fn deadline_kept(&self, slack: Duration) -> Result<(), String> {
        let deadline = self.shared.plan.deadline;
        for (name, stats) in [("write", self.writes()), ("read", self.reads())] {
            if stats.slowest > deadline + slack {
                return Err(format!("a {name} took {:?}; its deadline was {deadline:?}", stats.slowest));
            }
        }
        Ok(())
    }

    /// That no read gave something older than what was acknowledged before it began.
    ///
    /// # Errors
    /// Some of the reads that did.
    pub fn nothing_stale(&self) -> Result<(), String> {
        none("reads gave something older than was acknowledged", &self.overall.stale)
    }

    /// That nothing impossible was seen: no value that was never written, no record half of one write, no
    /// call that never ended. No fault of a server excuses any of it.
    ///
    /// # Errors
    /// Some of what went wrong.
    pub fn nothing_wrong(&self) -> Result<(), String> {
        none("things went wrong during the load", &self.overall.wrong)
    }

    /// All three: deadlines kept, nothing stale, nothing wrong.
    ///
    /// # Errors
    /// The first that does not hold, with the report.
    pub fn sound(&self, slack: Duration) -> Result<(), String> {
        let all = self.nothing_wrong().and_then(|()| self.nothing_stale());
        all.and_then(|()| self.deadline_kept(slack)).map_err(|e| format!("{e}\n{self}"))
    }

    /// Reads everything back and compares it with what was acknowledged. Reads that fail are tried again
    /// for 20 s. Call it when the store has recovered; the handle may be another over the same data.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn verify(&self, store: &OnlineStore) -> Result<Verification, String> {
        let Shared { tenant, keys, ledger, plan, .. } = &*self.shared;
        let mut verification = Verification::default();
        let start = Instant::now();
        for (view, things) in [(OWN_VIEW, 0..plan.writers), (COMMON_VIEW, plan.writers..plan.writers + 1)] {
            for (chunk, keys) in keys.chunks(ROWS).enumerate() {
                let rows = loop {
                    let rows = store.batch_read(tenant, view, keys, None).await;
                    match rows.and_then(|rows| rows.into_iter().collect::<Result<Vec<_>, _>>()) {
                        Ok(rows) => break rows,
                        Err(error) if start.elapsed() > PATIENCE => {
                            return Err(format!("the store cannot be verified: {error}"));
                        }
                        Err(_) => sleep(TRY_AGAIN_AFTER).await,
                    }
                };
                for (at, row) in rows.iter().enumerate() {
                    let entity = chunk * ROWS + at;
                    for what in things.clone() {
                        let found = match view {
                            OWN_VIEW => ledger.number_of(row.as_ref(), &format!("w{what}"), entity),
                            _ => ledger.number_of_common(row.as_ref(), entity),
                        };
                        let slot = ledger.slot(what, entity);
                        let feature = thing(what, plan.writers);
                        verification.checked += 1;
                        match found {
                            Ok(found) if found < slot.acknowledged => {
                                let acknowledged = slot.acknowledged;
                                verification.lost.push(Loss { entity, feature, acknowledged, found });
                            }
                            Ok(found) if found > slot.acknowledged && !slot.in_doubt.contains(&found) => {
                                verification.wrong.push(format!(
                                    "entity {entity} has {feature} of write {found}, which was reported as \
                                     failed without a doubt"
                                ));
                            }
                            Ok(_) => {}
                            Err(wrong) => verification.wrong.push(wrong),
                        }
                    }
                }
            }
        }
        Ok(verification)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writes: {}\nreads: {}", self.writes(), self.reads())
    }
}

impl fmt::Debug for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A write that was acknowledged and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The number of the entity.
    pub entity: usize,
    /// The feature, or features.
    pub feature: String,
    /// The number of the newest write that was acknowledged.
    pub acknowledged: i64,
    /// The number of the write that is there; 0 is none.
    pub found: i64,
}

/// What is there, compared with what should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what a verification finds is in it"]
pub struct Verification {
    /// How many features, or sets of them, were compared.
    pub checked: usize,
    /// Acknowledged writes that are not there, nor anything newer.
    pub lost: Vec<Loss>,
    /// What no fault of a server excuses: a write that was reported as failed, a value that nobody wrote,
    /// half of a write.
    pub wrong: Vec<String>,
}

impl Verification {
    /// That nothing is wrong, whatever is lost: no fault excuses a value that was never written there, or was
    /// refused without a doubt.
    ///
    /// # Errors
    /// How much is, and some of it.
    pub fn nothing_wrong(&self) -> Result<(), String> {
        none("features are wrong", &(self.wrong.len(), self.wrong.clone()))
    }

    /// That nothing is lost and nothing wrong.
    ///
    /// # Errors
    /// How much is, and some of it.
    pub fn sound(&self) -> Result<(), String> {
        self.nothing_wrong()?;
        let loss = |loss: &Loss| format!("{loss:?}");
        none("acknowledged writes are lost", &(self.lost.len(), self.lost.iter().map(loss).collect()))
    }
}

/// That there are no faults of a kind; else how many, and some of them.
fn none(what: &str, (count, samples): &(usize, Vec<String>)) -> Result<(), String> {
    if *count == 0 {
        return Ok(());
    }
    let samples: Vec<&str> = samples.iter().take(SHOWN).map(String::as_str).collect();
    Err(format!("{count} {what}:\n  {}", samples.join("\n  ")))
}
