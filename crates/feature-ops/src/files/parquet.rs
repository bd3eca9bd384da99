//! Apache Parquet.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use feature_core::{EntityKey, RecordKey, Timestamp, ViewKey};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::{CHUNK_ROWS, Chunks, Decoded, Row, Writer, write_features, write_times};

/// How large a group of rows may become, which is what a writer and a reader hold in memory.
const GROUP_BYTES: usize = 16 << 20;
/// How large a page may become, which is what a reader holds of a column, and of each file that it reads side by
/// side.
const PAGE_BYTES: usize = 128 << 10;

/// The columns that a restore needs.
const NEEDED: [&str; 4] = ["tenant", "view", "entity", "record"];

pub(super) struct ParquetFile<W: Write + Send> {
    schema: SchemaRef,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn new(out: W) -> io::Result<Self> {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Arc::new(Schema::new(vec![
            text("tenant"),
            text("view"),
            text("entity"),
            Field::new("event_time", instant.clone(), false),
            Field::new("expires_at", instant.clone(), true),
            Field::new("floor", instant, true),
            text("features"),
            text("event_times"),
            Field::new("record", DataType::Binary, false),
        ]));
        let level = ZstdLevel::try_new(1).map_err(io::Error::other)?;
        // No two rows share these.
        let distinct = ["entity", "features", "record"];
        let properties = distinct.into_iter().fold(WriterProperties::builder(), |properties, column| {
            properties.set_column_dictionary_enabled(column.into(), false)
        });
        let properties =
            properties.set_compression(Compression::ZSTD(level)).set_data_page_size_limit(PAGE_BYTES).build();
        let writer =
            ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(io::Error::other)?;
        Ok(Self { schema, writer })
    }
}

impl<W: Write + Send> Writer for ParquetFile<W> {
    fn write(&mut self, rows: &[Decoded]) -> io::Result<()> {
        let batch = batch(&self.schema, rows).map_err(io::Error::other)?;
        self.writer.write(&batch)?;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.writer.close()?;
        Ok(())
    }
}

fn batch(schema: &SchemaRef, rows: &[Decoded]) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let text = |of: &dyn Fn(&Decoded) -> String| -> ArrayRef {
        let mut column = StringBuilder::new();
        rows.iter().for_each(|row| column.append_value(of(row)));
        Arc::new(column.finish())
    };
    let time = |of: &dyn Fn(&Decoded) -> Option<Timestamp>| -> ArrayRef {
        let mut column = TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
        rows.iter().for_each(|row| column.append_option(of(row).map(Timestamp::as_micros)));
        Arc::new(column.finish())
    };
    let json = |write: fn(&feature_core::Record, &mut Vec<u8>)| {
        text(&move |row| {
            let mut out = Vec::new();
            write(&row.record, &mut out);
            // JSON that was just written is text.
            String::from_utf8(out).unwrap_or_default()
        })
    };
    let mut record = BinaryBuilder::new();
    rows.iter().for_each(|row| record.append_value(&row.row.bytes));
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            text(&|row| row.row.key.view().tenant().to_owned()),
            text(&|row| row.row.key.view().view().to_owned()),
            text(&|row| row.row.key.entity().canonical().to_owned()),
            time(&|row| Some(row.record.event_time)),
            time(&|row| row.record.expires_at),
            time(&|row| row.record.floor),
            json(write_features),
            json(write_times),
            Arc::new(record.finish()),
        ],
    )
}

pub(super) fn read(file: File) -> Result<Chunks, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let schema = builder.parquet_schema();
    for name in NEEDED {
        if schema.columns().iter().all(|column| column.name() != name) {
            return Err(ParquetError::General(format!(
                "it has no column `{name}`: it is not a file of an export; to load other files, use ingest"
            )));
        }
    }
    let mask = ProjectionMask::columns(schema, NEEDED);
    let batches = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build()?;
    Ok(Box::new(batches.map(|batch| batch.map_err(|e| e.to_string()).and_then(|batch| rows(&batch)))))
}

fn rows(batch: &RecordBatch) -> Result<Vec<Row>, String> {
    let (tenants, views, entities) = (text(batch, "tenant")?, text(batch, "view")?, text(batch, "entity")?);
    let records: &BinaryArray = column(batch, "record")?;
    let mut last: Option<ViewKey> = None;
    let mut rows = Vec::with_capacity(batch.num_rows());
    for at in 0..batch.num_rows() {
        let (tenant, view) = (tenants.value(at), views.value(at));
        let view = match last.take().filter(|last| last.tenant() == tenant && last.view() == view) {
            Some(last) => last,
            None => ViewKey::new(tenant, view).map_err(|e| e.message().to_owned())?,
        };
        let entity = EntityKey::parse(entities.value(at)).map_err(|e| e.message().to_owned())?;
        last = Some(view.clone());
        let bytes = Bytes::copy_from_slice(records.value(at));
        rows.push(Row { key: RecordKey::new(view, entity), bytes });
    }
    Ok(rows)
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    column(batch, name)
}

fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, String> {
    let column = batch.column_by_name(name).filter(|column| column.null_count() == 0);
    column
        .and_then(|column| column.as_any().downcast_ref())
        .ok_or_else(|| format!("column `{name}` is not what an export writes"))
}
