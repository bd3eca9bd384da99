//! Writing batches, and what all workers share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{Error, ErrorKind, OnlineStore, WriteOutcome};
use tokio::sync::mpsc;

use super::rejects::Rejects;
use super::row::{Accepted, Reject};
use crate::exit::{Failure, Result};

/// Where the rows go, and how.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) tenant: String,
    pub(crate) view: String,
    /// How many rows are written at once.
    pub(crate) batch_size: usize,
    /// How many batches are written at a time.
    pub(crate) concurrency: usize,
    /// Where rejected rows go.
    pub(crate) rejects: PathBuf,
}

/// What has become of the rows so far, and where the rejected ones go.
pub(super) struct Tally {
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) superseded: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// How far the source is read, in its unit.
    pub(super) position: AtomicU64,
    rejects: Mutex<Rejects>,
}

impl Tally {
    pub(super) fn new(rejects: &Path) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            read: zero(),
            written: zero(),
            superseded: zero(),
            rejected: zero(),
            position: zero(),
            rejects: Mutex::new(Rejects::new(rejects)),
        }
    }

    /// Puts a row into the rejects file.
    pub(super) fn reject(&self, reject: &Reject) -> Result<()> {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.with_rejects(|rejects| rejects.add(reject))
    }

    /// Makes sure that the rejects file is complete.
    pub(super) fn flush(&self) -> Result<()> {
        self.with_rejects(Rejects::flush)
    }

    fn with_rejects(&self, work: impl FnOnce(&mut Rejects) -> io::Result<()>) -> Result<()> {
        let mut rejects = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut rejects).map_err(|e| Failure::Other(format!("cannot write the rejects file: {e}")))
    }
}

/// Writes batches one after another, so that rows of one entity keep their order.
///
/// # Errors
/// When the store no longer takes anything, or the rejects file cannot be written.
pub(super) async fn work(
    store: OnlineStore,
    job: &Job,
    mut batches: mpsc::Receiver<Vec<Accepted>>,
    tally: &Tally,
) -> Result<()> {
    while let Some(batch) = batches.recv().await {
        write(&store, job, batch, tally).await?;
    }
    Ok(())
}

async fn write(store: &OnlineStore, job: &Job, mut rows: Vec<Accepted>, tally: &Tally) -> Result<()> {
    let mut delays = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(8)
        .with_jitter()
        .build();
    loop {
        let writes = rows.iter().map(|row| row.write.clone());
        let report = store.batch_write(&job.tenant, &job.view, writes).await?;
        let mut again = Vec::new();
        let mut broken = None;
        for (row, outcome) in rows.into_iter().zip(report.rows()) {
            match outcome {
                Ok(outcome) => {
                    tally.written.fetch_add(1, Ordering::Relaxed);
                    let superseded = u64::from(*outcome == WriteOutcome::Superseded);
                    tally.superseded.fetch_add(superseded, Ordering::Relaxed);
                }
                Err(error) if error.is_retryable() => again.push((row, error.clone())),
                Err(error) => {
                    reject(&row, error, tally)?;
                    if !concerns_the_row_alone(error) {
                        broken = Some(error.clone());
                    }
                }
            }
        }
        if let Some(error) = broken {
            again.iter().try_for_each(|(row, error)| reject(row, error, tally))?;
            return Err(error.into());
        }
        let Some((_, error)) = again.first() else { return Ok(()) };
        let error = error.clone();
        match delays.next() {
            Some(delay) => tokio::time::sleep(delay).await,
            None => {
                again.iter().try_for_each(|(row, error)| reject(row, error, tally))?;
                // Others may go on where a single record is contended, but not without a store.
                return if error.kind() == ErrorKind::Conflict { Ok(()) } else { Err(error.into()) };
            }
        }
        rows = again.into_iter().map(|(row, _)| row).collect();
    }
}

fn reject(row: &Accepted, error: &Error, tally: &Tally) -> Result<()> {
    let mut reject = Reject::new(row.number, error.to_string());
    reject.entity = Some(row.write.entity_key.to_string());
    tally.reject(&reject)
}

/// Whether the next row may do better.
fn concerns_the_row_alone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::LimitExceeded | ErrorKind::Corrupt)
}
