//! What a load is asked to do.

use std::str::FromStr;

use feature_core::{Timestamp, Ttl, WriteMode};

use crate::error::IngestError;
use crate::time::{TimeUnit, Timezone};

/// What is taken from the columns of an input, and how it is written.
///
/// ```
/// use feature_ingest::IngestOptions;
/// let options = IngestOptions {
///     entity: vec!["tailnum".to_owned()],
///     timestamp: Some("time_hour".to_owned()),
///     ..IngestOptions::default()
/// };
/// assert_eq!(options.batch_size, 5000);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct IngestOptions {
    /// The columns that make the entity key; when empty, the entities of the declared view.
    pub entity: Vec<String>,
    /// The column of event times; without one every row has the time of [`now`](Self::now).
    pub timestamp: Option<String>,
    /// The unit of event times that are numbers, counted from 1970.
    pub timestamp_unit: Option<TimeUnit>,
    /// The zone of times that state none; UTC by default.
    pub timezone: Timezone,
    /// The feature columns; `None` is those of the declared view, or else all other columns.
    pub features: Option<Vec<String>>,
    /// Columns that are no features.
    pub exclude: Vec<String>,
    /// How long the records live; `None` is the TTL of the declared view, or for ever.
    pub ttl: Option<Ttl>,
    /// Whether a row replaces what is stored of its entity, or is merged with it.
    pub mode: WriteMode,
    /// What becomes of decimal numbers that no feature view gives a type.
    pub decimals: Decimals,
    /// The texts of CSV cells that mean null unless they are quoted.
    pub null_values: Vec<String>,
    /// What becomes of a feature column that one of several files lacks.
    pub missing_columns: MissingColumns,
    /// What the input is; `None` tells it from the name, or else from the content.
    pub format: Option<Format>,
    /// What separates the fields of a CSV file; `None` is a comma, or a tab in a `.tsv` file.
    pub delimiter: Option<u8>,
    /// How many rows are written at once, at least 1.
    pub batch_size: usize,
    /// Beyond how many bytes in memory a batch is written although it has fewer rows.
    pub batch_bytes: usize,
    /// How many bytes a row may have in a text; a longer line is rejected, a longer record of CSV or element of
    /// an array ends the load.
    pub row_bytes: usize,
    /// How many batches are written at a time, at least 1.
    pub concurrency: usize,
    /// The event time of rows without a column for it; `None` is the time at which the load begins.
    pub now: Option<Timestamp>,
}

/// What means null in a CSV cell without quotes, if nothing else is said.
pub const NULL_VALUES: [&str; 8] = ["", "NA", "N/A", "NaN", "null", "NULL", "None", "\\N"];

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            entity: Vec::new(),
            timestamp: None,
            timestamp_unit: None,
            timezone: Timezone::utc(),
            features: None,
            exclude: Vec::new(),
            ttl: None,
            mode: WriteMode::Merge,
            decimals: Decimals::Exact,
            null_values: NULL_VALUES.map(str::to_owned).to_vec(),
            missing_columns: MissingColumns::Refuse,
            format: None,
            delimiter: None,
            batch_size: 5000,
            batch_bytes: 64 << 20,
            row_bytes: 64 << 20,
            concurrency: 4,
            now: None,
        }
    }
}

/// What becomes of decimal numbers, which are no type of feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Decimals {
    /// Those without a fraction are `int64`, others `float64`; what would lose digits is refused.
    #[default]
    Exact,
    /// The nearest `float64`.
    Float64,
    /// Text with every digit.
    String,
}

/// What becomes of a feature column that one of several files lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MissingColumns {
    /// The load does not begin.
    #[default]
    Refuse,
    /// Its features are nulls in the rows of that file.
    Null,
}

impl FromStr for Decimals {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self, IngestError> {
        match name {
            "exact" => Ok(Self::Exact),
            "float64" => Ok(Self::Float64),
            "string" => Ok(Self::String),
            other => Err(IngestError::Request(format!(
                "decimals cannot become `{other}`; known are exact, float64 and string"
            ))),
        }
    }
}

impl FromStr for MissingColumns {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self, IngestError> {
        match name {
            "refuse" => Ok(Self::Refuse),
            "null" => Ok(Self::Null),
            other => Err(IngestError::Request(format!(
                "missing columns cannot be treated as `{other}`; known are refuse and null"
            ))),
        }
    }
}

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, also known as Feather: a file or a stream.
    Arrow,
    /// Values with a delimiter between them, and a header.
    Csv,
    /// JSON objects: one a line, or in an array.
    Json,
}

impl Format {
    /// The name, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

impl FromStr for Format {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self, IngestError> {
        match name {
            "parquet" => Ok(Self::Parquet),
            "arrow" => Ok(Self::Arrow),
            "csv" => Ok(Self::Csv),
            "json" | "ndjson" => Ok(Self::Json),
            other => Err(IngestError::Request(format!(
                "`{other}` is not a format; known are parquet, arrow, csv, json and ndjson"
            ))),
        }
    }
}
