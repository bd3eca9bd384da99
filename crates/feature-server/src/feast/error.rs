//! What went wrong, in the forms that Feast's SDK knows.

use feature_core::Error;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::calls::{Cause, Refusal};
use crate::http::{Reply, refusal_headers, status_of};

/// An error that Feast has a class for.
pub(super) fn named(class: &'static str, status: u16, message: impl Into<String>) -> Refusal {
    Refusal::new(Cause::Named { class, status }, Error::invalid_argument(message))
}

/// The JSON text that holds JSON, from which Feast's SDK raises such an error again.
fn raised(class: &str, message: &str) -> Value {
    // With Python's spaces, as Feast writes it.
    let text = |text: &str| Value::from(text).to_string();
    let inner = format!(
        "{{\"module\": \"feast.errors\", \"class\": {}, \"message\": {}}}",
        text(class),
        text(message)
    );
    inner.into()
}

/// The answer that a refusal is.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    let message = refusal.error().message();
    let (status, body) = match refusal.cause() {
        Cause::UnknownPath => (StatusCode::NOT_FOUND, json!({ "detail": "Not Found" })),
        Cause::Method => (StatusCode::METHOD_NOT_ALLOWED, json!({ "detail": "Method Not Allowed" })),
        Cause::Named { class, .. } => (status_of(refusal), raised(class, message)),
        Cause::Malformed(at) => {
            let detail = json!({
                "type": "json_invalid",
                "loc": ["body", at],
                "msg": "JSON decode error",
                "input": {},
                "ctx": { "error": message },
            });
            (StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": [detail] }))
        }
        Cause::MediaType => {
            let detail = json!({
                "type": "model_attributes_type",
                "loc": ["body"],
                "msg": "Input should be a valid dictionary or object to extract fields from",
            });
            (StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": [detail] }))
        }
        _ => (status_of(refusal), message.into()),
    };
    refusal_headers(Reply::new(status, "application/json", body.to_string()), refusal)
}
