//! Writing batches.

use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{Error, ErrorKind, OnlineStore, WriteOutcome};
use tokio::sync::mpsc;

use crate::checkpoint::Marks;
use crate::error::Result;
use crate::progress::Tally;
use crate::row::{Accepted, Reject};

/// Rows of one input, which a worker writes together.
pub(crate) struct Batch {
    pub(crate) rows: Vec<Accepted>,
    /// The input's name, where there are several.
    pub(crate) input: Option<std::sync::Arc<str>>,
}

/// What a worker needs besides its batches.
pub(crate) struct Target {
    /// Gives the store for each write anew.
    pub(crate) store: Box<dyn Fn() -> feature_core::Result<OnlineStore> + Send + Sync>,
    pub(crate) tenant: String,
    pub(crate) view: String,
}

/// Writes batches one after another, so that rows of one entity keep their order.
///
/// # Errors
/// When the store no longer takes anything, or rejected rows cannot be kept.
pub(crate) async fn work(
    number: usize,
    target: &Target,
    mut batches: mpsc::Receiver<Batch>,
    tally: &Tally,
    marks: &Marks,
) -> Result<()> {
    while let Some(batch) = batches.recv().await {
        write(target, batch, tally).await?;
        marks.finish(number);
    }
    Ok(())
}

async fn write(target: &Target, batch: Batch, tally: &Tally) -> Result<()> {
    let mut delays = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(8)
        .with_jitter()
        .build();
    let Batch { mut rows, input } = batch;
    let reject = |row: &Accepted, error: &Error| {
        let mut reject = *Reject::new(row.number, error.to_string());
        reject.entity = Some(row.write.entity_key.to_string());
        reject.file = input.as_deref().map(str::to_owned);
        tally.reject(reject)
    };
    loop {
        let writes = rows.iter().map(|row| row.write.clone());
        let report = (target.store)()?.batch_write(&target.tenant, &target.view, writes).await?;
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
                    if !concerns_the_row_alone(error) && broken.is_none() {
                        broken = Some(tally.fail(error.clone().into()));
                    }
                    reject(&row, error)?;
                }
            }
        }
        if let Some(error) = broken {
            again.iter().try_for_each(|(row, error)| reject(row, error))?;
            return Err(error);
        }
        let Some((_, error)) = again.first() else { return Ok(()) };
        let error = error.clone();
        match delays.next() {
            Some(delay) => tokio::time::sleep(delay).await,
            None => {
                again.iter().try_for_each(|(row, error)| reject(row, error))?;
                // Others may go on where a single record is contended, but not without a store.
                return if error.kind() == ErrorKind::Conflict { Ok(()) } else { Err(error.into()) };
            }
        }
        rows = again.into_iter().map(|(row, _)| row).collect();
    }
}

/// Whether the next row may do better.
fn concerns_the_row_alone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::LimitExceeded | ErrorKind::Corrupt)
}
