//! `POST /push` and `POST /write-to-online-store`.

use std::fmt;

use feature_core::{
    EntityKey, EntityValue, Error, FeatureValue, FeatureView, FeatureWrite, Features, Timestamp, ValueType,
};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::error::{named, refuse};
use super::read::Columns;
use super::tenant_of;
use crate::auth::Right;
use crate::calls::{Call, Cause, Refusal, shown};
use crate::http::json::{self, Bounds, Text};
use crate::http::{Access, Context, Endpoint, Reply, Request, json_body};
use crate::observe::Route;

/// The column that has the event times.
const EVENT_TIMESTAMP: &str = "event_timestamp";

/// `POST /push`.
#[derive(Deserialize)]
pub(super) struct Push {}

impl Endpoint for Push {
    const ROUTE: Route = Route::FeastPush;

    fn access(&self, call: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(tenant_of(call)?, Right::Write))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let body = body(call, &request)?;
        let source = body.push_source.ok_or_else(|| Refusal::invalid("`push_source_name` is missing"))?;
        if let Some(to) = body.to.filter(|to| to != "online") {
            let to = shown(&to);
            return Err(Refusal::invalid(format!("`to` is `{to}`: this server has an online store alone")));
        }
        let view = call.live.settings.feast.push_sources.get(&source).unwrap_or(&source).clone();
        write(call, &view, body.df).await.map_err(|refusal| match refusal.cause() {
            Cause::UnknownView(_) => {
                named("PushSourceNotFoundException", 422, format!("Unable to find push source '{source}'."))
            }
            _ => refusal,
        })
    }

    fn refuse(refusal: &Refusal, _: &Context) -> Reply {
        refuse(refusal)
    }
}

/// `POST /write-to-online-store`.
#[derive(Deserialize)]
pub(super) struct WriteToOnlineStore {}

impl Endpoint for WriteToOnlineStore {
    const ROUTE: Route = Route::FeastWrite;

    fn access(&self, call: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(tenant_of(call)?, Right::Write))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let body = body(call, &request)?;
        let view = body.view.ok_or_else(|| Refusal::invalid("`feature_view_name` is missing"))?;
        write(call, &view, body.df).await.map_err(|refusal| match refusal.cause() {
            Cause::UnknownView(view) => named(
                "FeastObjectNotFoundException",
                404,
                format!("Can't recognize feast object with a name {view}"),
            ),
            _ => refusal,
        })
    }

    fn refuse(refusal: &Refusal, _: &Context) -> Reply {
        refuse(refusal)
    }
}

#[derive(Default)]
pub(super) struct Body {
    view: Option<String>,
    push_source: Option<String>,
    to: Option<String>,
    pub(super) df: Vec<(String, Vec<Value>)>,
}

pub(super) struct BodySeed<'b>(pub(super) &'b Bounds);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = Body;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Body, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of `df` and where it is written to")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Body, A::Error> {
        let mut body = Body::default();
        while let Some(Text(key)) = members.next_key()? {
            match &*key {
                "feature_view_name" => body.view = Some(members.next_value()?),
                "push_source_name" => body.push_source = Some(members.next_value()?),
                "to" => body.to = Some(members.next_value()?),
                "df" => body.df = members.next_value_seed(Columns(self.0))?,
                // Feast takes any, too.
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(body)
    }
}

fn body(call: &Call, request: &Request) -> Result<Body, Refusal> {
    json_body(&request.headers)?;
    let bounds = Bounds::new(&call.live.settings.limits);
    json::read(&request.body, &bounds, BodySeed(&bounds))
}

/// Writes the rows, or none of them where one cannot be understood.
async fn write(call: &mut Call, view: &str, df: Vec<(String, Vec<Value>)>) -> Result<Reply, Refusal> {
    let tenant = tenant_of(call)?;
    let mut on = call.on(&tenant, Right::Write)?;
    let Some(declared) = on.declared(view)? else {
        return Err(Refusal::invalid("no feature view is declared: Feast's protocol needs declared views"));
    };
    let rows = rows(declared, &df)?;
    let written = on.write(view, rows.into_iter().map(Ok).collect()).await?;
    match written.rows.into_iter().find_map(Result::err) {
        // Feast has no way to say that some rows were written; to send them all again is safe.
        Some(error) => Err(error.into()),
        None => Ok(Reply::json("null")),
    }
}

pub(super) fn rows(view: &FeatureView, df: &[(String, Vec<Value>)]) -> Result<Vec<FeatureWrite>, Refusal> {
    let column = |name: &str| df.iter().find(|(own, _)| own == name).map(|(_, values)| values);
    let needed =
        || view.entities.iter().chain(view.features.keys()).map(String::as_str).chain([EVENT_TIMESTAMP]);
    let missing: Vec<&str> = needed().filter(|name| column(name).is_none()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Refusal::invalid(format!(
            "the columns {missing} of feature view {} are missing",
            view.name
        )));
    }
    let rows = df.first().map_or(0, |(_, values)| values.len());
    if df.iter().any(|(_, values)| values.len() != rows) {
        return Err(Refusal::invalid("All arrays must be of the same length"));
    }
    let cell = |name: &str, row: usize| column(name).map_or(&Value::Null, |values| &values[row]);
    let write = |row: usize| {
        let of_row = |name: &str, error: Error| {
            Refusal::invalid(format!("`{name}` of row {row}: {}", error.message()))
        };
        let mut key = EntityKey::builder();
        for name in &view.entities {
            key = key.with(name, join_value(cell(name, row)).map_err(|error| of_row(name, error))?);
        }
        let mut features = Vec::with_capacity(view.features.len());
        for (name, wanted) in &view.features {
            let value = value(cell(name, row), *wanted).map_err(|error| of_row(name, error))?;
            features.push((name, value));
        }
        let features: Features = features.into_iter().collect();
        let time = event_time(cell(EVENT_TIMESTAMP, row)).map_err(|error| of_row(EVENT_TIMESTAMP, error))?;
        Ok(FeatureWrite::new(key.build()?, features).at(time))
    };
    (0..rows).map(write).collect()
}

fn join_value(json: &Value) -> Result<EntityValue, Error> {
    match json {
        Value::String(text) => Ok(text.as_str().into()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string().into()),
        other => Err(unexpected("a text or a whole number", other)),
    }
}

/// A value as Feast has it: instants are seconds since 1970.
fn value(json: &Value, wanted: ValueType) -> Result<FeatureValue, Error> {
    let instant = |json: &Value| {
        let seconds = json.as_i64().and_then(|seconds| seconds.checked_mul(1_000_000));
        seconds.map(Timestamp::from_micros).ok_or_else(|| unexpected("seconds since 1970", json))
    };
    match (wanted, json) {
        (ValueType::Timestamp | ValueType::TimestampList, Value::Null) => Ok(FeatureValue::Null),
        (ValueType::Timestamp, json) => instant(json).map(FeatureValue::from),
        (ValueType::TimestampList, Value::Array(elements)) => {
            elements.iter().map(instant).collect::<Result<Vec<_>, _>>().map(FeatureValue::from)
        }
        // Feast's SDK sends maps as JSON text.
        (ValueType::Map, Value::String(text)) => {
            let map = serde_json::from_str(text).map_err(|_| unexpected("a map", json))?;
            FeatureValue::from_json(&map, Some(wanted))
        }
        _ => FeatureValue::from_json(json, Some(wanted)),
    }
}

fn event_time(json: &Value) -> Result<Timestamp, Error> {
    match json {
        Value::String(text) => text.parse(),
        other => Err(unexpected("a time as text, in UTC where it names no offset", other)),
    }
}

fn unexpected(wanted: &str, json: &Value) -> Error {
    Error::invalid_argument(format!("expected {wanted}, found {}", shown(&json.to_string())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_map_comes_as_json_text() {
        let of = |json| value(&json, ValueType::Map);
        let map = FeatureValue::from_json(&json!({ "a": { "b": [1, 2] } }), Some(ValueType::Map)).unwrap();
        assert_eq!(of(json!(r#"{"a": {"b": [1, 2]}}"#)).unwrap(), map);
        assert_eq!(of(json!({ "a": { "b": [1, 2] } })).unwrap(), map);
        assert_eq!(of(json!("null")).unwrap(), FeatureValue::Null);
        for wrong in ["", "x", "[1]", "{\"a\":"] {
            let error = of(json!(wrong)).unwrap_err();
            assert!(error.message().contains("expected map") || error.message().contains("a map"), "{error}");
        }
    }
}
