//! The answer to `/get-online-features`, written straight into its buffer.

use feature_core::{FeatureValue, Timestamp};

use super::read::{EPOCH, Found, status};
use crate::calls::{Column, Table};
use crate::http::json::encode::{self, Times, list, put};

/// The answer that says what was found.
pub(super) fn answer(answer: &Found) -> Vec<u8> {
    let columns = answer.entities.len() + answer.names.len();
    let mut out = Vec::with_capacity(256 + columns * (answer.rows * 56 + 96));
    let mut times = Times::default();
    out.extend_from_slice(b"{\"results\":[");
    for (at, (_, values)) in answer.entities.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"values\":");
        list(&mut out, values, put);
        repeated(&mut out, answer.rows, "PRESENT", &mut times);
    }
    let mut read = answer.table.iter().flat_map(Table::columns);
    for readable in &answer.readable {
        out.push(b',');
        match if *readable { read.next() } else { None } {
            Some(column) => found(&mut out, &column, &mut times),
            None => {
                out.extend_from_slice(b"{\"values\":");
                list(&mut out, 0..answer.rows, |out, _| out.extend_from_slice(b"null"));
                repeated(&mut out, answer.rows, "NOT_FOUND", &mut times);
            }
        }
    }
    out.extend_from_slice(b"],\"metadata\":{\"feature_names\":");
    let names = answer.entities.iter().map(|(name, _)| name).chain(&answer.names);
    list(&mut out, names, put);
    if let Some(views) = &answer.view_metadata {
        out.extend_from_slice(b",\"feature_view_metadata\":");
        list(&mut out, views, |out, view| {
            out.extend_from_slice(b"{\"name\":");
            put(out, view);
            out.push(b'}');
        });
    }
    out.extend_from_slice(b"}}");
    out
}

fn found(out: &mut Vec<u8>, column: &Column<'_>, times: &mut Times) {
    out.extend_from_slice(b"{\"values\":");
    encode::values(out, column, value);
    out.extend_from_slice(b",\"statuses\":");
    list(out, column.statuses, |out, own| {
        out.push(b'"');
        out.extend_from_slice(status(*own).as_bytes());
        out.push(b'"');
    });
    out.extend_from_slice(b",\"event_timestamps\":");
    list(out, column.event_times().enumerate(), |out, (row, time)| {
        times.put(out, row, time.unwrap_or(EPOCH));
    });
    out.push(b'}');
}

/// Statuses and times that are the same for all rows.
fn repeated(out: &mut Vec<u8>, rows: usize, status: &str, times: &mut Times) {
    out.extend_from_slice(b",\"statuses\":");
    list(out, 0..rows, |out, _| put(out, status));
    out.extend_from_slice(b",\"event_timestamps\":");
    list(out, 0..rows, |out, row| times.put(out, row, EPOCH));
    out.push(b'}');
}

/// A value as Feast has it: instants are seconds since 1970.
fn value(out: &mut Vec<u8>, value: &FeatureValue) {
    match value {
        FeatureValue::Timestamp(time) => put(out, &seconds(*time)),
        FeatureValue::TimestampList(instants) => list(out, instants, |out, time| put(out, &seconds(*time))),
        other => other.write_json(out),
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}
