//! Tables as JSON, for servers and scripts.

use feature_core::{EntityKey, Timestamp};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{FeatureColumn, FeatureTable, RowError};

impl Serialize for FeatureTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fallback: Vec<FromFallback<'_>> =
            self.from_fallback().map(|(view, rows)| FromFallback { view, rows }).collect();
        let fields = 2 + usize::from(!self.errors().is_empty()) + usize::from(!fallback.is_empty());
        let mut table = serializer.serialize_struct("FeatureTable", fields)?;
        let entities: Vec<JoinKeys<'_>> = self.entities().iter().map(JoinKeys).collect();
        table.serialize_field("entities", &entities)?;
        table.serialize_field("columns", &Each(|| self.columns()))?;
        if !self.errors().is_empty() {
            table.serialize_field("errors", self.errors())?;
        }
        if !fallback.is_empty() {
            table.serialize_field("from_fallback", &fallback)?;
        }
        table.end()
    }
}

impl Serialize for FeatureColumn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut column = serializer.serialize_struct("FeatureColumn", 6)?;
        column.serialize_field("name", self.name())?;
        column.serialize_field("feature", self.reference())?;
        column.serialize_field("type", &self.value_type())?;
        column.serialize_field("values", &Each(|| self.values().map(|value| value.to_json())))?;
        column.serialize_field("statuses", &Each(|| self.statuses().iter().map(|status| status.name())))?;
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        column.serialize_field("event_times", &Each(|| self.event_times().map(time)))?;
        column.end()
    }
}

impl Serialize for RowError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_struct("RowError", 5)?;
        error.serialize_field("row", &self.row)?;
        error.serialize_field("view", &self.view)?;
        error.serialize_field("feature", &self.feature)?;
        error.serialize_field("kind", self.error.kind().name())?;
        error.serialize_field("error", &self.error.to_string())?;
        error.end()
    }
}

#[derive(serde::Serialize)]
struct FromFallback<'a> {
    view: &'a str,
    rows: &'a [usize],
}

struct JoinKeys<'a>(&'a EntityKey);

impl Serialize for JoinKeys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.join_keys())
    }
}

/// A list of what this gives.
struct Each<F>(F);

impl<T: Serialize, I: Iterator<Item = T>, F: Fn() -> I> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}
