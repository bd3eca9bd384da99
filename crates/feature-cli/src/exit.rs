//! How a command ends, and what it says when it fails.

use std::fmt;
use std::io::{self, Write};

use feature_core::Error;
use feature_ingest::IngestError;
use feature_ops::OpsError;

/// What the exit codes mean, as `--help` shows it.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage: nothing was done
  3    finished, but some rows were rejected or failed, or differ
  4    nothing found: `get`, and none of the entities has a record
  130  interrupted";

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done,
    /// A part of it failed and was reported.
    Partly,
    /// There was nothing to give.
    NothingFound,
    /// The user stopped it.
    Interrupted,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command as given makes no sense.
    Usage(String),
    /// Something else went wrong, in words.
    Other(String),
    /// The store, or what was asked of it, failed.
    Store(Error),
    /// The output could not be written.
    Output(io::Error),
}

/// The result of everything in this program that can fail.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// An error that the command as given has caused.
    #[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
    pub(crate) fn usage(error: Error) -> Self {
        Self::Usage(error.message().to_owned())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Request(message) => Self::Usage(message),
            IngestError::Input(message) | IngestError::Output(message) => Self::Other(message),
            IngestError::Store(error) => Self::Store(error),
        }
    }
}

impl From<OpsError> for Failure {
    fn from(error: OpsError) -> Self {
        match error {
            OpsError::Request(message) => Self::Usage(message),
            OpsError::File(message) => Self::Other(message),
            OpsError::Store(error) => Self::Store(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Other(message) => f.write_str(message),
            // Its `Debug` adds the cause, which the reader wants, too.
            Self::Store(error) => write!(f, "{error:?}"),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

/// Says on standard error what the user should know besides the output. That nobody can read it any
/// more is no reason to fail.
pub(crate) fn say(message: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Reports a failure, and gives the process's exit code.
pub(crate) fn code_of(result: Result<Exit>) -> u8 {
    match result {
        Ok(Exit::Done) => 0,
        Ok(Exit::Partly) => 3,
        Ok(Exit::NothingFound) => 4,
        Ok(Exit::Interrupted) => 130,
        // The reader has seen enough, as `head` does: a clean end.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            say(format_args!("fstore: {failure}"));
            if matches!(failure, Failure::Usage(_)) { 2 } else { 1 }
        }
    }
}
