//! CSV files with a header.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::str;
use std::sync::Arc;

use feature_core::{FeatureValue, ValueType};

use super::fields::{Record, Records};
use super::lines::{InChunks, Rows};
use super::{Reading, SAMPLE_BYTES, Source};
use crate::error::{IngestError, Result};
use crate::guess::Guess;
use crate::input::{Count, Input, Stream};
use crate::layout::{At, From, Layout};
use crate::mapping::{Mapping, Named};
use crate::row::{Cell, Chunks, Reject, Row};
use crate::schema::{Kind, SourceColumn};
use crate::text;

/// From how many rows of a file the types of columns are told when no view states them.
pub(super) const SAMPLE_ROWS: usize = 1000;

/// A CSV file whose header and first rows have been read.
struct CsvSource {
    records: Records<BufReader<Box<dyn Read + Send>>>,
    count: Count,
    header: Vec<String>,
    /// Rows already read.
    sample: VecDeque<Record>,
    guesses: Vec<Guess>,
}

pub(super) fn open(
    input: &Input,
    stream: Stream,
    mapping: &Arc<Mapping>,
    options: &Reading,
) -> Result<Box<dyn Source>> {
    let broken =
        |e: &dyn std::fmt::Display| input.unreadable(format_args!("it is not a readable CSV file: {e}"));
    let usual = if input.name().to_ascii_lowercase().contains(".tsv") { b'\t' } else { b',' };
    let mut records = Records::new(stream.reader, options.delimiter.unwrap_or(usual), options.row_bytes);
    let mut record = Record::default();
    if !records.read(&mut record).map_err(|e| broken(&e))? {
        return Err(IngestError::Input(format!("{} has no header: it has empty lines alone", input.name())));
    }
    let header: Vec<String> = record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let mut sample = VecDeque::new();
    let mut bytes = 0;
    while sample.len() < SAMPLE_ROWS
        && bytes < SAMPLE_BYTES
        && records.read(&mut record).map_err(|e| broken(&e))?
    {
        bytes += record.bytes();
        sample.push_back(record.clone());
    }
    let mut guesses = vec![Guess::default(); header.len()];
    for (row, record) in (1..).zip(&sample) {
        for (at, guess) in guesses.iter_mut().enumerate() {
            // What is not text has no type; its row will be rejected.
            if let Ok(Some(text)) = cell(record, at, mapping)
                && !text.is_empty()
            {
                guess.see(row, text, &mapping.zone);
            }
        }
    }
    Ok(Box::new(CsvSource { records, count: stream.count, header, sample, guesses }))
}

impl Source for CsvSource {
    fn columns(&self) -> Vec<SourceColumn> {
        let column = |(name, guess): (&String, &Guess)| SourceColumn {
            name: name.clone(),
            found: "text".to_owned(),
            kind: Kind::Texts(Box::new(guess.clone())),
        };
        self.header.iter().zip(&self.guesses).map(column).collect()
    }

    fn rows(self: Box<Self>, layout: Layout, mapping: Arc<Mapping>, skip: u64) -> Result<Chunks, String> {
        let named = layout.named();
        let Self { records, count, header, sample, .. } = *self;
        let fields = header.len();
        let record = Record::default();
        let rows = CsvRows { records, count, sample, layout, named, mapping, fields, record, number: 0 };
        Ok(Box::new(InChunks::new(rows, skip)))
    }
}

struct CsvRows {
    records: Records<BufReader<Box<dyn Read + Send>>>,
    count: Count,
    sample: VecDeque<Record>,
    layout: Layout,
    named: Named,
    mapping: Arc<Mapping>,
    fields: usize,
    record: Record,
    number: u64,
}

impl Rows for CsvRows {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        if let Some(sampled) = self.sample.pop_front() {
            self.record = sampled;
        } else if !self.records.read(&mut self.record).map_err(|e| e.to_string())? {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(self.row(&self.record)))
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn bytes(&self) -> u64 {
        self.count.read()
    }
}

impl CsvRows {
    fn row(&self, record: &Record) -> Row {
        let with_content = |reject: Box<Reject>| {
            let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
            reject.with_content(fields)
        };
        if record.len() != self.fields {
            let reason = format!("the row has {} fields, the header has {}", record.len(), self.fields);
            return Err(with_content(Reject::new(self.number, reason)));
        }
        let features = self.layout.features.iter().map(|feature| match &feature.from {
            From::Value(value) => Ok(value.clone()),
            From::Column(at) => {
                let wanted = feature.wanted.unwrap_or(ValueType::String);
                match cell(record, *at, &self.mapping)? {
                    None => Ok(FeatureValue::Null),
                    // Some programs quote every cell, also those without a number.
                    Some("") if wanted != ValueType::String => Ok(FeatureValue::Null),
                    Some(text) => self.typed(text, wanted, feature.declared),
                }
            }
        });
        let time = self.layout.timestamp.as_ref().map(|at| {
            let text = text(record, at, &self.mapping)?;
            self.mapping.instant_of_text(text.as_deref())
        });
        let entity = self.layout.entity.iter().map(|at| text(record, at, &self.mapping));
        self.mapping.row(self.number, entity, time, self.named.features(features)).map_err(with_content)
    }

    fn typed(&self, text: &str, wanted: ValueType, declared: bool) -> Cell {
        text::typed_in(text, wanted, &self.mapping.zone).map_err(|e| {
            let told = "the type was told from the first rows; declare a feature view to state it";
            if declared { e.message().to_owned() } else { format!("{}; {told}", e.message()) }
        })
    }
}

/// The text of a cell or a folder, `None` being null.
fn text<'a>(record: &'a Record, at: &'a At, mapping: &Mapping) -> Result<Option<Cow<'a, str>>, String> {
    match at {
        At::Column(at) => Ok(cell(record, *at, mapping)?.map(Cow::Borrowed)),
        At::Constant(text) => Ok(text.as_deref().map(Cow::Borrowed)),
    }
}

/// The text of a cell, `None` being null.
fn cell<'a>(record: &'a Record, at: usize, mapping: &Mapping) -> Result<Option<&'a str>, String> {
    let bytes = record.get(at).unwrap_or_default();
    let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(Some(text).filter(|text| record.is_quoted(at) || !mapping.is_null(text)))
}
