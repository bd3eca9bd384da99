//! The arguments of `ingest`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use feature_core::Ttl;
use feature_ingest::{Decimals, Format, IngestOptions, MissingColumns, TimeUnit, Timezone};

use super::Place;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct IngestArgs {
    /// Files, patterns such as 'day-*.csv', folders, URLs such as s3://bucket/file.parquet; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Show what each column would become, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The columns that make the entity key; by default the entities of the applied view.
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    entity: Vec<String>,
    /// The column of event times; without it all rows have the time of the start.
    #[arg(long, value_name = "COLUMN")]
    timestamp: Option<String>,
    /// The unit of event times that are numbers, counted from 1970.
    #[arg(long, value_name = "UNIT", value_parser = one_of::<TimeUnit>(&["s", "ms", "us", "ns"]))]
    timestamp_unit: Option<TimeUnit>,
    /// The zone of times that state none, such as Europe/Berlin or +02:00; by default UTC.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<Timezone>,
    /// The feature columns; by default those of the applied view, or else all other columns.
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    features: Vec<String>,
    /// Columns that are no features.
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    exclude: Vec<String>,
    /// How long records live, such as 7d; by default the TTL of the applied view, or for ever.
    #[arg(long)]
    ttl: Option<Ttl>,
    /// What decimals become that no view gives a type: what keeps their digits, or else what is said here.
    #[arg(long, default_value = "exact", value_name = "TYPE",
          value_parser = one_of::<Decimals>(&["exact", "float64", "string"]))]
    decimal: Decimals,
    /// The texts of CSV cells that mean null, unless they are quoted; by default empty, NA, N/A, NaN, null,
    /// NULL, None and \\N.
    #[arg(long, value_delimiter = ',', value_name = "TEXTS")]
    null_values: Option<Vec<String>>,
    /// What becomes of a feature column that one of several files lacks.
    #[arg(long, default_value = "refuse", value_name = "WHAT",
          value_parser = one_of::<MissingColumns>(&["refuse", "null"]))]
    missing_columns: MissingColumns,
    /// What the files are; by default told from their names, or else from what is in them.
    #[arg(long, value_name = "FORMAT",
          value_parser = one_of::<Format>(&["parquet", "arrow", "csv", "json", "ndjson"]))]
    input_format: Option<Format>,
    /// What separates the fields of a CSV file: one character, or `tab`; by default a comma.
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// How many rows are written at once.
    #[arg(long, default_value_t = 5000, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,
    /// How many batches are written at a time.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    /// Where rejected rows go; by default the name of FILE with `.rejects.ndjson`, in the current directory.
    /// Made (or overwritten) when a row is rejected.
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// Keep in this file how far the load is, and go on from there if it was stopped before its end.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) checkpoint: Option<PathBuf>,
}

const HELP: &str = "\
    Rows of one entity reach the store in the order of the files, whatever the batch size and concurrency: \
    the newest event time wins, and of equal ones the later row. Running it again is harmless.

A null is an explicit null. In JSON a name that an object lacks is not written. The types of CSV cells are \
    those of the applied view, or else told from the first 1,000 rows of each file. Times without a zone are \
    UTC; 01/02/2024 is no time. A folder named `country=US` gives its files a column. gzip and zstd are told \
    from the content.

A row that cannot be written goes to the rejects file with its number (from 1, without header and empty \
    lines) and the reason; the others are written, and the exit code is 3.";

impl IngestArgs {
    /// What a load is asked to do.
    pub(crate) fn options(&self) -> IngestOptions {
        let usual = IngestOptions::default();
        IngestOptions {
            entity: self.entity.clone(),
            timestamp: self.timestamp.clone(),
            timestamp_unit: self.timestamp_unit,
            timezone: self.timezone.clone().unwrap_or(usual.timezone),
            features: (!self.features.is_empty()).then(|| self.features.clone()),
            exclude: self.exclude.clone(),
            ttl: self.ttl,
            mode: usual.mode,
            decimals: self.decimal,
            null_values: self.null_values.clone().unwrap_or(usual.null_values),
            missing_columns: self.missing_columns,
            format: self.input_format,
            delimiter: self.delimiter,
            batch_size: self.batch_size as usize,
            batch_bytes: usual.batch_bytes,
            row_bytes: usual.row_bytes,
            concurrency: self.concurrency as usize,
            now: None,
        }
    }
}

/// What has one of these names.
fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("expected one ASCII character other than a quote, or `tab`".to_owned()),
    }
}
