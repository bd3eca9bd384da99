//! Records in files.
//!
//! Each row has a record twice: for readers its values, event times, expiry and floor, and for a restore the very
//! bytes of the store, which are exact to the last bit of a NaN, carry a checksum, and cost nothing to take apart.

mod ndjson;
mod parquet;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use feature_core::{Record, RecordKey};

use crate::error::{OpsError, Result};

/// How many rows are read from a file at a time.
pub(crate) const CHUNK_ROWS: usize = 1_000;

/// What the files of an export are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet, compressed.
    Parquet,
    /// A JSON object a line.
    Ndjson,
}

impl Format {
    /// What files of this format end in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson",
        }
    }

    /// The format that a file's name tells.
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

impl FromStr for Format {
    type Err = OpsError;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "parquet" => Ok(Self::Parquet),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err(OpsError::Request(format!("`{name}` is no format of exports: parquet, ndjson"))),
        }
    }
}

/// A record and its key, as a store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: RecordKey,
    pub(crate) bytes: Bytes,
}

/// A row, and what its bytes say.
pub(crate) struct Decoded {
    pub(crate) row: Row,
    pub(crate) record: Record,
}

/// Writes rows to a file.
pub(crate) trait Writer: Send {
    fn write(&mut self, rows: &[Decoded]) -> io::Result<()>;

    /// Ends the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The rows of a file, in chunks.
pub(crate) type Chunks = Box<dyn Iterator<Item = Result<Vec<Row>, String>> + Send>;

pub(crate) fn writer(format: Format, out: impl Write + Send + 'static) -> io::Result<Box<dyn Writer>> {
    Ok(match format {
        Format::Parquet => Box::new(parquet::ParquetFile::new(out)?),
        Format::Ndjson => Box::new(ndjson::Lines::new(out)),
    })
}

/// The rows of a file; `place` is how its user knows it.
pub(crate) fn read(file: File, place: &str, format: Format) -> Result<Chunks> {
    match format {
        Format::Parquet => parquet::read(file).map_err(|e| OpsError::cannot("read", place, e)),
        Format::Ndjson => Ok(ndjson::read(file)),
    }
}

/// The features as a JSON object, for readers.
fn write_features(record: &Record, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, value)) in record.features.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        value.write_json(out);
    }
    out.push(b'}');
}

/// The event times of the features whose own is older than the record's.
fn write_times(record: &Record, out: &mut Vec<u8>) {
    out.push(b'{');
    let names: Vec<&str> = record.features.iter().map(|(name, _)| name).collect();
    let own = record.times.iter().filter_map(|(index, time)| Some((names.get(*index)?, time)));
    for (at, (name, time)) in own.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_text(&time.to_string(), out);
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Nothing keeps a text from being written into memory.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok());
}
