//! Answers in JSON, written straight into their buffer.

use feature_core::{EntityKey, Error, FeatureRow, FeatureValue, RecordKey, Timestamp, WriteOutcome};
use serde::Serialize;
use store_unified::{CellStatus, ColumnSlice, FeatureRef};

use super::ReadOptions;
use crate::calls::{Column, Forgotten, Table, Written};
use crate::http::problem::row_error;

/// Nothing keeps a number or a text from being written into memory.
pub(crate) fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

/// A list of what `each` writes of each thing.
pub(crate) fn list<T>(
    out: &mut Vec<u8>,
    things: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    let mut first = true;
    for thing in things {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        each(out, thing);
    }
    out.push(b']');
}

/// The times of rows as texts. All columns of a view mostly have the time of their row, and a text is quicker
/// to copy than to make.
#[derive(Default)]
pub(crate) struct Times(Vec<(Option<Timestamp>, Vec<u8>)>);

impl Times {
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, row: usize, time: Timestamp) {
        if self.0.len() <= row {
            self.0.resize_with(row + 1, Default::default);
        }
        let (last, text) = &mut self.0[row];
        if *last != Some(time) {
            text.clear();
            put(text, &time);
            *last = Some(time);
        }
        out.extend_from_slice(text);
    }
}

/// The values of a column, null where there is none; `each` writes one that is not a float.
pub(crate) fn values(
    out: &mut Vec<u8>,
    column: &Column<'_>,
    mut each: impl FnMut(&mut Vec<u8>, &FeatureValue),
) {
    match column.values {
        ColumnSlice::Floats(floats) => {
            list(out, floats.iter().zip(column.statuses), |out, (value, status)| match status {
                CellStatus::Present => FeatureValue::write_json_float(out, *value),
                _ => out.extend_from_slice(b"null"),
            });
        }
        ColumnSlice::Values(values) => list(out, values, |out, value| each(out, value)),
    }
}

/// The answer to a read.
pub(crate) fn table(table: &Table, options: ReadOptions) -> Vec<u8> {
    let columns = table.columns();
    let mut out = Vec::with_capacity(256 + table.width() * (96 + table.rows() * 20));
    let mut times = Times::default();
    out.extend_from_slice(b"{\"rows\":");
    put(&mut out, &table.rows());
    out.extend_from_slice(b",\"columns\":");
    list(&mut out, columns, |out, column| put_column(out, &column, options, &mut times));
    if !table.errors().is_empty() {
        out.extend_from_slice(b",\"errors\":");
        list(&mut out, table.errors(), |out, error| {
            let mut object = row_error(error.row, &error.error);
            object["view"] = error.view.as_str().into();
            if let Some(feature) = &error.feature {
                object["feature"] = feature.as_str().into();
            }
            put(out, &object);
        });
    }
    let mut fallback = table.fallback_rows().peekable();
    if fallback.peek().is_some() {
        out.extend_from_slice(b",\"from_fallback\":");
        list(&mut out, fallback, |out, (view, rows)| {
            put(out, &serde_json::json!({ "view": view, "rows": rows }));
        });
    }
    out.push(b'}');
    out
}

fn put_column(out: &mut Vec<u8>, column: &Column<'_>, options: ReadOptions, times: &mut Times) {
    out.extend_from_slice(b"{\"name\":");
    match options.full_feature_names {
        true => put(out, &column.full_name()),
        false if is_plain(column.name) => put_plain(out, &[column.name]),
        false => put(out, column.name),
    }
    out.extend_from_slice(b",\"feature\":");
    match is_plain(column.view) && is_plain(column.feature) {
        true => put_plain(out, &[column.view, ":", column.feature]),
        false => put(out, &FeatureRef::new(column.view, column.feature)),
    }
    if let Some(value_type) = column.value_type {
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(value_type.name().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"values\":");
    values(out, column, |out, value| value.write_json(out));
    if options.statuses || !column.is_full() {
        out.extend_from_slice(b",\"statuses\":");
        list(out, column.statuses, |out, status| {
            out.push(b'"');
            out.extend_from_slice(status.name().as_bytes());
            out.push(b'"');
        });
    }
    if options.event_times {
        out.extend_from_slice(b",\"event_times\":");
        list(out, column.event_times().enumerate(), |out, (row, time)| match time {
            Some(time) => times.put(out, row, time),
            None => out.extend_from_slice(b"null"),
        });
    }
    out.push(b'}');
}

/// Whether a name is written the same inside a reference and inside JSON.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
}

fn put_plain(out: &mut Vec<u8>, parts: &[&str]) {
    out.push(b'"');
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.push(b'"');
}

/// The answer to a write.
pub(crate) fn written(written: &Written) -> Vec<u8> {
    let rows = &written.rows;
    let count = |wanted| rows.iter().filter(|row| matches!(row, Ok(own) if *own == wanted)).count();
    let (applied, superseded) = (count(WriteOutcome::Applied), count(WriteOutcome::Superseded));
    let mut out = Vec::with_capacity(128 + rows.len() * 12);
    out.extend_from_slice(b"{\"rows\":");
    put(&mut out, &rows.len());
    out.extend_from_slice(b",\"applied\":");
    put(&mut out, &applied);
    out.extend_from_slice(b",\"superseded\":");
    put(&mut out, &superseded);
    out.extend_from_slice(b",\"failed\":");
    put(&mut out, &(rows.len() - applied - superseded));
    out.extend_from_slice(b",\"outcomes\":");
    list(&mut out, rows, |out, row| {
        out.extend_from_slice(match row {
            Ok(WriteOutcome::Applied) => b"\"applied\"",
            Ok(WriteOutcome::Superseded) => b"\"superseded\"",
            Err(error) if error.in_doubt() => b"\"in_doubt\"",
            Err(_) => b"\"failed\"",
        });
    });
    put_errors(&mut out, rows.iter().enumerate());
    out.push(b'}');
    out
}

/// The answer to a delete.
pub(crate) fn deleted(rows: &[Result<bool, Error>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + rows.len() * 6);
    put_deleted(&mut out, rows.iter().enumerate());
    out
}

/// The answer to a delete in all views.
pub(crate) fn forgotten(views: &[Forgotten]) -> Vec<u8> {
    let mut out = b"{\"views\":{".to_vec();
    for (at, view) in views.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(&mut out, &view.view);
        out.push(b':');
        put_deleted(&mut out, view.rows.iter().map(|(row, found)| (*row, found)));
    }
    out.extend_from_slice(b"}}");
    out
}

fn put_deleted<'a>(out: &mut Vec<u8>, rows: impl Iterator<Item = (usize, &'a Result<bool, Error>)> + Clone) {
    out.extend_from_slice(b"{\"rows\":");
    put(out, &rows.clone().count());
    out.extend_from_slice(b",\"deleted\":");
    put(out, &rows.clone().filter(|(_, row)| matches!(row, Ok(true))).count());
    put_errors(out, rows);
    out.push(b'}');
}

fn put_errors<'a, T: 'a>(out: &mut Vec<u8>, rows: impl Iterator<Item = (usize, &'a Result<T, Error>)>) {
    let mut failures = rows.filter_map(|(row, outcome)| Some((row, outcome.as_ref().err()?))).peekable();
    if failures.peek().is_some() {
        out.extend_from_slice(b",\"errors\":");
        list(out, failures, |out, (row, error)| put(out, &row_error(row, error)));
    }
}

/// A line of a scan.
pub(crate) fn scanned(out: &mut Vec<u8>, key: &RecordKey, row: &FeatureRow) {
    out.extend_from_slice(b"{\"entity\":");
    put_entity(out, key.entity());
    out.extend_from_slice(b",\"features\":{");
    let mut first = true;
    for (name, status, value) in row.iter() {
        // What is too old is not served here either.
        if status == feature_core::FeatureStatus::OutsideMaxAge {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put(out, name);
        out.push(b':');
        value.write_json(out);
    }
    out.extend_from_slice(b"},\"event_time\":");
    put(out, &row.timestamp);
    if let Some(expires_at) = row.expires_at {
        out.extend_from_slice(b",\"expires_at\":");
        put(out, &expires_at);
    }
    out.extend_from_slice(b"}\n");
}

/// A line of a scan that says why there is a row that cannot be given.
pub(crate) fn unscanned(out: &mut Vec<u8>, error: &Error) {
    let (kind, key) = (error.kind().name(), error.key());
    put(out, &serde_json::json!({ "error": { "kind": kind, "error": error.message(), "record": key } }));
    out.push(b'\n');
}

fn put_entity(out: &mut Vec<u8>, entity: &EntityKey) {
    out.push(b'{');
    for (at, (name, value)) in entity.join_keys().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, &name);
        out.push(b':');
        put(out, &value);
    }
    out.push(b'}');
}
