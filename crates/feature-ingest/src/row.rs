//! What a source gives.

use feature_core::{FeatureValue, FeatureWrite};
use serde::Serialize;
use serde_json::Value;

/// How many rows a source gives at a time, at most.
pub(crate) const CHUNK_ROWS: usize = 1024;
/// Beyond how many bytes in memory a source gives the rows that it has.
pub(crate) const CHUNK_BYTES: usize = 2 << 20;

/// Rows of an input, in order; ends after an error, which concerns the input and not a row.
pub(crate) type Chunks = Box<dyn Iterator<Item = Result<Chunk, String>> + Send>;

/// Some rows of an input, in order.
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    /// How many of the input's bytes are read.
    pub(crate) bytes: u64,
}

/// A row that can be sent to the store, or one that cannot.
pub(crate) type Row = Result<Accepted, Box<Reject>>;

/// The value in a column, or what is wrong with it.
pub(crate) type Cell = Result<FeatureValue, String>;

/// A row for the store.
pub(crate) struct Accepted {
    /// Its number in its input, from 1.
    pub(crate) number: u64,
    /// Whether digits of its event time were cut off.
    pub(crate) cut: bool,
    /// About how many bytes it takes in memory.
    pub(crate) bytes: usize,
    pub(crate) write: FeatureWrite,
}

/// About how many bytes a write takes in memory. Names are shared by many.
pub(crate) fn bytes_of(write: &FeatureWrite) -> usize {
    let features = write.features.iter().map(|(_, value)| bytes_of_value(value));
    size_of::<Accepted>() + write.entity_key.canonical().len() + features.sum::<usize>()
}

fn bytes_of_value(value: &FeatureValue) -> usize {
    let texts = |own: usize, lengths: usize| own * size_of::<String>() + lengths;
    let inside = match value {
        FeatureValue::String(text) => text.len(),
        FeatureValue::Bytes(bytes) => bytes.len(),
        FeatureValue::BoolList(list) => list.len(),
        FeatureValue::Int32List(list) => size_of_val(&list[..]),
        FeatureValue::Int64List(list) => size_of_val(&list[..]),
        FeatureValue::Float32List(list) => size_of_val(&list[..]),
        FeatureValue::Float64List(list) => size_of_val(&list[..]),
        FeatureValue::TimestampList(list) => size_of_val(&list[..]),
        FeatureValue::StringList(list) => texts(list.len(), list.iter().map(String::len).sum()),
        FeatureValue::BytesList(list) => texts(list.len(), list.iter().map(Vec::len).sum()),
        FeatureValue::Map(map) => {
            map.iter().map(|(name, value)| size_of::<String>() + name.len() + bytes_of_value(value)).sum()
        }
        _ => 0,
    };
    size_of::<FeatureValue>() + inside
}

/// About how many bytes a row takes in memory, whatever becomes of it.
pub(crate) fn bytes_of_row(row: &Row) -> usize {
    match row {
        Ok(accepted) => accepted.bytes,
        Err(reject) => {
            let content = match &reject.content {
                Some(Value::String(text)) => text.len(),
                Some(Value::Array(fields)) => {
                    let lengths = fields.iter().map(|field| field.as_str().map_or(0, str::len));
                    size_of_val(&fields[..]) + lengths.sum::<usize>()
                }
                _ => 0,
            };
            size_of::<Reject>() + reject.reason.len() + content
        }
    }
}

/// A row that is not written, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Reject {
    /// The input, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its number in the input, from 1, without header and empty lines.
    pub row: u64,
    /// What is wrong.
    pub reason: String,
    /// The entity, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The row as it stands in a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
}

impl Reject {
    pub(crate) fn new(row: u64, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { file: None, row, reason: reason.into(), entity: None, content: None })
    }

    pub(crate) fn with_content(mut self: Box<Self>, content: impl Into<Value>) -> Box<Self> {
        self.content = Some(content.into());
        self
    }
}
