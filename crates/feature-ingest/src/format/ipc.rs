//! Arrow IPC: files, also known as Feather, and streams; and batches that a program has.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::arrow::array::{RecordBatch, RecordBatchReader};
use ::arrow::datatypes::SchemaRef;
use ::arrow::error::ArrowError;
use ::arrow::ipc::reader::{FileReader, StreamReader};

use super::sizes::bytes_of;
use super::table::TableRows;
use super::{Source, types};
use crate::error::Result;
use crate::input::{Input, Stream};
use crate::layout::Layout;
use crate::mapping::Mapping;
use crate::row::{CHUNK_BYTES, CHUNK_ROWS, Chunks};
use crate::schema::SourceColumn;

/// An Arrow file or stream whose schema has been read.
struct IpcSource {
    batches: Batches,
    columns: Vec<SourceColumn>,
    bytes: Box<dyn Fn() -> u64 + Send>,
}

enum Batches {
    File(FileReader<BufReader<File>>, Arc<AtomicU64>),
    Stream(StreamReader<BufReader<Box<dyn Read + Send>>>),
    Given(Box<dyn RecordBatchReader + Send>),
}

/// Batches that a program has; how many bytes they are is not known.
pub(super) fn of_batches(batches: Box<dyn RecordBatchReader + Send>, mapping: &Mapping) -> Box<dyn Source> {
    let columns = types::columns(&batches.schema(), mapping.decimals);
    Box::new(IpcSource { columns, batches: Batches::Given(batches), bytes: Box::new(|| 0) })
}

pub(super) fn open(input: &Input, mut stream: Stream, mapping: &Mapping) -> Result<Box<dyn Source>> {
    let broken = |e: ArrowError| input.unreadable(format_args!("it is not a readable Arrow file: {e}"));
    let is_stream = stream.starts_with(&[0xff; 4]).map_err(|e| input.unreadable(e))?;
    let columns = |schema: SchemaRef| types::columns(&schema, mapping.decimals);
    let source = if is_stream {
        let count = stream.count.clone();
        let reader = StreamReader::try_new(stream.reader, None).map_err(broken)?;
        IpcSource {
            columns: columns(reader.schema()),
            batches: Batches::Stream(reader),
            bytes: Box::new(move || count.read()),
        }
    } else {
        let file = input.file(stream)?;
        let bytes = input.bytes().or_else(|| Some(file.metadata().ok()?.len())).unwrap_or_default();
        let reader = FileReader::try_new(BufReader::new(file), None).map_err(broken)?;
        let (all, done) = (reader.num_batches().max(1) as u64, Arc::new(AtomicU64::new(0)));
        IpcSource {
            columns: columns(reader.schema()),
            batches: Batches::File(reader, Arc::clone(&done)),
            bytes: Box::new(move || (bytes as f64 * done.load(Ordering::Relaxed) as f64 / all as f64) as u64),
        }
    };
    Ok(Box::new(source))
}

impl Source for IpcSource {
    fn columns(&self) -> Vec<SourceColumn> {
        self.columns.clone()
    }

    fn rows(self: Box<Self>, layout: Layout, mapping: Arc<Mapping>, skip: u64) -> Result<Chunks, String> {
        let Self { batches, bytes, .. } = *self;
        let slices = Slices { batches, current: None, skip };
        Ok(Box::new(TableRows::new(slices, layout, mapping, skip, move |_| bytes())))
    }
}

/// Batches in parts, since a file may have all its rows in one.
struct Slices {
    batches: Batches,
    current: Option<RecordBatch>,
    skip: u64,
}

impl Iterator for Slices {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = match self.current.take() {
                Some(batch) => batch,
                None => match self.batches.next()? {
                    Ok(batch) => batch,
                    Err(e) => return Some(Err(e)),
                },
            };
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(batch.num_rows());
            self.skip -= passed as u64;
            let batch = batch.slice(passed, batch.num_rows() - passed);
            if batch.num_rows() > 0 {
                let part = part(&batch);
                let rest = batch.slice(part.num_rows(), batch.num_rows() - part.num_rows());
                self.current = Some(rest);
                return Some(Ok(part));
            }
        }
    }
}

/// The first rows, as many as may be taken at a time, and one at least.
fn part(batch: &RecordBatch) -> RecordBatch {
    let mut part = batch.slice(0, batch.num_rows().min(CHUNK_ROWS));
    while part.num_rows() > 1 && bytes_of(&part) > CHUNK_BYTES {
        part = part.slice(0, part.num_rows().div_ceil(2));
    }
    part
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::File(reader, done) => {
                done.fetch_add(1, Ordering::Relaxed);
                reader.next()
            }
            Self::Stream(reader) => reader.next(),
            Self::Given(batches) => batches.next(),
        }
    }
}
