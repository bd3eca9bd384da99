//! What went wrong, as gRPC has it: a code, and details as Google's APIs give them.

use std::collections::HashMap;

use feature_core::ErrorKind;
use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetails, FieldViolation, StatusExt};

use crate::calls::{Cause, Refusal, RowFailure};
use crate::http::kind_of;

/// Whose kinds of errors they are.
const DOMAIN: &str = "fstore";
/// How many rows' errors a status lists: it has to fit into a header, of which clients take 8 KiB.
const LISTED: usize = 8;
/// How much of a message is told, for the same reason.
const LONGEST: usize = 1024;
const LONGEST_OF_ROW: usize = 160;

/// The code that a refusal has.
pub(super) fn code_of(refusal: &Refusal) -> Code {
    match refusal.cause() {
        Cause::UnknownView(_) | Cause::UnknownService(_) => Code::NotFound,
        Cause::UnknownPath | Cause::Method | Cause::MediaType | Cause::NotHere => Code::Unimplemented,
        Cause::SlowBody => Code::DeadlineExceeded,
        // Those that Feast's protocol has.
        Cause::Named { status: 404, .. } => Code::NotFound,
        Cause::Call | Cause::Malformed(_) | Cause::EveryRow(_) | Cause::Busy | Cause::Named { .. } => {
            code_of_kind(refusal.error().kind())
        }
    }
}

fn code_of_kind(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::LimitExceeded | ErrorKind::Throttled => Code::ResourceExhausted,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::NotConfigured => Code::FailedPrecondition,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Corrupt => Code::DataLoss,
        _ => Code::Internal,
    }
}

/// The status that a refusal is.
pub(super) fn status_of(refusal: &Refusal, request_id: &str) -> Status {
    let error = refusal.error();
    let mut details = ErrorDetails::new();
    let said = |yes: bool| if yes { "true" } else { "false" }.to_owned();
    details.set_error_info(
        kind_of(refusal),
        DOMAIN,
        HashMap::from([
            ("in_doubt".to_owned(), said(error.in_doubt())),
            ("retryable".to_owned(), said(error.is_retryable())),
            ("request_id".to_owned(), request_id.to_owned()),
        ]),
    );
    if let Some(delay) = error.retry_after() {
        details.set_retry_info(Some(delay));
    }
    if let Cause::EveryRow(failures) = refusal.cause() {
        details.set_bad_request(
            BadRequest::new(failures.iter().take(LISTED).map(violation).collect::<Vec<_>>()).field_violations,
        );
    }
    Status::with_error_details(code_of(refusal), start_of(error.message(), LONGEST), details)
}

fn violation(failure: &RowFailure) -> FieldViolation {
    let RowFailure { row, error } = failure;
    let description = format!("{}: {}", error.kind(), start_of(error.message(), LONGEST_OF_ROW));
    FieldViolation::new(format!("rows[{row}]"), description)
}

/// As much of a text as there is room for.
fn start_of(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = (0..=longest).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}
