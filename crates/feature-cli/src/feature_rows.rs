//! Feature rows as output: in JSON each with its own features, in a table or CSV in common columns.

use std::collections::BTreeSet;

use feature_core::{EntityKey, FeatureRow, FeatureStatus, FeatureValue, ViewKey};
use feature_store::unified::CellStatus;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::exit::Result;
use crate::output::{Output, Rows};

/// Feature rows on their way to standard output.
pub(crate) struct FeatureRows<'a> {
    rows: Rows<'a>,
    format: Format,
    /// The columns of a table or CSV file.
    features: Vec<String>,
    /// Whether rows come from several views, so that each names its own.
    places: bool,
}

/// Whether rows of this format have common columns, so that all features must be known at first.
pub(crate) fn is_wide(format: Format) -> bool {
    matches!(format, Format::Table | Format::Csv)
}

/// The names of all features that are in some of the rows.
pub(crate) fn names_in<'a>(rows: impl Iterator<Item = &'a FeatureRow>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for row in rows {
        for name in row.names().iter().filter(|name| row.status(name) != FeatureStatus::NotFound) {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    }
    names.into_iter().collect()
}

impl<'a> FeatureRows<'a> {
    /// Begins a list. `features` are the columns where the format [is wide](is_wide); with `places` each
    /// row says which view it is from.
    pub(crate) fn new(output: &'a mut Output, features: Vec<String>, places: bool) -> Self {
        let format = output.format();
        let mut columns: Vec<&str> = if places { vec!["view"] } else { Vec::new() };
        if is_wide(format) {
            columns.extend(["entity", "timestamp"]);
            columns.extend(features.iter().map(String::as_str));
        } else {
            columns.extend(["entity", "found", "timestamp", "expires_at", "features", "status"]);
        }
        Self { rows: output.rows(&columns), format, features, places }
    }

    /// Adds the row of an entity; `None` where it has no record.
    pub(crate) fn push(
        &mut self,
        view: &ViewKey,
        entity: &EntityKey,
        row: Option<&FeatureRow>,
    ) -> Result<()> {
        let mut cells = if self.places { vec![json!(view.view())] } else { Vec::new() };
        let time = |row: &FeatureRow| json!(row.timestamp.to_string());
        match (self.format, row) {
            (Format::Table, None) => {
                cells.extend([json!(entity.canonical()), json!("(no record)")]);
                cells.extend(self.features.iter().map(|_| Value::Null));
            }
            (Format::Table | Format::Csv, row) => {
                cells.extend([json!(entity.canonical()), row.map_or(Value::Null, time)]);
                let of = |name: &String| match row {
                    Some(row) => cell(self.format, row.status(name).into(), row.get(name)),
                    None => Value::Null,
                };
                cells.extend(self.features.iter().map(of));
            }
            (Format::Json | Format::Ndjson, row) => {
                let expires_at = row.and_then(|row| row.expires_at).map(|at| at.to_string());
                let features: Value =
                    row.iter().flat_map(|row| row.iter()).map(|(name, _, v)| (name, v.to_json())).collect();
                let status: Value =
                    row.iter().flat_map(|row| row.iter()).map(|(name, s, _)| (name, s.name())).collect();
                let entity: Value = entity.join_keys().map(|(name, v)| (name, json!(v))).collect();
                cells.extend([entity, json!(row.is_some()), row.map_or(Value::Null, time)]);
                cells.extend([json!(expires_at), features, status]);
            }
        }
        self.rows.push(cells)
    }

    /// Ends the list.
    pub(crate) fn finish(self) -> Result<()> {
        self.rows.finish()
    }
}

/// A feature as a cell of a table or CSV file.
pub(crate) fn cell(format: Format, status: CellStatus, value: Option<&FeatureValue>) -> Value {
    match (status, format) {
        (CellStatus::Present, _) => value.map_or(Value::Null, FeatureValue::to_json),
        (CellStatus::Null, Format::Table) => json!("null"),
        (CellStatus::NotFound, Format::Table) => json!("-"),
        (CellStatus::OutsideMaxAge, Format::Table) => json!("(too old)"),
        (CellStatus::Failed, Format::Table) => json!("(failed)"),
        _ => Value::Null,
    }
}
