//! What is taken of a row, and how its values become a write.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use feature_core::{
    EntityKey, EntityKeyBuilder, FeatureNames, FeatureValue, FeatureView, FeatureWrite, Features, Timestamp,
    Ttl, ValueType, WriteMode,
};

use crate::error::{IngestError, Result};
use crate::options::{Decimals, IngestOptions, MissingColumns};
use crate::row::{Accepted, Reject, Row, bytes_of};
use crate::time::{Instant, NEEDS_UNIT, TimeUnit, Timezone};

/// What the options and the declared view say, whatever the input.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) entity: Vec<String>,
    pub(crate) timestamp: Option<String>,
    pub(crate) unit: Option<TimeUnit>,
    pub(crate) zone: Timezone,
    pub(crate) features: Option<Vec<String>>,
    pub(crate) exclude: Vec<String>,
    pub(crate) decimals: Decimals,
    pub(crate) missing: MissingColumns,
    nulls: HashSet<String>,
    pub(crate) view: Option<FeatureView>,
    ttl: Option<Ttl>,
    mode: WriteMode,
    now: Timestamp,
}

impl Mapping {
    /// Checks what can be checked without the input.
    pub(crate) fn new(options: &IngestOptions, view: Option<&FeatureView>, now: Timestamp) -> Result<Self> {
        let entity = match (&options.entity[..], view) {
            ([], Some(view)) => view.entities.clone(),
            (entity, _) => entity.to_vec(),
        };
        if entity.is_empty() {
            return Err(IngestError::Request(
                "which columns make the entity key? Name them, or declare a feature view first".to_owned(),
            ));
        }
        if let (Some(features), Some(view)) = (&options.features, view) {
            let unknown: Vec<_> =
                features.iter().filter(|name| !view.features.contains_key(*name)).map(|n| &**n).collect();
            if !unknown.is_empty() {
                return Err(IngestError::Request(format!(
                    "feature view `{}` has no {}; its features are {}",
                    view.name,
                    quoted(unknown),
                    quoted(view.features.keys().map(String::as_str))
                )));
            }
        }
        Ok(Self {
            entity,
            timestamp: options.timestamp.clone(),
            unit: options.timestamp_unit,
            zone: options.timezone.clone(),
            features: options.features.clone(),
            exclude: options.exclude.clone(),
            decimals: options.decimals,
            missing: options.missing_columns,
            nulls: options.null_values.iter().cloned().collect(),
            view: view.cloned(),
            ttl: options.ttl,
            mode: options.mode,
            now,
        })
    }

    /// The type that the declared view gives a feature.
    pub(crate) fn declared(&self, feature: &str) -> Option<ValueType> {
        self.view.as_ref()?.features.get(feature).copied()
    }

    /// Whether a column is a feature.
    pub(crate) fn is_feature(&self, column: &str) -> bool {
        if let Some(features) = &self.features {
            return features.iter().any(|own| own == column);
        }
        if self.exclude.iter().any(|own| own == column) {
            return false;
        }
        match &self.view {
            Some(view) => view.features.contains_key(column),
            None => !self.entity.iter().any(|own| own == column) && self.timestamp.as_deref() != Some(column),
        }
    }

    /// Whether the text of a cell without quotes means null.
    pub(crate) fn is_null(&self, text: &str) -> bool {
        self.nulls.contains(text)
    }

    /// The write that a row comes to. `entity` has a value for each entity column, in order.
    pub(crate) fn row<'a>(
        &self,
        number: u64,
        entity: impl Iterator<Item = Result<Option<Cow<'a, str>>, String>>,
        time: Option<Result<Instant, String>>,
        features: Result<Features, String>,
    ) -> Row {
        let entity = self.entity_key(entity).map_err(|reason| Reject::new(number, reason))?;
        let with_entity = |reason: String| {
            let mut reject = Reject::new(number, reason);
            reject.entity = Some(entity.to_string());
            reject
        };
        let instant = match (&self.timestamp, time) {
            (Some(column), Some(time)) => {
                time.map_err(|why| with_entity(format!("no event time: column `{column}`: {why}")))?
            }
            _ => Instant::exact(self.now),
        };
        let features = features.map_err(with_entity)?;
        let (ttl, mode) = (self.ttl, self.mode);
        let write = FeatureWrite { ttl, mode, ..FeatureWrite::new(entity, features).at(instant.time) };
        Ok(Accepted { number, cut: instant.cut, bytes: bytes_of(&write), write })
    }

    fn entity_key<'a>(
        &self,
        values: impl Iterator<Item = Result<Option<Cow<'a, str>>, String>>,
    ) -> Result<EntityKey, String> {
        let mut key = EntityKeyBuilder::default();
        for (name, value) in self.entity.iter().zip(values) {
            match value {
                Ok(Some(text)) if !text.is_empty() => key = key.with(name, text.into_owned()),
                Ok(_) => return Err(format!("no entity: column `{name}` is empty")),
                Err(why) => return Err(format!("no entity: column `{name}`: {why}")),
            }
        }
        key.build().map_err(|e| e.message().to_owned())
    }

    /// The event time that a text means, `None` being null.
    pub(crate) fn instant_of_text(&self, text: Option<&str>) -> Result<Instant, String> {
        let text = text.ok_or("it is empty")?;
        let number = match self.unit {
            Some(unit) => unit.instant_of_text(text),
            None if text.parse::<f64>().is_ok() => Some(Err(NEEDS_UNIT.to_owned())),
            None => None,
        };
        number.unwrap_or_else(|| self.zone.instant(text))
    }
}

/// The values of features that stand at the same places in every row.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    names: Arc<FeatureNames>,
}

impl Named {
    /// The features of these names, which are sorted.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { names: Arc::new(names.collect()) }
    }

    /// A row's features, or what is wrong with each that is wrong.
    pub(crate) fn features(
        &self,
        cells: impl ExactSizeIterator<Item = Result<FeatureValue, String>>,
    ) -> Result<Features, String> {
        let mut wrong = Vec::new();
        let mut values = Vec::with_capacity(cells.len());
        for (at, cell) in cells.enumerate() {
            match cell {
                Ok(value) => values.push(value),
                Err(why) => {
                    wrong.push(format!("feature `{}`: {why}", self.names.get(at).unwrap_or_default()));
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        Features::of_names(&self.names, values).map_err(|e| e.message().to_owned())
    }
}

/// Names as a list for a message.
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        let options = IngestOptions {
            entity: vec!["id".to_owned()],
            timestamp: Some("t".to_owned()),
            ..IngestOptions::default()
        };
        Mapping::new(&options, None, Timestamp::from_micros(7)).unwrap()
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_any_input_is_opened() {
        let nameless = Mapping::new(&IngestOptions::default(), None, Timestamp::MIN).unwrap_err();
        assert!(nameless.to_string().contains("which columns make the entity key"), "{nameless}");
    }

    #[test]
    fn a_row_without_entity_or_time_or_with_a_wrong_value_is_rejected_with_the_reason() {
        let named = Named::new(["a"].into_iter());
        let row =
            |entity: Option<&'static str>, time: Option<&str>, feature: Result<FeatureValue, String>| {
                let mapping = mapping();
                let time = mapping.instant_of_text(time);
                let entity = std::iter::once(Ok(entity.map(Cow::Borrowed)));
                mapping.row(3, entity, Some(time), named.features(std::iter::once(feature)))
            };
        let time = Some("1970-01-01T00:00:01Z");
        let good = row(Some("7"), time, Ok(1.into())).ok().unwrap();
        assert_eq!((good.number, good.write.entity_key.canonical()), (3, "id=7"));
        assert_eq!(good.write.timestamp, Some(Timestamp::from_micros(1_000_000)));
        for (row, reason) in [
            (row(None, time, Ok(1.into())), "no entity: column `id` is empty"),
            (row(Some("7"), None, Ok(1.into())), "no event time: column `t`: it is empty"),
            (
                row(Some("7"), Some("5"), Ok(1.into())),
                "no event time: column `t`: numbers are times only with a timestamp unit: s, ms, us or ns",
            ),
            (row(Some("7"), time, Err("wrong".to_owned())), "feature `a`: wrong"),
        ] {
            let reject = row.err().unwrap();
            assert_eq!((reject.row, reject.reason.as_str()), (3, reason));
        }
    }
}
