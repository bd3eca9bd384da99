//! What went wrong, as RFC 9457 has it.

use feature_core::{Error, ErrorKind};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Context, Reply};
use crate::calls::{Cause, Refusal};

/// The language of problems.
pub(crate) const PROBLEM: &str = "application/problem+json";
/// How many rows' errors a problem lists.
const LISTED: usize = 100;

/// The status that an error has.
pub(crate) fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal.cause() {
        Cause::UnknownView(_) | Cause::UnknownService(_) | Cause::UnknownPath => StatusCode::NOT_FOUND,
        Cause::Method => StatusCode::METHOD_NOT_ALLOWED,
        Cause::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Cause::SlowBody => StatusCode::REQUEST_TIMEOUT,
        Cause::NotHere => StatusCode::NOT_IMPLEMENTED,
        Cause::Named { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST),
        Cause::Call | Cause::Malformed(_) | Cause::EveryRow(_) | Cause::Busy => {
            status_of_kind(refusal.error().kind())
        }
    }
}

fn status_of_kind(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::LimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a refusal is called: the kind of the error, where the status does not say more.
pub(crate) fn kind_of(refusal: &Refusal) -> &'static str {
    match refusal.cause() {
        Cause::UnknownView(_) => "UnknownView",
        Cause::UnknownService(_) => "UnknownService",
        Cause::UnknownPath => "NotFound",
        Cause::Method => "MethodNotAllowed",
        Cause::MediaType => "UnsupportedMediaType",
        Cause::SlowBody => "RequestTimeout",
        Cause::NotHere => "NotImplemented",
        Cause::Named { class, .. } => class,
        Cause::Call | Cause::Malformed(_) | Cause::EveryRow(_) | Cause::Busy => refusal.error().kind().name(),
    }
}

/// A row's error, as it stands in answers.
pub(crate) fn row_error(row: usize, error: &Error) -> Value {
    json!({
        "row": row,
        "kind": error.kind().name(),
        "error": error.message(),
        "in_doubt": error.in_doubt(),
        "retryable": error.is_retryable(),
    })
}

/// The answer that a refusal is.
pub(crate) fn reply(refusal: &Refusal, context: &Context) -> Reply {
    let (status, error) = (status_of(refusal), refusal.error());
    let mut problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "kind": kind_of(refusal),
        "detail": error.message(),
        "in_doubt": error.in_doubt(),
        "retryable": error.is_retryable(),
        "request_id": context.request_id(),
    });
    if let Cause::EveryRow(failures) = refusal.cause() {
        let rows = failures.iter().take(LISTED).map(|failure| row_error(failure.row, &failure.error));
        problem["errors"] = rows.collect();
    }
    let reply = Reply::new(status, PROBLEM, problem.to_string());
    headers(reply, refusal)
}

/// The headers that belong to a refusal, whatever its body.
pub(crate) fn headers(mut reply: Reply, refusal: &Refusal) -> Reply {
    if refusal.error().kind() == ErrorKind::Unauthenticated && *refusal.cause() == Cause::Call {
        reply = reply.with_header("www-authenticate", "Bearer");
    }
    match refusal.error().retry_after() {
        Some(after) => {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            reply.with_header("retry-after", seconds.max(1).to_string())
        }
        None => reply,
    }
}
