//! Parquet files. Only the columns that are wanted are read.

use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::ChunkReader;

use super::table::TableRows;
use super::{Source, types};
use crate::error::{IngestError, Result};
#[cfg(feature = "object-store")]
use crate::input::Ranges;
use crate::input::{Input, Stream};
use crate::layout::Layout;
use crate::mapping::Mapping;
use crate::row::{CHUNK_ROWS, Chunks};
use crate::schema::SourceColumn;

/// A Parquet file whose footer has been read.
struct ParquetSource<R: ChunkReader> {
    builder: ParquetRecordBatchReaderBuilder<R>,
    columns: Vec<SourceColumn>,
    bytes: u64,
    prepare: Prepare,
}

/// Tells a reader of parts which columns will be read.
type Prepare = Box<dyn FnOnce(&ParquetMetaData, &ProjectionMask) + Send>;

pub(super) fn open(input: &Input, stream: Stream, mapping: &Mapping) -> Result<Box<dyn Source>> {
    let file = input.file(stream)?;
    let bytes = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    source(input, file, input.bytes().unwrap_or(bytes), Box::new(|_, _| ()), mapping)
}

/// Opens an object of which parts can be read, so that it need not be copied.
#[cfg(feature = "object-store")]
pub(super) fn open_ranges(input: &Input, ranges: Ranges, mapping: &Mapping) -> Result<Box<dyn Source>> {
    let reader = ranges.clone();
    let prepare: Prepare =
        Box::new(move |file, read| ranges.expect(file, |column| read.leaf_included(column)));
    source(input, reader, input.bytes().unwrap_or_default(), prepare, mapping)
}

fn source(
    input: &Input,
    reader: impl ChunkReader + 'static,
    bytes: u64,
    prepare: Prepare,
    mapping: &Mapping,
) -> Result<Box<dyn Source>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(reader).map_err(|e| broken(input, &e))?;
    let columns = types::columns(builder.schema(), mapping.decimals);
    Ok(Box::new(ParquetSource { builder, columns, bytes, prepare }))
}

pub(super) fn broken(input: &Input, e: &ParquetError) -> IngestError {
    input.unreadable(format_args!("it is not a readable Parquet file: {e}"))
}

impl<R: ChunkReader + 'static> Source for ParquetSource<R> {
    fn columns(&self) -> Vec<SourceColumn> {
        self.columns.clone()
    }

    fn rows(self: Box<Self>, layout: Layout, mapping: Arc<Mapping>, skip: u64) -> Result<Chunks, String> {
        let rows = u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), layout.read());
        (self.prepare)(self.builder.metadata(), &mask);
        let skip = skip.min(rows);
        let builder = self.builder.with_projection(mask).with_batch_size(CHUNK_ROWS);
        let batches = builder.with_offset(skip as usize).build().map_err(|e| e.to_string())?;
        Ok(Box::new(TableRows::new(batches, layout.projected(), mapping, skip, share(self.bytes, rows))))
    }
}

/// How many of so many bytes are read when so many rows of all are.
pub(super) fn share(bytes: u64, rows: u64) -> impl Fn(u64) -> u64 + Send + 'static {
    move |done| (bytes as f64 * done as f64 / rows.max(1) as f64) as u64
}
