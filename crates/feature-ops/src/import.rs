//! Records of files into a store.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{Error, ErrorKind, OnlineStore, Record, RecordKey, ViewKey, WriteOutcome};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::error::{OpsError, Result};
use crate::source::{Chunk, ExportFiles};

/// How an import goes about it.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// How many batches of 1,000 records are on their way at a time. Default 4.
    pub concurrency: usize,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { concurrency: 4 }
    }
}

/// An import that can run.
#[derive(Debug)]
pub struct Import {
    files: ExportFiles,
    options: ImportOptions,
    start: ImportCheckpoint,
}

/// How far an import is, and so what it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Records read.
    pub read: u64,
    /// Records by which the store has changed.
    pub applied: u64,
    /// Records of which the store had everything already, as new or newer, or which have expired.
    pub superseded: u64,
    /// Records of views that were not wanted.
    pub passed_over: u64,
    /// Records that the store did not take.
    pub failed: u64,
}

/// Up to where everything is in the store. Records behind may be, too: to import them again changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportCheckpoint {
    /// The files, by name and bytes.
    files: Vec<(String, u64)>,
    /// How many groups of them, which are read side by side, are done.
    done: usize,
    /// How many rows of the next are.
    rows: u64,
}

impl Import {
    /// An import of these files.
    pub fn new(files: ExportFiles, options: ImportOptions) -> Self {
        let start = ImportCheckpoint { files: files.sizes().collect(), done: 0, rows: 0 };
        Self { files, options, start }
    }

    /// Goes on where an import of the same files stopped.
    ///
    /// # Errors
    /// `Request` when the files are others.
    pub fn resume(mut self, checkpoint: ImportCheckpoint) -> Result<Self> {
        if checkpoint.files != self.start.files {
            return Err(OpsError::Request(
                "the files are not those of the import that stopped: other names, or other sizes".to_owned(),
            ));
        }
        self.start = checkpoint;
        Ok(self)
    }

    /// Joins the records of the views that `keep` names with what the store has, by
    /// [`OnlineStore::merge_records`]. `tell` hears after each batch how far it is, and from where it could go
    /// on; `failed` hears of each record that the store does not take.
    ///
    /// # Errors
    /// What keeps the files from being read; what the store reports that is not about a record, after some
    /// attempts.
    pub async fn run(
        self,
        store: &OnlineStore,
        keep: impl Fn(&ViewKey) -> bool,
        mut tell: impl FnMut(&ImportProgress, &ImportCheckpoint),
        mut failed: impl FnMut(Error),
    ) -> Result<ImportProgress> {
        let Self { files, options, start } = self;
        let (mut at, mut progress) = (start.clone(), ImportProgress::default());
        let begun = move |chunk: &Result<Chunk>| {
            let done = |chunk: &Chunk| chunk.group == start.done && chunk.end <= start.rows;
            std::future::ready(!chunk.as_ref().is_ok_and(done))
        };
        let keep = &keep;
        let batches = files.chunks(at.done).filter(begun).map(|chunk| async move {
            let Chunk { group, end, rows } = chunk?;
            let read = rows.len() as u64;
            let mut failures = Vec::new();
            let mut records = Vec::with_capacity(rows.len());
            for row in rows.into_iter().filter(|row| keep(row.key.view())) {
                match Record::decode(&row.bytes) {
                    Ok(record) => records.push((row.key, record)),
                    Err(error) => failures.push(error.with_key(&row.key)),
                }
            }
            let passed_over = read - (records.len() + failures.len()) as u64;
            let outcomes = join(store, records, &mut failures).await?;
            Ok::<_, OpsError>((group, end, read, passed_over, outcomes, failures))
        });
        // In their order, so that what is behind the last of them is done.
        let mut batches = std::pin::pin!(batches.buffered(options.concurrency.max(1)));
        while let Some(batch) = batches.next().await {
            let (group, end, read, passed_over, outcomes, failures) = batch?;
            let applied = outcomes.iter().filter(|outcome| **outcome == WriteOutcome::Applied).count();
            progress.read += read;
            progress.passed_over += passed_over;
            progress.applied += applied as u64;
            progress.superseded += (outcomes.len() - applied) as u64;
            progress.failed += failures.len() as u64;
            failures.into_iter().for_each(&mut failed);
            (at.done, at.rows) = (group, end);
            tell(&progress, &at);
        }
        Ok(progress)
    }
}

/// Joins records with what the store has, again where that may help.
async fn join(
    store: &OnlineStore,
    mut records: Vec<(RecordKey, Record)>,
    failures: &mut Vec<Error>,
) -> Result<Vec<WriteOutcome>> {
    let mut delays = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(8)
        .with_jitter()
        .build();
    let mut outcomes = Vec::with_capacity(records.len());
    while !records.is_empty() {
        let report = store.merge_records(records.clone()).await;
        let delay = delays.next();
        let mut again = Vec::new();
        for (record, outcome) in records.into_iter().zip(report.rows()) {
            match outcome {
                Ok(outcome) => outcomes.push(*outcome),
                Err(error) if error.is_retryable() && delay.is_some() => again.push(record),
                Err(error) if is_about_the_record(error) => failures.push(error.clone()),
                Err(error) => return Err(error.clone().into()),
            }
        }
        records = again;
        if let (Some(delay), false) = (delay, records.is_empty()) {
            tokio::time::sleep(delay).await;
        }
    }
    Ok(outcomes)
}

/// Whether the next record may do better.
fn is_about_the_record(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::LimitExceeded | ErrorKind::Corrupt | ErrorKind::Conflict
    )
}
