//! `ingest`: a file into the store.

use std::path::{Path, PathBuf};

use feature_core::{Clock, SystemClock};
use serde_json::json;

use super::Open;
use crate::cli::IngestArgs;
use crate::exit::{Exit, Result, say};
use crate::ingest::{self, Ended, Job, Report, Wanted};
use crate::output::Output;

pub(super) async fn run(open: &Open, args: IngestArgs, output: &mut Output) -> Result<Exit> {
    let IngestArgs { file, place, entity, timestamp, timestamp_unit, features, ttl, .. } = args;
    let store = open.store(Some(&place.view)).await?.with_deadline(open.batch_deadline());
    let view = store.view(&place.view).cloned();
    let of_view = || view.as_ref().map(|view| view.entities.clone()).unwrap_or_default();
    let wanted = Wanted {
        entity: if entity.is_empty() { of_view() } else { entity },
        timestamp,
        unit: timestamp_unit,
        features: (!features.is_empty()).then_some(features),
        ttl,
        now: SystemClock.now(),
        view,
    };
    wanted.check()?;
    let format = args.input_format.map_or_else(|| ingest::format_of(&file), Ok)?;
    let job = Job {
        tenant: place.tenant,
        view: place.view,
        batch_size: args.batch_size as usize,
        concurrency: args.concurrency as usize,
        rejects: args.rejects.unwrap_or_else(|| usual_rejects(&file)),
    };
    let rejects = job.rejects.clone();
    let source = ingest::open(&file, format, wanted)?;
    let report = ingest::ingest(&store, job, source, interrupted()).await;
    summary(&report, &rejects, output)?;
    match report.ended {
        Ended::Failed(failure) => Err(failure),
        Ended::Interrupted => {
            say("fstore: interrupted; what had been read is written. Run it again to load the rest.");
            Ok(Exit::Interrupted)
        }
        Ended::Complete if report.rejected > 0 => Ok(Exit::Partly),
        Ended::Complete => Ok(Exit::Done),
    }
}

fn usual_rejects(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or(file.as_os_str()).to_owned();
    name.push(".rejects.ndjson");
    name.into()
}

/// Ends when the user presses Ctrl-C. Pressed again, it ends the process.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    say("fstore: stopping; Ctrl-C again to stop at once");
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
}

fn summary(report: &Report, rejects: &Path, output: &mut Output) -> Result<()> {
    let Report { read, written, superseded, rejected, entities, took, ended } = report;
    let seconds = took.as_secs_f64();
    let rate = (*read as f64 / seconds.max(1e-6)).round() as u64;
    output.record(&[
        ("rows_read", json!(read)),
        ("written", json!(written)),
        ("of_which_superseded", json!(superseded)),
        ("rejected", json!(rejected)),
        ("rejects_file", json!((*rejected > 0).then(|| rejects.display().to_string()))),
        ("entities", entities.map_or_else(|| json!("more than 1000000"), |n| json!(n))),
        ("seconds", json!((seconds * 1000.0).round() / 1000.0)),
        ("rows_per_second", json!(rate)),
        ("complete", json!(matches!(ended, Ended::Complete))),
    ])
}
