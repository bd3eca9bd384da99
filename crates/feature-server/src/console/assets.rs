//! The style and the script of the console, from the program itself.

use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::page::secure;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");

pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

fn asset(media_type: &'static str, text: &'static str) -> Response {
    // The address of an asset has the program's version.
    let headers = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=86400")];
    secure((headers, text).into_response())
}
