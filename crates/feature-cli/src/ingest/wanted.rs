//! What is taken from a file's columns, and how a row of values becomes a write.

use std::sync::Arc;

use feature_core::{
    EntityKey, EntityKeyBuilder, FeatureValue, FeatureView, FeatureWrite, Features, Timestamp, Ttl, ValueType,
};

use super::row::{Accepted, Cell, Reject, Row};
use crate::cli::TimeUnit;
use crate::exit::{Failure, Result};

/// What the user wants of a file.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The columns of the entity key.
    pub(crate) entity: Vec<String>,
    /// The column of event times.
    pub(crate) timestamp: Option<String>,
    /// The unit of event times that are integers.
    pub(crate) unit: Option<TimeUnit>,
    /// The feature columns; `None` is those of the view, or else all others.
    pub(crate) features: Option<Vec<String>>,
    /// The applied view.
    pub(crate) view: Option<FeatureView>,
    /// How long the records live.
    pub(crate) ttl: Option<Ttl>,
    /// The event time of rows without a column for it.
    pub(crate) now: Timestamp,
}

/// Where in a file with fixed columns everything stands.
pub(super) struct Columns {
    pub(super) entity: Vec<usize>,
    pub(super) timestamp: Option<usize>,
    /// Sorted by name, which is the order that a write has.
    pub(super) features: Vec<(Arc<str>, usize)>,
}

impl Wanted {
    /// Checks what can be checked without the file.
    pub(crate) fn check(&self) -> Result<()> {
        if self.entity.is_empty() {
            return Err(Failure::Usage(
                "which columns make the entity key? Say --entity, or apply a feature view first".to_owned(),
            ));
        }
        if let (Some(features), Some(view)) = (&self.features, &self.view) {
            let unknown: Vec<_> =
                features.iter().filter(|name| !view.features.contains_key(*name)).map(|n| &**n).collect();
            if !unknown.is_empty() {
                return Err(Failure::Usage(format!(
                    "feature view `{}` has no {}; its features are {}",
                    view.name,
                    quoted(unknown.iter().copied()),
                    quoted(view.features.keys().map(String::as_str))
                )));
            }
        }
        Ok(())
    }

    /// The type that the applied view gives a feature.
    pub(super) fn type_of(&self, feature: &str) -> Option<ValueType> {
        self.view.as_ref()?.features.get(feature).copied()
    }

    /// Whether a column is a feature when none are named.
    pub(super) fn is_feature_by_default(&self, column: &str) -> bool {
        match &self.view {
            Some(view) => view.features.contains_key(column),
            None => !self.entity.iter().any(|own| own == column) && self.timestamp.as_deref() != Some(column),
        }
    }

    /// Finds the columns of a file.
    pub(super) fn columns(&self, existing: &[String]) -> Result<Columns> {
        let place = |name: &String, what: &str| {
            existing.iter().position(|own| own == name).ok_or_else(|| {
                let known = quoted(existing.iter().map(String::as_str));
                Failure::Usage(format!("the file has no {what} column `{name}`; its columns are {known}"))
            })
        };
        let mut features: Vec<(Arc<str>, usize)> = match &self.features {
            Some(names) => names
                .iter()
                .map(|name| Ok((name.as_str().into(), place(name, "feature")?)))
                .collect::<Result<_>>()?,
            None => existing
                .iter()
                .enumerate()
                .filter(|(_, name)| self.is_feature_by_default(name))
                .map(|(at, name)| (name.as_str().into(), at))
                .collect(),
        };
        if features.is_empty() {
            let known = quoted(existing.iter().map(String::as_str));
            return Err(Failure::Usage(format!("none of the file's columns is a feature; they are {known}")));
        }
        features.sort();
        if let Some(pair) = features.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Failure::Usage(format!("the feature column `{}` stands twice", pair[0].0)));
        }
        Ok(Columns {
            entity: self.entity.iter().map(|name| place(name, "entity")).collect::<Result<_>>()?,
            timestamp: self.timestamp.as_ref().map(|name| place(name, "timestamp")).transpose()?,
            features,
        })
    }

    /// The write that a row's values come to. `entity` has a cell for each entity column, in order.
    pub(super) fn row(
        &self,
        number: u64,
        entity: impl Iterator<Item = Cell>,
        time: Option<Cell>,
        features: impl Iterator<Item = (Arc<str>, Cell)>,
    ) -> Row {
        let entity = self.entity_key(entity).map_err(|reason| Reject::new(number, reason))?;
        let with_entity = |reason: String| {
            let mut reject = Reject::new(number, reason);
            reject.entity = Some(entity.to_string());
            reject
        };
        let time = match (&self.timestamp, time) {
            (Some(column), Some(cell)) => cell
                .and_then(|value| instant(&value, self.unit))
                .map_err(|why| with_entity(format!("no event time: column `{column}`: {why}")))?,
            _ => self.now,
        };
        let mut wrong = Vec::new();
        let features: Features = features
            .filter_map(|(name, cell)| match cell {
                Ok(value) => Some((name, value)),
                Err(why) => {
                    wrong.push(format!("feature `{name}`: {why}"));
                    None
                }
            })
            .collect();
        if !wrong.is_empty() {
            return Err(with_entity(wrong.join("; ")));
        }
        let write = FeatureWrite { ttl: self.ttl, ..FeatureWrite::new(entity, features).at(time) };
        Ok(Accepted { number, write })
    }

    fn entity_key(&self, cells: impl Iterator<Item = Cell>) -> Result<EntityKey, String> {
        let mut key = EntityKeyBuilder::default();
        for (name, cell) in self.entity.iter().zip(cells) {
            key = match cell {
                Ok(FeatureValue::String(text)) if !text.is_empty() => key.with(name, text),
                Ok(FeatureValue::Int64(v)) => key.with(name, v),
                Ok(FeatureValue::Int32(v)) => key.with(name, v),
                Ok(FeatureValue::Null | FeatureValue::String(_)) => {
                    return Err(format!("no entity: column `{name}` is empty"));
                }
                Ok(_) => return Err(format!("no entity: column `{name}` is neither text nor an integer")),
                Err(why) => return Err(format!("no entity: column `{name}`: {why}")),
            };
        }
        key.build().map_err(|e| e.message().to_owned())
    }
}

/// Names as a list for a message.
pub(super) fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What integers need to be times.
pub(super) const NEEDS_UNIT: &str = "integers are times only with --timestamp-unit s, ms, us or ns";

/// The event time that a value means.
fn instant(value: &FeatureValue, unit: Option<TimeUnit>) -> Result<Timestamp, String> {
    match value {
        FeatureValue::Timestamp(time) => Ok(*time),
        FeatureValue::Null => Err("it is empty".to_owned()),
        FeatureValue::String(text) => match (text.parse(), unit) {
            (Ok(count), Some(unit)) => from_unit(count, unit),
            _ => text.parse().map_err(|e: feature_core::Error| e.message().to_owned()),
        },
        other => match (other.as_i64(), unit) {
            (Some(count), Some(unit)) => from_unit(count, unit),
            (Some(_), None) => Err(NEEDS_UNIT.to_owned()),
            (None, _) => Err("it is neither a time, RFC 3339 text nor an integer".to_owned()),
        },
    }
}

/// The instant so many units after 1970; finer than microseconds is cut off.
pub(super) fn from_unit(count: i64, unit: TimeUnit) -> Result<Timestamp, String> {
    let micros = match unit {
        TimeUnit::S => count.checked_mul(1_000_000),
        TimeUnit::Ms => count.checked_mul(1_000),
        TimeUnit::Us => Some(count),
        TimeUnit::Ns => Some(count.div_euclid(1_000)),
    };
    micros.map(Timestamp::from_micros).ok_or_else(|| format!("{count} is beyond the range of times"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            entity: vec!["id".to_owned()],
            timestamp: Some("t".to_owned()),
            unit: None,
            features: None,
            view: None,
            ttl: None,
            now: Timestamp::from_micros(7),
        }
    }

    #[test]
    fn every_unit_of_time() {
        for (count, unit, micros) in [
            (2, TimeUnit::S, 2_000_000),
            (2, TimeUnit::Ms, 2_000),
            (2, TimeUnit::Us, 2),
            (-1, TimeUnit::Ns, -1),
            (1_999, TimeUnit::Ns, 1),
        ] {
            assert_eq!(from_unit(count, unit), Ok(Timestamp::from_micros(micros)));
            assert_eq!(instant(&count.to_string().into(), Some(unit)), Ok(Timestamp::from_micros(micros)));
        }
        assert!(from_unit(i64::MAX, TimeUnit::S).is_err());
        assert_eq!(instant(&5.into(), None), Err(NEEDS_UNIT.to_owned()));
        assert!(instant(&"2013-01-01".into(), None).is_err());
    }

    #[test]
    fn columns_are_found_or_the_existing_ones_named() {
        let existing = ["z", "id", "t", "a"].map(str::to_owned);
        let columns = wanted().columns(&existing).unwrap();
        assert_eq!((columns.entity, columns.timestamp), (vec![1], Some(2)));
        assert_eq!(columns.features, [("a".into(), 3), ("z".into(), 0)]);
        for broken in [
            Wanted { entity: vec!["no".to_owned()], ..wanted() },
            Wanted { timestamp: Some("no".to_owned()), ..wanted() },
            Wanted { features: Some(vec!["no".to_owned()]), ..wanted() },
        ] {
            let message = broken.columns(&existing).err().unwrap().to_string();
            assert!(message.contains("column `no`; its columns are `z`, `id`, `t`, `a`"), "{message}");
        }
    }

    #[test]
    fn a_row_without_entity_or_time_or_with_a_wrong_value_is_rejected_with_the_reason() {
        let row = |entity: FeatureValue, time: FeatureValue, feature: Cell| {
            let features = std::iter::once((Arc::from("a"), feature));
            wanted().row(3, std::iter::once(Ok(entity)), Some(Ok(time)), features)
        };
        let time = || FeatureValue::from("1970-01-01T00:00:01Z");
        let good = row(7.into(), time(), Ok(1.into())).ok().unwrap();
        assert_eq!((good.number, good.write.entity_key.canonical()), (3, "id=7"));
        assert_eq!(good.write.timestamp, Some(Timestamp::from_micros(1_000_000)));
        for (row, reason) in [
            (row(FeatureValue::Null, time(), Ok(1.into())), "no entity: column `id` is empty"),
            (row(1.5.into(), time(), Ok(1.into())), "no entity: column `id` is neither text nor an integer"),
            (row(7.into(), FeatureValue::Null, Ok(1.into())), "no event time: column `t`: it is empty"),
            (row(7.into(), time(), Err("wrong".to_owned())), "feature `a`: wrong"),
        ] {
            let reject = row.err().unwrap();
            assert_eq!((reject.row, reject.reason.as_str()), (3, reason));
        }
    }
}
