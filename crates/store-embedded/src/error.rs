//! From the database's errors to the store's.

use std::io;

use feature_core::{Error, ErrorKind};

/// The backend's name in errors and reports.
pub(crate) const BACKEND: &str = "embedded";

/// What a failure of the database means for the user of the store of this name.
pub(crate) fn from_redb(error: redb::Error, store: &str) -> Error {
    use redb::Error as E;
    let (kind, message) = match &error {
        E::Io(io) => from_io(io, store),
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => (
            ErrorKind::Unavailable,
            format!(
                "`{store}` is held open by another process, or by another store in this one; close it there, \
                 or let one process open it and serve the others"
            ),
        ),
        E::Corrupted(what) => (ErrorKind::Corrupt, damaged(store, what)),
        E::RepairAborted => (ErrorKind::Corrupt, damaged(store, "it needs a repair that was not allowed")),
        E::TableDoesNotExist(_) | E::TableTypeMismatch { .. } | E::TypeDefinitionChanged { .. } => {
            (ErrorKind::Corrupt, damaged(store, &error.to_string()))
        }
        E::UpgradeRequired(version) => (
            ErrorKind::Unsupported,
            format!(
                "`{store}` has the old file format {version} of redb; upgrade it with a redb that reads it"
            ),
        ),
        E::ValueTooLarge(bytes) => {
            (ErrorKind::LimitExceeded, format!("a record of {bytes} bytes is more than the database takes"))
        }
        E::DatabaseClosed => return closed(store),
        E::PreviousIo | E::LockPoisoned(_) => (
            ErrorKind::Unavailable,
            format!("`{store}` has failed before and accepts nothing more; close it and open it again"),
        ),
        _ => (ErrorKind::Internal, format!("`{store}`: {error}")),
    };
    let retryable = match &error {
        E::PreviousIo | E::LockPoisoned(_) => false,
        _ => Error::new(kind, "").is_retryable(),
    };
    Error::new(kind, message).with_retryable(retryable).with_backend(BACKEND).with_source(error)
}

fn from_io(error: &io::Error, store: &str) -> (ErrorKind, String) {
    use io::ErrorKind as K;
    match error.kind() {
        K::InvalidData => (
            ErrorKind::InvalidArgument,
            format!("`{store}` is not a store: {error}; it was left as it is, choose another path"),
        ),
        K::NotFound | K::NotADirectory => {
            (ErrorKind::InvalidArgument, format!("the directory of `{store}` does not exist: make it first"))
        }
        K::IsADirectory => {
            (ErrorKind::InvalidArgument, format!("`{store}` is a directory: name a file in it"))
        }
        K::PermissionDenied | K::ReadOnlyFilesystem => (
            ErrorKind::PermissionDenied,
            format!("`{store}` cannot be opened for reading and writing: {error}; grant the right to both"),
        ),
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => (
            ErrorKind::Throttled,
            format!("there is no room for `{store}` to grow: {error}; free some space"),
        ),
        K::UnexpectedEof => (ErrorKind::Corrupt, damaged(store, "it is shorter than it should be")),
        _ => (ErrorKind::Unavailable, format!("`{store}` cannot be read or written: {error}")),
    }
}

fn damaged(store: &str, what: &str) -> String {
    format!("`{store}` is damaged: {what}; restore it from a copy, or load it again")
}

/// The store accepts nothing more because of what failed first.
pub(crate) fn failed_before(first: &Error) -> Error {
    let message = format!("{}; then open the store again, which accepts nothing more", first.message());
    Error::new(first.kind(), message).with_retryable(false).with_backend(BACKEND)
}

/// The store was closed.
pub(crate) fn closed(store: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the store `{store}` is closed; open it again"))
        .with_retryable(false)
        .with_backend(BACKEND)
}

/// The database panicked, which a file damaged behind its back makes it do.
pub(crate) fn from_panic(panic: &(dyn std::any::Any + Send), store: &str) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the database gave up on it");
    Error::corrupt(damaged(store, text)).with_backend(BACKEND)
}

/// The file is a database, but another program's.
pub(crate) fn foreign(store: &str) -> Error {
    Error::invalid_argument(format!(
        "`{store}` is a redb database, but not a feature store; it was left as it is, choose another path"
    ))
    .with_backend(BACKEND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        use redb::Error as E;
        let io = |kind: io::ErrorKind| E::Io(io::Error::new(kind, "because"));
        for (error, kind, retryable, words) in [
            (E::DatabaseAlreadyOpen, ErrorKind::Unavailable, true, "another process"),
            (E::LockProtocolMismatch, ErrorKind::Unavailable, true, "another process"),
            (E::Corrupted("page 7".to_owned()), ErrorKind::Corrupt, false, "page 7"),
            (E::RepairAborted, ErrorKind::Corrupt, false, "repair"),
            (E::TableDoesNotExist("records".to_owned()), ErrorKind::Corrupt, false, "records"),
            (E::UpgradeRequired(1), ErrorKind::Unsupported, false, "format 1"),
            (E::ValueTooLarge(9), ErrorKind::LimitExceeded, false, "9 bytes"),
            (E::DatabaseClosed, ErrorKind::Unavailable, false, "closed"),
            (E::PreviousIo, ErrorKind::Unavailable, false, "open it again"),
            (E::WouldBlock, ErrorKind::Internal, false, "s.redb"),
            (io(io::ErrorKind::InvalidData), ErrorKind::InvalidArgument, false, "not a store"),
            (io(io::ErrorKind::NotFound), ErrorKind::InvalidArgument, false, "directory"),
            (io(io::ErrorKind::NotADirectory), ErrorKind::InvalidArgument, false, "directory"),
            (io(io::ErrorKind::IsADirectory), ErrorKind::InvalidArgument, false, "is a directory"),
            (io(io::ErrorKind::PermissionDenied), ErrorKind::PermissionDenied, false, "grant"),
            (io(io::ErrorKind::ReadOnlyFilesystem), ErrorKind::PermissionDenied, false, "grant"),
            (io(io::ErrorKind::StorageFull), ErrorKind::Throttled, true, "free some space"),
            (io(io::ErrorKind::UnexpectedEof), ErrorKind::Corrupt, false, "shorter"),
            (io(io::ErrorKind::Other), ErrorKind::Unavailable, true, "because"),
        ] {
            let shown = format!("{error:?}");
            let error = from_redb(error, "s.redb");
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{shown}");
            assert!(error.message().contains(words), "{shown}: {error}");
            assert_eq!(error.backend(), Some(BACKEND));
        }
        assert_eq!(from_panic(&"index out of bounds", "s.redb").kind(), ErrorKind::Corrupt);
    }
}
