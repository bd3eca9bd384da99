//! The formats: from an input to columns, and from columns to rows.

#[cfg(any(feature = "arrow", feature = "parquet"))]
mod arrow;
#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "csv")]
mod fields;
#[cfg(feature = "arrow")]
mod ipc;
mod json;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "arrow")]
mod sizes;
#[cfg(any(feature = "arrow", feature = "parquet"))]
mod table;
#[cfg(any(feature = "arrow", feature = "parquet"))]
mod types;

use std::sync::Arc;

use crate::error::Result;
use crate::input::Input;
use crate::layout::Layout;
use crate::mapping::Mapping;
use crate::options::{Format, IngestOptions};
use crate::row::Chunks;
use crate::schema::SourceColumn;

/// An input whose beginning has been read.
pub(crate) trait Source: Send {
    /// The columns, in the order of the input. A format without fixed columns gives those of its first rows.
    fn columns(&self) -> Vec<SourceColumn>;

    /// Whether every row has these columns and no others.
    fn has_fixed_columns(&self) -> bool {
        true
    }

    /// The rows, after so many that are passed over. The error says why they cannot be read.
    fn rows(self: Box<Self>, layout: Layout, mapping: Arc<Mapping>, skip: u64) -> Result<Chunks, String>;
}

/// Opens an input and reads its beginning; `None` when there is nothing in it.
pub(crate) fn open(
    input: &Input,
    mapping: &Arc<Mapping>,
    options: &Reading,
) -> Result<Option<Box<dyn Source>>> {
    #[cfg(feature = "arrow")]
    if let Some(batches) = input.take_batches()? {
        return Ok(Some(ipc::of_batches(batches, mapping)));
    }
    let mut stream = None;
    let format = input.format(|| {
        let mut opened = input.stream()?;
        let format = opened.sniff().map_err(|e| input.unreadable(e))?;
        stream = Some(opened);
        Ok(format)
    });
    #[cfg(all(feature = "object-store", feature = "parquet"))]
    if let (Ok(Format::Parquet), Some(ranges)) = (&format, input.ranges()) {
        return parquet::open_ranges(input, ranges, mapping).map(Some);
    }
    let mut stream = match stream {
        Some(stream) => stream,
        None => input.stream()?,
    };
    if stream.is_empty().map_err(|e| input.unreadable(e))? {
        return Ok(None);
    }
    Ok(Some(match format? {
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::open(input, stream, mapping)?,
        #[cfg(feature = "arrow")]
        Format::Arrow => ipc::open(input, stream, mapping)?,
        #[cfg(feature = "csv")]
        Format::Csv => csv::open(input, stream, mapping, options)?,
        Format::Json => json::open(input, stream, mapping, options)?,
        #[cfg(not(all(feature = "parquet", feature = "arrow", feature = "csv")))]
        other => {
            let name = other.name();
            return Err(crate::error::IngestError::Request(format!(
                "{} is {name}; compile with the feature `{name}` of feature-ingest",
                input.name()
            )));
        }
    }))
}

/// How inputs are read, besides what is taken of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// What separates the fields of a line.
    pub(crate) delimiter: Option<u8>,
    /// How many bytes a row may have in a text.
    pub(crate) row_bytes: usize,
}

impl Reading {
    pub(crate) fn new(options: &IngestOptions) -> Self {
        Self { delimiter: options.delimiter, row_bytes: options.row_bytes }
    }
}

/// Of so many bytes of rows it is told what the columns are, unless a row alone is longer.
const SAMPLE_BYTES: usize = 4 << 20;
