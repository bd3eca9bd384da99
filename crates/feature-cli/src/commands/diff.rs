//! `diff`: whether two stores or exports have the same records.

use std::path::Path;
use std::time::Duration;

use feature_core::{SYSTEM_TENANT, SystemClock, Timestamp, ViewKey};
use feature_ingest::ObjectFolder;
use feature_ops::{Diff, DiffProgress, Format, Side, Source};
use feature_store::{Catalog, Connector};
use serde_json::json;

use super::scope;
use crate::cli::{DiffArgs, Target};
use crate::exit::{Exit, Failure, Result, say};
use crate::exports;
use crate::output::Output;
use crate::progress::shown;
use crate::settings;

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(target: &Target, args: DiffArgs, output: &mut Output) -> Result<Exit> {
    let DiffArgs { a, b, records, limit } = args;
    let scope = scope(records.tenant.as_deref(), records.view.as_deref())?;
    let (a, b) = (source(target, &a).await?, source(target, &b).await?);
    let diff = Diff { scope, examples: limit, patience: PATIENCE };
    let progress = DiffProgress::default();
    let message = || format!("{} records read", progress.read());
    let kept = |view: &ViewKey| view.tenant() != SYSTEM_TENANT || view.view() == Catalog::VIEW;
    let report = shown(message, diff.run(&a, &b, &SystemClock, kept, &progress)).await;
    for side in [&a, &b] {
        if let Source::Store(store) = side {
            store.close().await?;
        }
    }
    let report = report?;
    let time = |time: Option<Timestamp>| time.map_or_else(|| "nothing".to_owned(), |time| time.to_string());
    for difference in &report.examples {
        let what = match difference.only_in() {
            Some(Side::A) => "only A has it",
            Some(Side::B) => "only B has it",
            None if difference.a > difference.b => "A is newer",
            None if difference.a < difference.b => "B is newer",
            None => "they differ, of the same event time",
        };
        let (a, b) = (time(difference.a), time(difference.b));
        say(format_args!("fstore: {}: {what} (A: {a}, B: {b})", difference.key));
    }
    output.record(&[
        ("records_a", json!(report.records_a)),
        ("records_b", json!(report.records_b)),
        ("only_a", json!(report.only_a)),
        ("only_b", json!(report.only_b)),
        ("differing", json!(report.differing)),
        ("equal", json!(report.is_equal())),
    ])?;
    Ok(if report.is_equal() { Exit::Done } else { Exit::Partly })
}

/// What a user means: a store of the settings file, an export, or the URL of either.
async fn source(target: &Target, text: &str) -> Result<Source> {
    let connector = Connector::new().create_missing(false);
    if let Target::Settings(file) = target
        && let Some(entry) = settings::load(file)?.stores.iter().find(|entry| entry.name == text)
    {
        return Ok(Source::Store(connector.connect_to(&entry.url).await?));
    }
    let path = Path::new(text);
    let is_file = path.is_dir() || (Format::of_name(path).is_some() && path.exists());
    if is_file || ObjectFolder::is_named(text) {
        return Ok(Source::Export(exports::files(vec![path.to_owned()]).await?));
    }
    let url = connector.parse(text).map_err(Failure::usage)?;
    Ok(Source::Store(connector.connect_to(&url).await?))
}
