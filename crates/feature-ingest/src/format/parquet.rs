//! Parquet files. Only the columns that are wanted are read.

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::errors::ParquetError;

use super::table::TableRows;
use super::{Source, types};
use crate::error::{IngestError, Result};
use crate::input::{Input, Stream};
use crate::layout::Layout;
use crate::mapping::Mapping;
use crate::row::{CHUNK_ROWS, Chunks};
use crate::schema::SourceColumn;

/// A Parquet file whose footer has been read.
struct ParquetSource {
    builder: ParquetRecordBatchReaderBuilder<File>,
    columns: Vec<SourceColumn>,
    bytes: u64,
}

pub(super) fn open(input: &Input, stream: Stream, mapping: &Mapping) -> Result<Box<dyn Source>> {
    let file = input.file(stream)?;
    let bytes = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| broken(input, &e))?;
    let columns = types::columns(builder.schema(), mapping.decimals);
    Ok(Box::new(ParquetSource { builder, columns, bytes: input.bytes().unwrap_or(bytes) }))
}

pub(super) fn broken(input: &Input, e: &ParquetError) -> IngestError {
    input.unreadable(format_args!("it is not a readable Parquet file: {e}"))
}

impl Source for ParquetSource {
    fn columns(&self) -> Vec<SourceColumn> {
        self.columns.clone()
    }

    fn rows(self: Box<Self>, layout: Layout, mapping: Arc<Mapping>, skip: u64) -> Result<Chunks, String> {
        let rows = u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), layout.read());
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
