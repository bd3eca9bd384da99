//! `ingest`: files into the store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use feature_core::ValueType;
use feature_ingest::{ColumnPlan, ColumnRole, Ended, Load, RejectsFile, Report};
use serde_json::{Map, Value, json};

use super::Open;
use crate::checkpoint;
use crate::cli::IngestArgs;
use crate::exit::{Exit, Result, say};
use crate::ingest_progress::Shown;
use crate::output::Output;

pub(super) async fn run(open: &Open, args: IngestArgs, output: &mut Output) -> Result<Exit> {
    let store = open.store(Some(&args.place.view)).await?.with_deadline(open.batch_deadline());
    let mut load = Load::open(&args.files, args.options(), store.view(&args.place.view)).await?;
    if args.dry_run {
        return dry_run(&load, output);
    }
    let rejects = args.rejects.clone().unwrap_or_else(|| usual_rejects(load.inputs()));
    let mut rejects_file = RejectsFile::new(&rejects);
    if let Some(stopped) = args.checkpoint.as_deref().map(checkpoint::read).transpose()?.flatten() {
        say("fstore: going on where the load stopped");
        load = load.resume(&stopped)?;
        rejects_file = rejects_file.append();
    }
    announce(&load);
    let columns = types(load.columns());
    let notes = notes(&load);
    let (shown, kept) = (Shown::new(), args.checkpoint.clone());
    let load = load.rejects(rejects_file).on_progress(Duration::from_millis(100), move |progress, now| {
        shown.show(progress);
        // What cannot be kept now may be at the end, which is then said.
        let _ = kept.as_deref().map(|file| checkpoint::write(file, now));
    });
    let report = load.run(&store, &args.place.tenant, &args.place.view, interrupted()).await;
    let kept =
        args.checkpoint.as_deref().map(|file| checkpoint::keep(file, report.checkpoint.as_ref())).transpose();
    summary(&report, &rejects, columns, &notes, output)?;
    match report.ended {
        Ended::Failed(failure) => Err(failure.into()),
        Ended::Interrupted => {
            say("fstore: interrupted; what had been read is written. Run it again to load the rest.");
            kept.map(|_| Exit::Interrupted)
        }
        Ended::Complete if report.progress.rejected > 0 => kept.map(|_| Exit::Partly),
        Ended::Complete => kept.map(|_| Exit::Done),
    }
}

fn dry_run(load: &Load, output: &mut Output) -> Result<Exit> {
    let mut rows = output.rows(&["column", "found", "role", "becomes", "note"]);
    for column in load.columns() {
        rows.push(vec![
            json!(column.name),
            json!(column.found),
            json!(column.role.name()),
            json!(column.becomes.map(ValueType::name)),
            json!(column.note),
        ])?;
    }
    rows.finish()?;
    load.notes().iter().for_each(|note| say(format_args!("fstore: {note}")));
    Ok(Exit::Done)
}

/// Says before the load what its columns become.
fn announce(load: &Load) {
    let files = match load.inputs() {
        [one] => one.name().to_owned(),
        several => format!("{} files", several.len()),
    };
    let features = types(load.columns());
    let list = features.iter().map(|(name, of)| format!("{name} {}", of.as_str().unwrap_or_default()));
    say(format_args!("fstore: {files}: {}", list.collect::<Vec<_>>().join(", ")));
    notes(load).iter().for_each(|note| say(format_args!("fstore: {note}")));
}

/// The features, and what their columns become.
fn types(columns: &[ColumnPlan]) -> Map<String, Value> {
    let features = columns.iter().filter(|column| column.role == ColumnRole::Feature);
    let of = |column: &ColumnPlan| column.becomes.map_or("as each value is", ValueType::name);
    features.map(|column| (column.name.clone(), json!(of(column)))).collect()
}

fn notes(load: &Load) -> Vec<String> {
    let of_columns = load.columns().iter().zip(1..).filter_map(|(column, number)| {
        let name = match column.name.as_str() {
            "" => format!("column {number}, which has no name"),
            name => format!("column `{name}`"),
        };
        Some(format!("{name}: {}", column.note.as_ref()?))
    });
    of_columns.chain(load.notes().iter().cloned()).collect()
}

fn usual_rejects(inputs: &[feature_ingest::Input]) -> PathBuf {
    let name = inputs.first().map_or("", |input| input.name());
    let name =
        name.rsplit(['/', std::path::MAIN_SEPARATOR]).find(|part| !part.is_empty()).unwrap_or("ingest");
    format!("{name}.rejects.ndjson").into()
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

fn summary(
    report: &Report,
    rejects: &Path,
    columns: Map<String, Value>,
    notes: &[String],
    output: &mut Output,
) -> Result<()> {
    let progress = &report.progress;
    let seconds = report.took.as_secs_f64();
    let rate = (progress.read as f64 / seconds.max(1e-6)).round() as u64;
    let mut properties = vec![
        ("rows_read", json!(progress.read)),
        ("written", json!(progress.written)),
        ("of_which_superseded", json!(progress.superseded)),
        ("rejected", json!(progress.rejected)),
        ("rejects_file", json!((progress.rejected > 0).then(|| rejects.display().to_string()))),
        ("entities", report.entities.map_or_else(|| json!("more than 1000000"), |n| json!(n))),
    ];
    if progress.times_cut > 0 {
        properties.push(("event_times_cut_to_microseconds", json!(progress.times_cut)));
    }
    properties.push(("columns", Value::Object(columns)));
    if !notes.is_empty() {
        properties.push(("notes", json!(notes)));
    }
    properties.extend([
        ("seconds", json!((seconds * 1000.0).round() / 1000.0)),
        ("rows_per_second", json!(rate)),
        ("complete", json!(matches!(report.ended, Ended::Complete))),
    ]);
    output.record(&properties)
}
