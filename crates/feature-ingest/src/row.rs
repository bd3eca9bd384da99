//! What a source gives.

use feature_core::{FeatureValue, FeatureWrite};
use serde::Serialize;
use serde_json::Value;

/// How many rows a source gives at a time.
pub(crate) const CHUNK_ROWS: usize = 1024;

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
    pub(crate) write: FeatureWrite,
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
