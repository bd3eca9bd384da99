//! Loading files: a source reads rows, the pipeline writes them, what cannot be written is kept.

mod arrow;
mod csv;
mod lines;
mod ndjson;
mod parquet;
mod pipeline;
mod progress;
mod rejects;
mod row;
mod wanted;
mod worker;

pub(crate) use pipeline::{Ended, Report, ingest};
pub(crate) use row::Source;
pub(crate) use wanted::Wanted;
pub(crate) use worker::Job;

use std::fs::File;
use std::path::Path;

use crate::cli::InputFormat;
use crate::exit::{Failure, Result};

/// What a file is, by its name.
pub(crate) fn format_of(path: &Path) -> Result<InputFormat> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "parquet" | "pq" => Ok(InputFormat::Parquet),
        "csv" => Ok(InputFormat::Csv),
        "ndjson" | "jsonl" => Ok(InputFormat::Ndjson),
        _ => Err(Failure::Usage(format!(
            "cannot tell from its name what {} is: say --input-format parquet, csv or ndjson",
            path.display()
        ))),
    }
}

/// The rows of a file.
pub(crate) fn open(path: &Path, format: InputFormat, wanted: Wanted) -> Result<Source> {
    let cannot = |e: &dyn std::fmt::Display| Failure::Other(format!("cannot read {}: {e}", path.display()));
    let file = File::open(path).map_err(|e| cannot(&e))?;
    let metadata = file.metadata().map_err(|e| cannot(&e))?;
    if metadata.is_dir() {
        return Err(cannot(&"it is a directory"));
    }
    // A pipe has no length to measure progress by.
    let bytes = metadata.is_file().then_some(metadata.len());
    let source = match format {
        InputFormat::Parquet => parquet::open(file, wanted),
        InputFormat::Csv => csv::open(file, bytes, wanted),
        InputFormat::Ndjson => Ok(ndjson::open(file, bytes, wanted)),
    };
    source.map_err(|failure| match failure {
        Failure::Other(message) => cannot(&message),
        other => other,
    })
}
