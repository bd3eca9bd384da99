//! `import`: the records of an export back into a store.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feature_core::{OnlineStore, ViewKey};
use feature_ops::{Import, ImportCheckpoint, ImportOptions, ImportProgress};
use serde_json::json;

use super::{Open, per_second, scope};
use crate::checkpoint;
use crate::cli::ImportArgs;
use crate::exit::{Exit, Failure, Result, say};
use crate::exports;
use crate::output::Output;
use crate::progress::shown;

/// How often the checkpoint is kept.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// How many of the records that the store does not take are named.
const NAMED: u64 = 100;

pub(super) async fn run(open: &Open, args: ImportArgs, output: &mut Output) -> Result<Exit> {
    let ImportArgs { from, records, concurrency, checkpoint: file, unfinished } = args;
    let files = exports::files(from).await?;
    if files.is_unfinished() && !unfinished {
        return Err(Failure::Usage(
            "the export was stopped before its end: run it again, or say --unfinished".to_owned(),
        ));
    }
    let mut import = Import::new(files, ImportOptions { concurrency: concurrency as usize });
    if let Some(stopped) = file.as_deref().map(checkpoint::read).transpose()?.flatten() {
        say("fstore: going on where the import stopped");
        import = import.resume(stopped)?;
    }
    let store = match open {
        Open::One(backend) => OnlineStore::new(Arc::clone(backend)),
        Open::Described(store, _) => store.online().clone(),
    };
    let store = store.with_deadline(open.batch_deadline());
    let scope = scope(records.tenant.as_deref(), records.view.as_deref())?;
    let prefix = scope.prefix();
    let kept = |view: &ViewKey| view.prefix().starts_with(&prefix) && open.is_exported(view);

    let (began, now) = (Instant::now(), Cell::new(ImportProgress::default()));
    let message = || {
        let ImportProgress { read, applied, failed, .. } = now.get();
        format!("{read} records read, {applied} applied, {failed} failed")
    };
    let (mut last, mut last_kept): (Option<ImportCheckpoint>, _) = (None, began);
    let mut told = 0;
    let tell = |progress: &ImportProgress, at: &ImportCheckpoint| {
        now.set(*progress);
        if let Some(file) = file.as_deref().filter(|_| last_kept.elapsed() >= KEEP_EVERY) {
            // What cannot be kept now may be at the end, which is then said.
            let _ = checkpoint::write(file, at);
            last_kept = Instant::now();
        }
        last = Some(at.clone());
    };
    let failed = |error| {
        told += 1;
        if told <= NAMED {
            say(format_args!("fstore: {error}"));
        }
    };
    let done = shown(message, import.run(&store, kept, tell, failed)).await;
    if let Some(file) = &file {
        checkpoint::keep(file, done.as_ref().err().and(last.as_ref()))?;
    }
    let done = done?;
    let took = began.elapsed();
    output.record(&[
        ("records_read", json!(done.read)),
        ("applied", json!(done.applied)),
        ("superseded", json!(done.superseded)),
        ("passed_over", json!(done.passed_over)),
        ("failed", json!(done.failed)),
        ("seconds", json!((took.as_secs_f64() * 1000.0).round() / 1000.0)),
        ("records_per_second", json!(per_second(done.read, took))),
    ])?;
    Ok(if done.failed == 0 { Exit::Done } else { Exit::Partly })
}
