//! Which language a body is in, and which one an answer shall be in.

use feature_core::Error;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE};

use crate::calls::{Cause, Refusal, shown};

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A language of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Arrow,
}

/// The language that a body is in; one that does not say is taken for JSON.
pub(crate) fn of_body(headers: &HeaderMap) -> Result<Media, Refusal> {
    let Some(stated) = headers.get(CONTENT_TYPE) else { return Ok(Media::Json) };
    let text = stated.to_str().unwrap_or_default();
    media(essence(text)).ok_or_else(|| {
        let message = format!("the body is `{}`: send {JSON} or {ARROW}", shown(text));
        Refusal::new(Cause::MediaType, Error::invalid_argument(message))
    })
}

/// A body that is JSON.
pub(crate) fn json_body(headers: &HeaderMap) -> Result<(), Refusal> {
    match of_body(headers)? {
        Media::Json => Ok(()),
        Media::Arrow => {
            Err(Refusal::new(Cause::MediaType, Error::invalid_argument(format!("the body must be {JSON}"))))
        }
    }
}

/// The language that an answer shall be in: the first that is known, JSON where any will do.
pub(crate) fn of_answer(headers: &HeaderMap) -> Result<Media, Refusal> {
    let Some(accepted) = headers.get(ACCEPT) else { return Ok(Media::Json) };
    let text = accepted.to_str().unwrap_or_default();
    let known = |range: &str| match essence(range) {
        "*/*" | "application/*" | "" => Some(Media::Json),
        name => media(name),
    };
    text.split(',').find_map(known).ok_or_else(|| {
        let message = format!("no answer can be `{}`: accept {JSON} or {ARROW}", shown(text));
        Refusal::new(Cause::MediaType, Error::invalid_argument(message))
    })
}

/// A media type without its parameters.
fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

fn media(name: &str) -> Option<Media> {
    if name.eq_ignore_ascii_case(JSON) {
        Some(Media::Json)
    } else if name.eq_ignore_ascii_case(ARROW) {
        Some(Media::Arrow)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn languages_are_told_by_their_names() {
        for (accept, media) in [
            ("*/*", Some(Media::Json)),
            ("application/vnd.apache.arrow.stream", Some(Media::Arrow)),
            ("text/html, application/json;q=0.9", Some(Media::Json)),
            ("Application/JSON", Some(Media::Json)),
            ("text/html", None),
        ] {
            assert_eq!(of_answer(&headers(ACCEPT, accept)).ok(), media, "{accept}");
        }
        assert_eq!(of_answer(&HeaderMap::new()).ok(), Some(Media::Json));
        for (stated, media) in [
            ("application/json; charset=utf-8", Some(Media::Json)),
            (ARROW, Some(Media::Arrow)),
            ("text/plain", None),
        ] {
            assert_eq!(of_body(&headers(CONTENT_TYPE, stated)).ok(), media, "{stated}");
        }
    }
}
