//! Bodies of writes: rows, or columns.

use std::borrow::Cow;
use std::fmt;

use feature_core::{
    EntityKey, Error, FeatureValue, FeatureView, FeatureWrite, Features, Timestamp, Ttl, WriteMode,
};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::entities::{EntitiesSeed, Entity, Text};
use super::value::Bounded;
use super::{Bounds, unknown_key};
use crate::calls::WriteRows;

/// Reads the body of a write.
pub(crate) struct WriteSeed<'b> {
    pub(crate) bounds: &'b Bounds,
    /// What the view says of its features; `None` is nothing.
    pub(crate) view: Option<&'b FeatureView>,
}

/// What holds for rows that do not say otherwise.
#[derive(Clone, Copy, Default)]
struct Defaults {
    event_time: Option<Timestamp>,
    ttl: Option<Ttl>,
    mode: Option<Mode>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Merge,
    Replace,
}

impl From<Mode> for WriteMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Merge => Self::Merge,
            Mode::Replace => Self::Replace,
        }
    }
}

/// A row before it is known what holds for all.
struct Row {
    entity: EntityKey,
    features: Result<Features, Error>,
    own: Defaults,
}

impl Row {
    fn write(self, all: Defaults) -> Result<FeatureWrite, Error> {
        let write = FeatureWrite::new(self.entity, self.features?);
        Ok(FeatureWrite {
            timestamp: self.own.event_time.or(all.event_time),
            ttl: self.own.ttl.or(all.ttl),
            mode: self.own.mode.or(all.mode).map_or(WriteMode::Merge, WriteMode::from),
            ..write
        })
    }
}

impl<'de> DeserializeSeed<'de> for WriteSeed<'_> {
    type Value = WriteRows;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<WriteRows, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WriteSeed<'_> {
    type Value = WriteRows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of `rows`, or of `entities` and `features` in columns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<WriteRows, A::Error> {
        let Self { bounds, view } = self;
        let mut defaults = Defaults::default();
        let (mut rows, mut entities, mut columns, mut times) = (None, None, None, None);
        while let Some(Text(key)) = members.next_key()? {
            match &*key {
                "rows" => rows = Some(members.next_value_seed(Rows { bounds, view })?),
                "entities" => entities = Some(members.next_value_seed(EntitiesSeed(bounds))?),
                "features" => columns = Some(members.next_value_seed(Columns { bounds, view })?),
                "event_times" => times = Some(members.next_value_seed(Times(bounds))?),
                "event_time" => defaults.event_time = members.next_value()?,
                "ttl" => defaults.ttl = members.next_value()?,
                "mode" => defaults.mode = members.next_value()?,
                other => return Err(unknown_key(other, &WRITE)),
            }
        }
        match (rows, entities, columns) {
            (Some(rows), None, None) if times.is_none() => {
                Ok(rows.into_iter().map(|row: Row| row.write(defaults)).collect())
            }
            (None, Some(entities), Some(columns)) => table(entities, columns, times.as_deref(), defaults)
                .map_err(|error| A::Error::custom(error.message())),
            _ => Err(A::Error::custom(
                "expected either `rows`, or `entities` and `features` (and `event_times`) in columns",
            )),
        }
    }
}

const WRITE: [&str; 7] = ["rows", "entities", "features", "event_times", "event_time", "ttl", "mode"];

/// Columns as rows.
fn table(
    entities: Vec<EntityKey>,
    columns: Vec<(String, Vec<Result<FeatureValue, Error>>)>,
    times: Option<&[Option<Timestamp>]>,
    defaults: Defaults,
) -> Result<WriteRows, Error> {
    let rows = entities.len();
    let ragged = |what: &str, values: usize| {
        Error::invalid_argument(format!(
            "{what} has {values} values and there are {rows} entities: each row needs one"
        ))
    };
    if let Some((name, values)) = columns.iter().find(|(_, values)| values.len() != rows) {
        return Err(ragged(&format!("the feature `{}`", crate::calls::shown(name)), values.len()));
    }
    if let Some(times) = times.filter(|times| times.len() != rows) {
        return Err(ragged("`event_times`", times.len()));
    }
    let mut columns: Vec<_> = columns.into_iter().map(|(name, values)| (name, values.into_iter())).collect();
    let row = |(number, entity): (usize, EntityKey)| {
        let values = columns.iter_mut().filter_map(|(name, values)| Some((name.as_str(), values.next()?)));
        let features = features(values);
        let event_time = times.and_then(|times| times[number]);
        Row { entity, features, own: Defaults { event_time, ..Defaults::default() } }.write(defaults)
    };
    Ok(entities.into_iter().enumerate().map(row).collect())
}

/// The features of a row, or all that is wrong with them.
fn features<N: AsRef<str>>(
    values: impl Iterator<Item = (N, Result<FeatureValue, Error>)>,
) -> Result<Features, Error> {
    let mut problems = Vec::new();
    let mut all = Vec::with_capacity(values.size_hint().0);
    for (name, value) in values {
        match value {
            Ok(value) => all.push((name, value)),
            Err(error) => {
                problems.push(format!("`{}`: {}", crate::calls::shown(name.as_ref()), error.message()));
            }
        }
    }
    if problems.is_empty() {
        Ok(all.into_iter().collect())
    } else {
        Err(Error::invalid_argument(problems.join("; ")))
    }
}

/// The value of a feature. What the view does not have is left to the store to refuse.
fn value_of(json: &Value, name: &str, view: Option<&FeatureView>) -> Result<FeatureValue, Error> {
    match view.map(|view| view.features.get(name)) {
        Some(None) => Ok(FeatureValue::Null),
        Some(Some(wanted)) => FeatureValue::from_json(json, Some(*wanted)),
        None => FeatureValue::from_json(json, None),
    }
}

struct Rows<'b> {
    bounds: &'b Bounds,
    view: Option<&'b FeatureView>,
}

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = Vec<Row>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Vec<Row>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows, each an object of `entity` and `features`")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(row) = rows.next_element_seed(RowSeed { bounds: self.bounds, view: self.view })? {
            all.push(row);
            self.bounds.rows(all.len())?;
        }
        Ok(all)
    }
}

struct RowSeed<'b> {
    bounds: &'b Bounds,
    view: Option<&'b FeatureView>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row: an object of `entity` and `features`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Row, A::Error> {
        let (mut entity, mut features, mut own) = (None, None, Defaults::default());
        while let Some(Text(key)) = members.next_key()? {
            match &*key {
                "entity" => entity = Some(members.next_value_seed(Entity)?),
                "features" => features = Some(members.next_value_seed(FeaturesSeed(&self))?),
                "event_time" => own.event_time = members.next_value()?,
                "ttl" => own.ttl = members.next_value()?,
                "mode" => own.mode = members.next_value()?,
                other => {
                    return Err(unknown_key(other, &["entity", "features", "event_time", "ttl", "mode"]));
                }
            }
        }
        Ok(Row {
            entity: entity.ok_or_else(|| A::Error::missing_field("entity"))?,
            features: features.ok_or_else(|| A::Error::missing_field("features"))?,
            own,
        })
    }
}

struct FeaturesSeed<'r, 'b>(&'r RowSeed<'b>);

impl<'de> DeserializeSeed<'de> for FeaturesSeed<'_, '_> {
    type Value = Result<Features, Error>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FeaturesSeed<'_, '_> {
    type Value = Result<Features, Error>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of features and their values")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let RowSeed { bounds, view } = self.0;
        let mut all: Vec<(Cow<'de, str>, _)> = Vec::new();
        while let Some(Text(name)) = members.next_key()? {
            let json = members.next_value_seed(Bounded(bounds))?;
            let value = value_of(&json, &name, *view);
            all.push((name, value));
        }
        Ok(features(all.into_iter()))
    }
}

struct Columns<'b> {
    bounds: &'b Bounds,
    view: Option<&'b FeatureView>,
}

impl<'de> DeserializeSeed<'de> for Columns<'_> {
    type Value = Vec<(String, Vec<Result<FeatureValue, Error>>)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = Vec<(String, Vec<Result<FeatureValue, Error>>)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that has a list of values for each feature")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            let values =
                members.next_value_seed(Column { name: &name, bounds: self.bounds, view: self.view })?;
            all.push((name, values));
        }
        Ok(all)
    }
}

struct Column<'b> {
    name: &'b str,
    bounds: &'b Bounds,
    view: Option<&'b FeatureView>,
}

impl<'de> DeserializeSeed<'de> for Column<'_> {
    type Value = Vec<Result<FeatureValue, Error>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Column<'_> {
    type Value = Vec<Result<FeatureValue, Error>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of the values of a feature, one for each row")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(json) = values.next_element_seed(Bounded(self.bounds))? {
            all.push(value_of(&json, self.name, self.view));
            self.bounds.rows(all.len())?;
        }
        Ok(all)
    }
}

/// Event times, one for each row.
struct Times<'b>(&'b Bounds);

impl<'de> DeserializeSeed<'de> for Times<'_> {
    type Value = Vec<Option<Timestamp>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Times<'_> {
    type Value = Vec<Option<Timestamp>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of event times, one for each row")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut times: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(time) = times.next_element()? {
            all.push(time);
            self.0.rows(all.len())?;
        }
        Ok(all)
    }
}
