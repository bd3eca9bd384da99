//! What a source gives.

use feature_core::{FeatureValue, FeatureWrite};
use serde::Serialize;
use serde_json::Value;

use crate::exit::Result;

/// How many rows a source gives at a time.
pub(super) const CHUNK_ROWS: usize = 1024;

/// A file being read.
pub(crate) struct Source {
    /// How far there is to go, in rows or bytes, where that is known.
    pub(super) total: Option<u64>,
    /// The rows. Ends after an error, which concerns the file and not a row.
    pub(super) chunks: Box<dyn Iterator<Item = Result<Chunk>> + Send>,
}

/// Some rows of a file, in order.
pub(super) struct Chunk {
    pub(super) rows: Vec<Row>,
    /// How far the file is read, in the unit of [`Source::total`].
    pub(super) position: u64,
}

/// A row that can be sent to the store, or one that cannot.
pub(super) type Row = Result<Accepted, Box<Reject>>;

/// The value in a column, or what is wrong with it.
pub(super) type Cell = Result<FeatureValue, String>;

/// A row for the store.
pub(super) struct Accepted {
    /// Its number in the file, from 1.
    pub(super) number: u64,
    pub(super) write: FeatureWrite,
}

/// A row that cannot be written, as the rejects file shows it.
#[derive(Debug, Serialize)]
pub(super) struct Reject {
    /// Its number in the file, from 1.
    pub(super) row: u64,
    /// What is wrong.
    pub(super) reason: String,
    /// The entity, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entity: Option<String>,
    /// The row as it stands in a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Value>,
}

impl Reject {
    pub(super) fn new(row: u64, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { row, reason: reason.into(), entity: None, content: None })
    }

    pub(super) fn with_content(mut self: Box<Self>, content: impl Into<Value>) -> Box<Self> {
        self.content = Some(content.into());
        self
    }
}
