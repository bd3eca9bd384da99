//! CSV files with a header.

use std::collections::VecDeque;
use std::fs::File;
use std::str;
use std::sync::Arc;

use ::csv::{ByteRecord, Reader, ReaderBuilder};
use feature_core::{FeatureValue, ValueType};

use super::lines::{Count, Counted, InChunks, Rows};
use super::row::{Cell, Reject, Row, Source};
use super::wanted::{Columns, NEEDS_UNIT, Wanted};
use crate::exit::{Failure, Result};
use crate::text;

/// From how many rows the types of columns are told when no view states them.
const SAMPLE_ROWS: usize = 1000;

/// The rows of a CSV file of so many bytes.
pub(super) fn open(file: File, bytes: Option<u64>, wanted: Wanted) -> Result<Source> {
    let (file, count) = Counted::new(file);
    // Rows of a wrong length are to be rejected one by one, not to end the reading.
    let mut reader = ReaderBuilder::new().flexible(true).buffer_capacity(1 << 16).from_reader(file);
    let broken = |e: ::csv::Error| Failure::Other(format!("it is not a readable CSV file: {e}"));
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(str::to_owned).collect();
    count.complete();
    let columns = wanted.columns(&header)?;

    let mut sample = VecDeque::new();
    let mut record = ByteRecord::new();
    while sample.len() < SAMPLE_ROWS && reader.read_byte_record(&mut record).map_err(broken)? {
        count.complete();
        sample.push_back(record.clone());
    }
    // What is not text has no type; its row will be rejected.
    let texts = |at: usize| {
        let cells = sample.iter().filter_map(move |record| str::from_utf8(record.get(at)?).ok());
        cells.filter(|text| !text.is_empty())
    };
    if let Some(at) = columns.timestamp
        && wanted.unit.is_none()
        && text::narrowest(&texts(at)) == ValueType::Int64
    {
        return Err(Failure::Usage(format!("timestamp column `{}` has integers: {NEEDS_UNIT}", header[at])));
    }
    let types = columns
        .features
        .iter()
        .map(|(name, at)| match wanted.type_of(name) {
            Some(declared) => Type { declared: true, of: declared },
            None => Type { declared: false, of: text::narrowest(&texts(*at)) },
        })
        .collect();
    let fields = header.len();
    let rows = CsvRows { reader, count, sample, columns, types, wanted, fields, record, number: 0 };
    Ok(Source { total: bytes, chunks: Box::new(InChunks::new(rows)) })
}

#[derive(Clone, Copy)]
struct Type {
    /// Whether a view states it, or it was told from the first rows.
    declared: bool,
    of: ValueType,
}

struct CsvRows {
    reader: Reader<Counted<File>>,
    count: Count,
    /// Rows already read.
    sample: VecDeque<ByteRecord>,
    columns: Columns,
    /// The type of each feature column.
    types: Vec<Type>,
    wanted: Wanted,
    fields: usize,
    record: ByteRecord,
    number: u64,
}

impl Rows for CsvRows {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        if let Some(sampled) = self.sample.pop_front() {
            self.record = sampled;
        } else if self.reader.read_byte_record(&mut self.record).map_err(|e| e.to_string())? {
            self.count.complete();
        } else {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(self.row(&self.record)))
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn position(&self) -> u64 {
        self.count.read()
    }
}

impl CsvRows {
    fn row(&self, record: &ByteRecord) -> Row {
        let with_content = |reject: Box<Reject>| {
            let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
            reject.with_content(fields)
        };
        if record.len() != self.fields {
            let reason = format!("the row has {} fields, the header has {}", record.len(), self.fields);
            return Err(with_content(Reject::new(self.number, reason)));
        }
        let plain = |at: &usize| -> Cell {
            cell(record, *at).map(|text| text.map_or(FeatureValue::Null, FeatureValue::from))
        };
        let features = self.columns.features.iter().zip(&self.types).map(|((name, at), wanted)| {
            let value = cell(record, *at).and_then(|text| match text {
                None => Ok(FeatureValue::Null),
                Some(text) => typed(text, *wanted),
            });
            (Arc::clone(name), value)
        });
        let time = self.columns.timestamp.as_ref().map(plain);
        self.wanted
            .row(self.number, self.columns.entity.iter().map(plain), time, features)
            .map_err(with_content)
    }
}

/// The text of a cell; an empty one is null.
fn cell(record: &ByteRecord, at: usize) -> Result<Option<&str>, String> {
    let text =
        str::from_utf8(record.get(at).unwrap_or_default()).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn typed(text: &str, wanted: Type) -> Cell {
    text::typed(text, wanted.of).map_err(|e| {
        let told = "the type was told from the first rows; apply a feature view to state it";
        if wanted.declared { e.message().to_owned() } else { format!("{}; {told}", e.message()) }
    })
}
