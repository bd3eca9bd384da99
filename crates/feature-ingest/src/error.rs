//! Why a load failed.

use std::fmt;

use feature_core::Error;

/// Why a load failed, or could not begin.
#[derive(Clone, Debug)]
pub enum IngestError {
    /// What was asked for makes no sense for this input: a column that is not there, a type that is none.
    /// Nothing was written.
    Request(String),
    /// The input cannot be read, or not to its end.
    Input(String),
    /// Rejected rows, or how far the load has come, cannot be written down.
    Output(String),
    /// The store takes nothing more.
    Store(Error),
}

/// The result of what can fail in a load.
pub type Result<T, E = IngestError> = std::result::Result<T, E>;

impl fmt::Display for IngestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(message) | Self::Input(message) | Self::Output(message) => f.write_str(message),
            Self::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for IngestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for IngestError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
