//! `migrate`: move records from one store to another while they are written and read.

use feature_core::Scope;
use feature_store::unified::{Comparison, MigrationProgress, MigrationStatus, StartOptions};
use serde_json::{Value, json};

use super::Open;
use crate::cli::{MigrateCommand, Moved};
use crate::exit::{Exit, Failure, Result, say};
use crate::output::Output;
use crate::progress::shown;

pub(super) async fn run(open: &Open, command: MigrateCommand, output: &mut Output) -> Result<Exit> {
    let Open::Described(store, _) = open else {
        let message = "a migration is between stores of a settings file: say --config FILE";
        return Err(Failure::Usage(message.to_owned()));
    };
    let migrations = store.migrations();
    let progress = &MigrationProgress::default();
    let message = || {
        format!(
            "{}: {} records, {} copied, {} failed, {} differ",
            progress.step().text(),
            progress.looked_at(),
            progress.copied(),
            progress.failed(),
            progress.differing()
        )
    };
    let status = match command {
        MigrateCommand::Status => migrations.status().await?,
        MigrateCommand::Start { moved, to, purge_target, rows_per_second } => {
            let options = StartOptions { purge_target, rows_per_second };
            vec![shown(message, migrations.start(&scope(&moved)?, &to, options, progress)).await?]
        }
        MigrateCommand::Verify { moved, repair } => {
            let comparison = shown(message, migrations.verify(&scope(&moved)?, repair, progress)).await?;
            return compared(&comparison, output);
        }
        MigrateCommand::Cutover { moved, force } => {
            vec![shown(message, migrations.cutover(&scope(&moved)?, force, progress)).await?]
        }
        MigrateCommand::Finish { moved, force } => {
            vec![shown(message, migrations.finish(&scope(&moved)?, force, progress)).await?]
        }
        MigrateCommand::Abort { moved, purge_target } => {
            shown(message, migrations.abort(&scope(&moved)?, purge_target, progress)).await?;
            output.record(&[("ended", json!(true)), ("purged", json!(purge_target))])?;
            return Ok(Exit::Done);
        }
    };
    show(&status, output)?;
    Ok(Exit::Done)
}

fn scope(moved: &Moved) -> Result<Scope> {
    let Moved { tenant, view } = moved;
    Ok(view.as_ref().map_or_else(|| Scope::tenant(tenant), |view| Scope::view(tenant, view))?)
}

fn show(all: &[MigrationStatus], output: &mut Output) -> Result<()> {
    let mut rows = output.rows(&[
        "tenant",
        "view",
        "from",
        "to",
        "phase",
        "followed",
        "since",
        "looked_at",
        "copied",
        "verified",
        "differing",
    ]);
    for status in all {
        let (tenant, view) = match &status.scope {
            Scope::View(view) => (json!(view.tenant()), json!(view.view())),
            Scope::Tenant(tenant) => (json!(tenant), Value::Null),
            Scope::Store => (Value::Null, Value::Null),
        };
        let verified = status.verified.as_ref();
        rows.push(vec![
            tenant,
            view,
            json!(status.from),
            json!(status.to),
            json!(status.phase.name()),
            json!(status.followed),
            json!(status.since),
            json!(status.looked_at),
            json!(status.copied),
            verified.map_or(Value::Null, |verified| json!(verified.at)),
            verified.map_or(Value::Null, |verified| json!(verified.differing)),
        ])?;
    }
    rows.finish()
}

fn compared(comparison: &Comparison, output: &mut Output) -> Result<Exit> {
    let counts = &comparison.counts;
    for (key, difference) in &comparison.examples {
        say(format_args!("fstore: {key}: {}", difference.text()));
    }
    output.record(&[
        ("source_records", json!(counts.source_records)),
        ("target_records", json!(counts.target_records)),
        ("repaired", json!(comparison.repaired)),
        ("differing", json!(counts.differing)),
    ])?;
    Ok(if counts.differing == 0 { Exit::Done } else { Exit::Partly })
}
