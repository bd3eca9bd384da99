//! `export`: records into files.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use feature_core::SystemClock;
use feature_ops::{Export, ExportOptions, ExportProgress, Format};
use serde_json::json;

use super::{Open, per_second, scope};
use crate::cli::ExportArgs;
use crate::exit::{Exit, Result, say};
use crate::exports;
use crate::output::Output;
use crate::progress::shown;

pub(super) async fn run(open: &Open, args: ExportArgs, output: &mut Output) -> Result<Exit> {
    let ExportArgs { records, to, files, part_records } = args;
    let mut options = ExportOptions {
        scope: scope(records.tenant.as_deref(), records.view.as_deref())?,
        format: files.parse()?,
        part_records,
    };
    let to_output = to.as_os_str() == "-";
    let export = match Format::of_name(&to).filter(|_| !exports::is_url(&to)) {
        _ if to_output => {
            options.format = Format::Ndjson;
            Export::to_writer(io::stdout(), &options)
        }
        Some(_) => Export::to_file(&to, &options)?,
        None => to_folder(to, options).await?,
    };
    if export.resumed() > 0 {
        say(format_args!("fstore: going on where the export stopped, after {} records", export.resumed()));
    }
    let (began, progress) = (Instant::now(), ExportProgress::default());
    let message = || format!("{} records read, {} written", progress.read(), progress.written());
    let kept = |view: &_| open.is_exported(view);
    let report = shown(message, export.run(&**open.backend(), &SystemClock, kept, &progress)).await?;
    let took = began.elapsed();
    for failure in &report.failures {
        say(format_args!("fstore: {failure}"));
    }
    if to_output {
        say(format_args!("fstore: {} records, {} damaged", report.records, report.damaged));
    } else {
        output.record(&[
            ("records", json!(report.records)),
            ("of_which_resumed", json!(report.resumed)),
            ("expired_left_out", json!(report.expired)),
            ("damaged_left_out", json!(report.damaged)),
            ("files", json!(report.files)),
            ("seconds", json!((took.as_secs_f64() * 1000.0).round() / 1000.0)),
            ("records_per_second", json!(per_second(report.records - report.resumed, took))),
        ])?;
    }
    Ok(if report.damaged == 0 { Exit::Done } else { Exit::Partly })
}

/// Looks at what an export that was stopped has, which may take a while.
async fn to_folder(to: PathBuf, options: ExportOptions) -> Result<Export> {
    exports::blocking(move || Ok(Export::to_folder(exports::folder(&to)?, &options, &SystemClock)?)).await
}
