//! Why a call was not done.

use std::fmt;

use feature_core::{Error, ErrorKind};
use store_unified::Registry;

/// What a protocol may want to tell apart beyond the kind of the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The store said so, or the request is wrong in itself.
    Call,
    /// A feature view that is not declared.
    UnknownView(String),
    /// A feature service that is not declared.
    UnknownService(String),
    /// There is no such address.
    UnknownPath,
    /// The address does not take this method.
    Method,
    /// The body is in a language that is not understood, or no answer can be in the one that is asked for.
    MediaType,
    /// Every row of the call failed; the error is that of the first.
    EveryRow(Vec<RowFailure>),
    /// The server has as much to do as it may.
    Busy,
    /// The body did not arrive in time.
    SlowBody,
    /// The server does not do this.
    NotHere,
    /// The body is not in the language that it should be in; the offset, in bytes, up to which it is.
    Malformed(usize),
    /// Something that the protocol has a name and a status of its own for.
    Named { class: &'static str, status: u16 },
}

/// Why one row failed.
#[derive(Clone, Debug)]
pub(crate) struct RowFailure {
    /// Which row, from 0.
    pub(crate) row: usize,
    /// Why.
    pub(crate) error: Error,
}

impl PartialEq for RowFailure {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row && self.error.kind() == other.error.kind()
    }
}

impl Eq for RowFailure {}

/// Why a call was not done. Boxed, since it is rare and goes through every layer.
#[derive(Debug)]
pub(crate) struct Refusal(Box<(Cause, Error)>);

impl Refusal {
    pub(crate) fn new(cause: Cause, error: Error) -> Self {
        Self(Box::new((cause, error)))
    }

    /// A request that is wrong in itself.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::invalid_argument(message).into()
    }

    pub(crate) fn unknown_view(view: &str, registry: &Registry) -> Self {
        let known: Vec<_> = registry.views().take(20).map(|view| view.name.as_str()).collect();
        let message = format!(
            "feature view `{}` is not declared; declared are {}",
            shown(view),
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        Self::new(Cause::UnknownView(view.to_owned()), Error::invalid_argument(message))
    }

    pub(crate) fn unknown_service(service: &str, registry: &Registry) -> Self {
        let known: Vec<_> = registry.services().take(20).map(|service| service.name.as_str()).collect();
        let message = format!(
            "feature service `{}` is not declared; declared are {}",
            shown(service),
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        Self::new(Cause::UnknownService(service.to_owned()), Error::invalid_argument(message))
    }

    /// The server has as much to do as it may.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        let error = Error::new(ErrorKind::Unavailable, message);
        Self::new(Cause::Busy, error.with_retry_after(std::time::Duration::from_secs(1)))
    }

    /// One client has as much to do for it as one may.
    pub(crate) fn too_much(message: impl Into<String>) -> Self {
        let error = Error::new(ErrorKind::Throttled, message);
        Self::new(Cause::Busy, error.with_retry_after(std::time::Duration::from_secs(1)))
    }

    pub(crate) fn cause(&self) -> &Cause {
        &self.0.0
    }

    pub(crate) fn error(&self) -> &Error {
        &self.0.1
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(Cause::Call, error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.error(), f)
    }
}

/// Enough of what a client has sent to recognise it.
pub(crate) fn shown(text: &str) -> String {
    let mut start = String::new();
    for c in text.chars().take(80) {
        if c.is_control() { start.extend(c.escape_debug()) } else { start.push(c) }
    }
    if text.chars().nth(80).is_some() {
        start.push('…');
    }
    start
}
