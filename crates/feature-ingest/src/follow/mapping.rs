//! What the fields of an event become.

use std::str::FromStr;

use feature_core::{
    EntityKey, FeatureView, FeatureWrite, Features, OnlineStore, Timestamp, Ttl, WriteMode, parse_duration,
};
use serde_json::{Map, Value};

use super::encoding::Encoding;
use super::envelope::{Envelope, Event, kind};
use super::feed::Message;
use crate::error::IngestError;
use crate::text::json_in;
use crate::time::{NEEDS_UNIT, TimeUnit, Timezone};

/// A field of an event, inside others where its name has dots: `customer.id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(String);

/// Something that is the same for all events, or in a field of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<T> {
    /// The same for all.
    Constant(T),
    /// What the field has.
    Field(FieldPath),
}

/// Which fields are features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StreamFeatures {
    /// Those of the declared view, or else all that have no other role.
    #[default]
    Others,
    /// These, each with the field that its value is in.
    Named(Vec<(String, FieldPath)>),
}

/// Where the event time is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTime {
    /// The field.
    pub field: FieldPath,
    /// The unit, where it is a number.
    pub unit: Option<TimeUnit>,
}

/// What a message becomes.
#[derive(Clone, Debug)]
pub struct StreamMapping {
    /// How messages are written.
    pub encoding: Encoding,
    /// What is around the fields.
    pub envelope: Envelope,
    /// The tenant.
    pub tenant: Part<String>,
    /// The feature view.
    pub view: Part<String>,
    /// The join keys, each with its field.
    pub entity: Vec<(String, FieldPath)>,
    /// The event time; `None` is what the envelope says, or else when the message entered the stream.
    pub event_time: Option<StreamTime>,
    /// The features.
    pub features: StreamFeatures,
    /// How long records live; `None` is the TTL of the declared view, or for ever.
    pub ttl: Option<Part<Ttl>>,
    /// Whether an event merges with what is stored or replaces it: `merge`, `replace`, or `retract` in a field.
    pub mode: Part<WriteMode>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) tenant: String,
    pub(crate) view: String,
    pub(crate) write: FeatureWrite,
}

impl FromStr for FieldPath {
    type Err = IngestError;

    fn from_str(text: &str) -> Result<Self, IngestError> {
        match text.split('.').all(|part| !part.is_empty()) {
            true => Ok(Self(text.to_owned())),
            false => Err(IngestError::Request(format!("`{text}` is not the name of a field"))),
        }
    }
}

impl FieldPath {
    /// The value; `None` where there is no such field. A field whose own name has dots counts before one inside
    /// others.
    fn find<'a>(&self, fields: &'a Map<String, Value>) -> Option<&'a Value> {
        if let Some(value) = fields.get(&self.0) {
            return Some(value);
        }
        let (first, rest) = self.0.split_once('.')?;
        rest.split('.').try_fold(fields.get(first)?, |value, name| value.get(name))
    }

    fn need<'a>(&self, fields: &'a Map<String, Value>, what: &str) -> Result<&'a Value, String> {
        match self.find(fields) {
            Some(Value::Null) => Err(format!("no {what}: field `{}` is null", self.0)),
            Some(value) => Ok(value),
            None => Err(format!("no {what}: there is no field `{}`", self.0)),
        }
    }

    /// A value that names something.
    fn name(&self, fields: &Map<String, Value>, what: &str) -> Result<String, String> {
        match self.need(fields, what)? {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
            Value::String(_) => Err(format!("no {what}: field `{}` is empty", self.0)),
            other => Err(format!("no {what}: field `{}` is {}", self.0, kind(other))),
        }
    }
}

impl StreamMapping {
    /// What a message says; `None` where it says nothing.
    pub(crate) fn change(&self, message: &Message, store: &OnlineStore) -> Result<Option<Change>, String> {
        let Some(event) = self.envelope.open(&message.payload, &self.encoding)? else { return Ok(None) };
        let fields = &event.fields;
        let name = |part: &Part<String>, what| match part {
            Part::Constant(name) => Ok(name.clone()),
            Part::Field(field) => field.name(fields, what),
        };
        let (tenant, view) = (name(&self.tenant, "tenant")?, name(&self.view, "feature view")?);
        let mut entity = EntityKey::builder();
        for (join_key, field) in &self.entity {
            entity = entity.with(join_key, field.name(fields, "entity")?);
        }
        let entity = entity.build().map_err(|e| e.message().to_owned())?;
        let time = self.event_time(&event, message)?;
        let retracts = event.gone || self.retracts(fields)?;
        let mut write = match retracts {
            true => FeatureWrite::retract(entity),
            false => FeatureWrite::new(entity, self.features(fields, store.view(&view))?),
        };
        if !retracts && self.mode(fields)? == WriteMode::Replace {
            write = write.replacing();
        }
        write.timestamp = Some(time);
        write.ttl = self.ttl(fields)?;
        Ok(Some(Change { tenant, view, write }))
    }

    fn event_time(&self, event: &Event, message: &Message) -> Result<Timestamp, String> {
        let Some(StreamTime { field, unit }) = &self.event_time else {
            return Ok(event.time.unwrap_or(message.time));
        };
        let instant = match (field.need(&event.fields, "event time")?, unit) {
            (Value::Number(number), Some(unit)) => {
                unit.instant_of_text(&number.to_string()).unwrap_or_else(|| Err("it is no number".to_owned()))
            }
            (Value::Number(_), None) => Err(NEEDS_UNIT.to_owned()),
            (Value::String(text), _) => Timezone::utc().instant(text),
            (other, _) => Err(format!("it is {}", kind(other))),
        };
        instant.map(|instant| instant.time).map_err(|e| format!("no event time: field `{}`: {e}", field.0))
    }

    fn ttl(&self, fields: &Map<String, Value>) -> Result<Option<Ttl>, String> {
        let field = match &self.ttl {
            None => return Ok(None),
            Some(Part::Constant(ttl)) => return Ok(Some(*ttl)),
            Some(Part::Field(field)) => field,
        };
        match field.find(fields) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text == "never" => Ok(Some(Ttl::Never)),
            Some(Value::String(text)) => parse_duration(text)
                .map(|lifetime| Some(Ttl::After(lifetime)))
                .map_err(|e| format!("field `{}`: {}", field.0, e.message())),
            Some(Value::Number(seconds)) if seconds.is_u64() => {
                Ok(Some(Ttl::from_secs(seconds.as_u64().unwrap_or_default())))
            }
            Some(other) => Err(format!("field `{}` is {}, not a duration", field.0, kind(other))),
        }
    }

    fn mode(&self, fields: &Map<String, Value>) -> Result<WriteMode, String> {
        match &self.mode {
            Part::Constant(mode) => Ok(*mode),
            Part::Field(field) => match field.find(fields).and_then(Value::as_str) {
                None | Some("merge") => Ok(WriteMode::Merge),
                Some("replace") => Ok(WriteMode::Replace),
                Some(other) => Err(format!(
                    "field `{}`: `{other}` is no mode; known are merge, replace, retract",
                    field.0
                )),
            },
        }
    }

    fn retracts(&self, fields: &Map<String, Value>) -> Result<bool, String> {
        Ok(match &self.mode {
            Part::Constant(_) => false,
            Part::Field(field) => field.find(fields).and_then(Value::as_str) == Some("retract"),
        })
    }

    fn features(&self, fields: &Map<String, Value>, view: Option<&FeatureView>) -> Result<Features, String> {
        let value = |name: &str, json: &Value| {
            let wanted = view.and_then(|view| view.features.get(name).copied());
            json_in(json, wanted, &Timezone::utc()).map_err(|e| format!("feature `{name}`: {}", e.message()))
        };
        let mut features = Vec::new();
        match (&self.features, view) {
            (StreamFeatures::Named(named), _) => {
                for (name, field) in named {
                    if let Some(json) = field.find(fields) {
                        features.push((name.as_str(), value(name, json)?));
                    }
                }
            }
            (StreamFeatures::Others, Some(view)) => {
                for name in view.features.keys() {
                    if let Some(json) = fields.get(name) {
                        features.push((name.as_str(), value(name, json)?));
                    }
                }
            }
            (StreamFeatures::Others, None) => {
                for (name, json) in fields.iter().filter(|(name, _)| !self.has_role(name)) {
                    features.push((name.as_str(), value(name, json)?));
                }
            }
        }
        if features.is_empty() {
            return Err("it has no feature".to_owned());
        }
        Ok(features.into_iter().collect())
    }

    /// Whether a field is something else than a feature.
    fn has_role(&self, name: &str) -> bool {
        let is = |field: &FieldPath| field.0 == name || field.0.split('.').next() == Some(name);
        let names =
            [&self.tenant, &self.view].into_iter().any(|part| matches!(part, Part::Field(f) if is(f)));
        names
            || self.entity.iter().any(|(_, field)| is(field))
            || self.event_time.as_ref().is_some_and(|time| is(&time.field))
            || matches!(&self.ttl, Some(Part::Field(field)) if is(field))
            || matches!(&self.mode, Part::Field(field) if is(field))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use feature_core::SystemClock;
    use serde_json::json;
    use store_testkit::MapStore;

    use super::*;

    fn path(name: &str) -> FieldPath {
        name.parse().unwrap()
    }

    fn mapping() -> StreamMapping {
        StreamMapping {
            encoding: Encoding::Json,
            envelope: Envelope::Plain,
            tenant: Part::Constant("t".to_owned()),
            view: Part::Field(path("view")),
            entity: vec![("id".to_owned(), path("who.id"))],
            event_time: Some(StreamTime { field: path("at"), unit: None }),
            features: StreamFeatures::Others,
            ttl: Some(Part::Field(path("ttl"))),
            mode: Part::Field(path("mode")),
        }
    }

    fn of(mapping: &StreamMapping, fields: &Value, views: &str) -> Result<Option<Change>, String> {
        let views = if views.is_empty() { Vec::new() } else { FeatureView::from_yaml(views).unwrap() };
        let backend = Arc::new(MapStore::new(Arc::new(SystemClock)));
        let store = OnlineStore::builder(backend).views(views).build().unwrap();
        let message = Message {
            place: "1-0".to_owned(),
            time: Timestamp::from_micros(7),
            payload: fields.to_string().into(),
        };
        mapping.change(&message, &store)
    }

    fn event() -> Value {
        json!({"view": "v", "who": {"id": 7, "name": "Ada"}, "at": "2026-01-01T00:00:00Z", "x": 1, "y": null})
    }

    #[test]
    fn each_field_has_its_role_and_the_others_are_features() {
        let change = of(&mapping(), &event(), "").unwrap().unwrap();
        assert_eq!((change.tenant.as_str(), change.view.as_str()), ("t", "v"));
        let write = FeatureWrite::new(
            EntityKey::new("id", 7).unwrap(),
            Features::new().with("x", 1_i64).with("y", feature_core::FeatureValue::Null),
        );
        assert_eq!(change.write, write.at("2026-01-01T00:00:00Z".parse().unwrap()));

        let mut fields = event();
        (fields["mode"], fields["ttl"]) = (json!("replace"), json!("7d"));
        let write = of(&mapping(), &fields, "").unwrap().unwrap().write;
        assert_eq!((write.mode, write.ttl), (WriteMode::Replace, Some(Ttl::from_secs(604_800))));
        (fields["mode"], fields["ttl"]) = (json!("retract"), json!(60));
        let write = of(&mapping(), &fields, "").unwrap().unwrap().write;
        assert_eq!(
            (write.features.len(), write.mode, write.ttl),
            (0, WriteMode::Replace, Some(Ttl::from_secs(60)))
        );
    }

    #[test]
    fn a_declared_view_says_which_fields_are_features_and_of_what_type() {
        let view = "feature_views: [{name: v, entities: [id], features: {x: float32, z: timestamp}}]";
        let mut fields = event();
        fields["z"] = json!("2026-01-01 12:00:00");
        let write = of(&mapping(), &fields, view).unwrap().unwrap().write;
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(write.features, Features::new().with("x", 1.0_f32).with("z", noon));
        fields["x"] = json!("many");
        assert!(of(&mapping(), &fields, view).unwrap_err().contains("feature `x`: expected float32"));
    }

    #[test]
    fn named_features_come_from_their_fields() {
        let named = StreamFeatures::Named(vec![
            ("name".to_owned(), path("who.name")),
            ("missing".to_owned(), path("who.age")),
        ]);
        let mapping = StreamMapping { features: named, event_time: None, ..mapping() };
        let write = of(&mapping, &event(), "").unwrap().unwrap().write;
        assert_eq!(
            (write.features, write.timestamp),
            (Features::from([("name", "Ada")]), Some(Timestamp::from_micros(7)))
        );
    }

    #[test]
    fn what_cannot_be_taken_has_its_reason() {
        let with = |name: &str, value: Value| {
            let mut fields = event();
            fields[name] = value;
            fields
        };
        for (fields, says) in [
            (json!({"x": 1}), "no feature view: there is no field `view`"),
            (with("view", json!("")), "no feature view: field `view` is empty"),
            (with("who", json!({"id": 1.5})), "no entity: field `who.id` is a number"),
            (with("who", json!({"id": null})), "no entity: field `who.id` is null"),
            (with("at", json!(5)), "numbers are times only with a timestamp unit"),
            (with("at", json!("noon")), "no event time: field `at`"),
            (with("ttl", json!("long")), "field `ttl`"),
            (with("mode", json!("add")), "`add` is no mode; known are merge, replace, retract"),
            (with("x", json!([1, "a"])), "feature `x`"),
            (json!({"view": "v", "who": {"id": 1}, "at": "2026-01-01"}), "it has no feature"),
        ] {
            let reason = of(&mapping(), &fields, "").unwrap_err();
            assert!(reason.contains(says), "{fields}: {reason}");
        }
        assert!("a..b".parse::<FieldPath>().is_err());
    }
}
