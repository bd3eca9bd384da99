//! The one error type.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::key::RecordKey;

/// The result of every fallible call in this workspace.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure, named for what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call is wrong in itself: correct it.
    InvalidArgument,
    /// A limit of the backend or of the format is exceeded: send less, or raise the limit.
    LimitExceeded,
    /// This backend cannot do it: use another, or do without.
    Unsupported,
    /// The server lacks a setting that the call needs: change the server's configuration.
    NotConfigured,
    /// The server does not accept the credentials: correct them.
    Unauthenticated,
    /// The credentials lack a right: grant it.
    PermissionDenied,
    /// The server is overloaded, full or limiting this caller: slow down.
    Throttled,
    /// The store cannot be reached or is closed: wait, or use another.
    Unavailable,
    /// The call's deadline passed before an answer came.
    DeadlineExceeded,
    /// Other writers kept getting in first: try later.
    Conflict,
    /// Stored bytes cannot be what they claim to be: restore or rewrite the record.
    Corrupt,
    /// A defect of this software or of the store's: report it.
    Internal,
}

impl ErrorKind {
    /// The kind's name, as shown in messages and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::LimitExceeded => "LimitExceeded",
            Self::Unsupported => "Unsupported",
            Self::NotConfigured => "NotConfigured",
            Self::Unauthenticated => "Unauthenticated",
            Self::PermissionDenied => "PermissionDenied",
            Self::Throttled => "Throttled",
            Self::Unavailable => "Unavailable",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Conflict => "Conflict",
            Self::Corrupt => "Corrupt",
            Self::Internal => "Internal",
        }
    }

    /// Whether the same call may succeed later without any change.
    const fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::DeadlineExceeded | Self::Conflict)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What went wrong, where, and what to do. Cheap to clone, so that one failure can be reported for
/// each row of a batch.
///
/// ```
/// use feature_core::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::Throttled, "the server is out of memory (maxmemory)")
///     .with_operation("put")
///     .with_backend("redis");
/// assert_eq!(error.to_string(), "Throttled: the server is out of memory (maxmemory) (put on redis)");
/// assert!(error.is_retryable());
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

/// What rows that failed for one reason share, and what each has of its own.
#[derive(Clone)]
struct Inner {
    cause: Arc<Cause>,
    in_doubt: bool,
    operation: Option<&'static str>,
    backend: Option<&'static str>,
    place: Option<Place>,
}

#[derive(Clone)]
struct Cause {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The record or scope that a failure concerns.
#[derive(Clone)]
enum Place {
    Named(String),
    /// Its text is made when it is looked at: most of a batch that is refused are not.
    Record(RecordKey, OnceLock<String>),
}

impl Error {
    /// An error of this kind; whether a retry can help follows from the kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (message, retryable) = (message.into(), kind.is_transient());
        let cause = Cause { kind, message, retryable, retry_after: None, source: None };
        Self(Box::new(Inner {
            cause: Arc::new(cause),
            in_doubt: false,
            operation: None,
            backend: None,
            place: None,
        }))
    }

    fn cause_mut(&mut self) -> &mut Cause {
        Arc::make_mut(&mut self.0.cause)
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// [`ErrorKind::LimitExceeded`]: `what` measures `value`, the limit is `limit`, both in `unit`.
    pub fn limit_exceeded(what: &str, value: u64, limit: u64, unit: &str) -> Self {
        Self::new(ErrorKind::LimitExceeded, format!("{what} is {value} {unit}, the limit is {limit} {unit}"))
    }

    /// [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Says whether a retry can help, where the kind alone would say otherwise.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.cause_mut().retryable = retryable;
        self
    }

    /// Marks a write whose outcome is unknown: it may or may not have taken effect.
    #[must_use]
    pub fn with_in_doubt(mut self, in_doubt: bool) -> Self {
        self.0.in_doubt = in_doubt;
        self
    }

    /// Says after what time the same call is likely to succeed.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.cause_mut().retry_after = Some(retry_after);
        self
    }

    /// Names the operation that failed; the innermost name stays.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the backend that failed; the innermost name stays.
    #[must_use]
    pub fn with_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// Names the record or scope that the failure concerns; the innermost name stays.
    #[must_use]
    pub fn with_key(mut self, key: impl fmt::Display) -> Self {
        self.0.place.get_or_insert_with(|| Place::Named(key.to_string()));
        self
    }

    /// As [`with_key`](Self::with_key), without making the key's text.
    #[must_use]
    pub fn with_record(mut self, key: RecordKey) -> Self {
        self.0.place.get_or_insert_with(|| Place::Record(key, OnceLock::new()));
        self
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause_mut().source = Some(Arc::from(source.into()));
        self
    }

    /// The answer of a call that failed as a whole: this error for each of its rows.
    pub fn for_rows<T>(&self, rows: usize) -> Vec<Result<T>> {
        std::iter::repeat_with(|| Err(self.clone())).take(rows).collect()
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.cause.kind
    }

    /// The description alone, without kind and context.
    pub fn message(&self) -> &str {
        &self.0.cause.message
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.cause.retryable
    }

    /// Whether a write may have taken effect although it is reported as failed. Writes are idempotent,
    /// so it is safe to send such a write again.
    pub fn in_doubt(&self) -> bool {
        self.0.in_doubt
    }

    /// After what time the same call is likely to succeed, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.cause.retry_after
    }

    /// The operation that failed.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The backend that failed.
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend
    }

    /// The record or scope that the failure concerns, as text.
    pub fn key(&self) -> Option<&str> {
        self.0.place.as_ref().map(|place| match place {
            Place::Named(name) => &**name,
            Place::Record(key, text) => text.get_or_init(|| key.to_string()),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { cause, operation, backend, in_doubt, .. } = &*self.0;
        let Cause { kind, message, .. } = &**cause;
        write!(f, "{kind}: {message}")?;
        let context: Vec<String> = [
            match (operation, backend) {
                (Some(operation), Some(backend)) => Some(format!("{operation} on {backend}")),
                (Some(one), None) | (None, Some(one)) => Some((*one).to_owned()),
                (None, None) => None,
            },
            self.key().map(str::to_owned),
            in_doubt.then(|| "the write may have taken effect; sending it again is safe".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        if context.is_empty() { Ok(()) } else { write!(f, " ({})", context.join("; ")) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match &self.0.cause.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_where_and_what_to_do() {
        let error = Error::new(ErrorKind::DeadlineExceeded, "no answer within 20ms")
            .with_operation("put")
            .with_operation("batch_write")
            .with_backend("redis")
            .with_key("acme:customers:customer_id=7")
            .with_in_doubt(true);
        assert_eq!(
            error.to_string(),
            "DeadlineExceeded: no answer within 20ms (put on redis; acme:customers:customer_id=7; \
             the write may have taken effect; sending it again is safe)"
        );
        assert!(error.is_retryable() && error.in_doubt());
        assert!(!Error::invalid_argument("x").is_retryable());
        assert_eq!(
            Error::limit_exceeded("the record", 2_000, 1_000, "bytes").to_string(),
            "LimitExceeded: the record is 2000 bytes, the limit is 1000 bytes"
        );
    }
    #[test]
    fn what_an_error_was_given_is_there_and_nothing_else() {
        let plain = Error::new(ErrorKind::Unavailable, "no server");
        assert!(!plain.in_doubt() && plain.retry_after().is_none() && plain.key().is_none());
        assert_eq!((plain.operation(), plain.backend()), (None, None));
        assert!(std::error::Error::source(&plain).is_none());
        assert_eq!(format!("{plain:?}"), "Unavailable: no server");

        let whole = plain
            .with_retry_after(Duration::from_secs(2))
            .with_operation("put")
            .with_backend("redis")
            .with_source("connection refused");
        assert_eq!(whole.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!((whole.operation(), whole.backend()), (Some("put"), Some("redis")));
        assert_eq!(std::error::Error::source(&whole).unwrap().to_string(), "connection refused");
        assert_eq!(format!("{whole:?}"), "Unavailable: no server (put on redis): connection refused");

        let rows: Vec<Result<()>> = whole.for_rows(3);
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.as_ref().unwrap_err().to_string() == whole.to_string()));
    }
}
