//! `forget`: every record of an entity, out of every store.

use std::io::{self, BufRead, IsTerminal, Write};

use feature_ops::{Forget, ForgetProgress};
use serde_json::json;

use super::Open;
use crate::cli::ForgetArgs;
use crate::exit::{Exit, Failure, Result, say};
use crate::output::Output;
use crate::progress::shown;

pub(super) async fn run(open: &Open, args: ForgetArgs, output: &mut Output) -> Result<Exit> {
    let ForgetArgs { tenant, entity, dry_run, yes } = args;
    if !dry_run && !yes {
        let what = format!("every record of {entity} of tenant `{tenant}`");
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage(format!("this removes {what}: say --yes, or --dry-run")));
        }
        write!(io::stderr(), "Remove {what}, in all stores? [y/N] ")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::Other("nothing was removed".to_owned()));
        }
    }
    let forget = Forget { tenant, entity, dry_run, patience: open.batch_deadline() };
    let progress = ForgetProgress::default();
    let message = || format!("{} records looked at", progress.looked_at());
    let report = shown(message, forget.run(&open.stores(), &progress)).await?;
    let mut rows = output.rows(&["store", "key", "bytes", "removed"]);
    for record in &report.records {
        rows.push(vec![
            json!(record.store),
            json!(record.key.to_string()),
            json!(record.bytes),
            json!(!dry_run),
        ])?;
    }
    rows.finish()?;
    for (store, records) in &report.looked_at {
        say(format_args!("fstore: store `{store}`: {records} records of the tenant looked at"));
    }
    let count = report.records.len();
    say(match (dry_run, report.proven) {
        (true, _) => format!("fstore: {count} records would be removed"),
        (false, true) if count > 0 => format!("fstore: {count} records removed; looked again, none is left"),
        (false, _) => "fstore: there is no record of it".to_owned(),
    });
    Ok(Exit::Done)
}
