//! The bodies of Feast's protocol over HTTP.

use super::{read, write};
use crate::fuzz::{LIMITS, check, view};
use crate::http::json::{self, Bounds};

/// Bodies of reads and writes.
pub(crate) fn json(data: &[u8]) {
    let bounds = Bounds::new(&LIMITS);
    let longest = |columns: &[(String, Vec<serde_json::Value>)]| {
        columns.iter().map(|(_, values)| values.len()).max().unwrap_or_default()
    };
    check(json::read(data, &bounds, read::BodySeed(&bounds)), |asked| longest(&asked.entities));
    let bounds = Bounds::new(&LIMITS);
    let body = json::read(data, &bounds, write::BodySeed(&bounds));
    if let (Ok(body), Some(view)) = (&body, view()) {
        check(write::rows(&view, &body.df), Vec::len);
    }
    check(body, |body| longest(&body.df));
}
