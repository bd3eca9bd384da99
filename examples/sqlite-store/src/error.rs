//! From SQLite's errors to the store's.

use feature_store::{Error, ErrorKind};
use rusqlite::ErrorCode as C;

use crate::BACKEND;

/// What a failure of SQLite means for the user of the store.
pub(crate) fn from_sqlite(error: rusqlite::Error) -> Error {
    let (kind, what_to_do) = match error.sqlite_error_code() {
        Some(C::DatabaseBusy | C::DatabaseLocked) => {
            (ErrorKind::Unavailable, "another process writes; try again")
        }
        Some(C::DiskFull) => (ErrorKind::Throttled, "free some space"),
        Some(C::PermissionDenied | C::ReadOnly) => {
            (ErrorKind::PermissionDenied, "grant the right to read and write")
        }
        Some(C::CannotOpen) => (ErrorKind::InvalidArgument, "name a file in a folder that exists"),
        Some(C::NotADatabase) => (ErrorKind::InvalidArgument, "it is not a store; choose another path"),
        Some(C::DatabaseCorrupt) => (ErrorKind::Corrupt, "restore the file from a copy, or load it again"),
        Some(C::TooBig) => (ErrorKind::LimitExceeded, "write smaller records"),
        Some(C::SystemIoFailure) => (ErrorKind::Unavailable, "see to the disk"),
        _ => (ErrorKind::Internal, "this should not happen; report it"),
    };
    Error::new(kind, format!("SQLite: {error}; {what_to_do}")).with_backend(BACKEND).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn each_error_has_a_kind_that_says_what_to_do() {
        for (code, kind, retryable) in [
            (ffi::SQLITE_BUSY, ErrorKind::Unavailable, true),
            (ffi::SQLITE_FULL, ErrorKind::Throttled, true),
            (ffi::SQLITE_READONLY, ErrorKind::PermissionDenied, false),
            (ffi::SQLITE_CANTOPEN, ErrorKind::InvalidArgument, false),
            (ffi::SQLITE_NOTADB, ErrorKind::InvalidArgument, false),
            (ffi::SQLITE_CORRUPT, ErrorKind::Corrupt, false),
            (ffi::SQLITE_IOERR, ErrorKind::Unavailable, true),
            (ffi::SQLITE_MISUSE, ErrorKind::Internal, false),
        ] {
            let error = from_sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
        }
    }
}
