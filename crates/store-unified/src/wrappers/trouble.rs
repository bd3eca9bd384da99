//! What a store in trouble looks like to its callers.

use std::time::Duration;

use feature_core::{CallContext, Error, ErrorKind, Result};
use tokio::time::Instant;

/// Whether the cause is the store's state rather than the call, the record, or a setting that somebody has
/// to correct. Another store, or the same one a little later, may well give what is asked for.
pub(crate) fn is_trouble(error: &Error) -> bool {
    use ErrorKind::{DeadlineExceeded, Internal, Throttled, Unavailable};
    matches!(error.kind(), Unavailable | DeadlineExceeded | Throttled | Internal)
}

/// Whether the store did not answer at all. One that refuses a call because it is busy or full does.
pub(crate) fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded)
}

/// The rows that have failed because of the store's trouble.
pub(crate) fn in_trouble<T>(answers: &[Result<T>]) -> Vec<usize> {
    let failed = |(number, row): (usize, &Result<T>)| {
        row.as_ref().err().filter(|error| is_trouble(error)).map(|_| number)
    };
    answers.iter().enumerate().filter_map(failed).collect()
}

/// How long to wait for an answer before something is done about it: this long, but not more than half of
/// the time that the call has left.
pub(crate) fn patience(limit: Duration, call: CallContext) -> Duration {
    limit.min(call.deadline.saturating_duration_since(Instant::now()) / 2)
}

/// When a call that already has some of its answers gives up on the others: a little before its caller does,
/// who would have none of them.
pub(crate) fn last_moment(call: CallContext) -> Instant {
    let left = call.deadline.saturating_duration_since(Instant::now());
    call.deadline - (left / 10).min(Duration::from_millis(2))
}
