//! Why a command failed.

use std::fmt;

use feature_core::Error;

/// Why an operation failed, or could not begin.
#[derive(Clone, Debug)]
pub enum OpsError {
    /// What was asked for makes no sense. Nothing was done.
    Request(String),
    /// A file cannot be read or written.
    File(String),
    /// A store failed.
    Store(Error),
}

/// The result of what can fail here.
pub type Result<T, E = OpsError> = std::result::Result<T, E>;

impl OpsError {
    pub(crate) fn cannot(what: &str, place: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::File(format!("cannot {what} {place}: {why}"))
    }
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(message) | Self::File(message) => f.write_str(message),
            Self::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for OpsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for OpsError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
