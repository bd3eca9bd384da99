//! `POST /get-online-features`.

use std::collections::HashSet;
use std::fmt;

use feature_core::{EntityKey, EntityValue, Timestamp, ValueType};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use store_unified::{CellStatus, FeatureRef, Registry};

use super::error::{named, refuse};
use super::{encode, tenant_of};
use crate::auth::Right;
use crate::calls::{Call, Cause, ReadRequest, Refusal, Table, Wanted};
use crate::http::json::{self, Bounded, Bounds, Text};
use crate::http::{Access, Context, Endpoint, Reply, Request, json_body};
use crate::observe::Route;

/// `POST /get-online-features`.
#[derive(Deserialize)]
pub(super) struct GetOnlineFeatures {}

impl Endpoint for GetOnlineFeatures {
    const ROUTE: Route = Route::FeastRead;

    fn access(&self, call: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(tenant_of(call)?, Right::Read))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        json_body(&request.headers)?;
        let bounds = Bounds::new(&call.live.settings.limits);
        let body = json::read(&request.body, &bounds, BodySeed(&bounds))?;
        let found = find(call, body).await?;
        Ok(Reply::json(encode::answer(&found)))
    }

    fn refuse(refusal: &Refusal, _: &Context) -> Reply {
        refuse(refusal)
    }
}

/// Finds what is asked for, of the tenant that the call is about; what goes wrong is in Feast's words.
pub(crate) async fn find(call: &mut Call, asked: Asked) -> Result<Found, Refusal> {
    let tenant = tenant_of(call)?;
    let project = match call.live.settings.feast.project.as_str() {
        "" => tenant.clone(),
        project => project.to_owned(),
    };
    found(call, &tenant, asked).await.map_err(|refusal| in_feasts_words(refusal, &project))
}

fn in_feasts_words(refusal: Refusal, project: &str) -> Refusal {
    match refusal.cause() {
        Cause::UnknownView(view) => named(
            "FeatureViewNotFoundException",
            404,
            format!("Feature view {view} does not exist in project {project}"),
        ),
        Cause::UnknownService(service) => named(
            "FeatureServiceNotFoundException",
            404,
            format!("Feature service {service} does not exist in project {project}"),
        ),
        _ => refusal,
    }
}

/// What is asked for, in whichever protocol of Feast's.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) features: Option<Vec<String>>,
    pub(crate) feature_service: Option<String>,
    /// The columns, in the order of the request.
    pub(crate) entities: Vec<(String, Vec<Value>)>,
    pub(crate) full_feature_names: bool,
    pub(crate) view_metadata: bool,
}

/// What is found.
pub(crate) struct Found {
    pub(crate) rows: usize,
    /// The join keys that the request brought.
    pub(crate) entities: Vec<(String, Vec<Value>)>,
    /// What the features are called, in the order of the request.
    pub(crate) names: Vec<String>,
    /// Which of them are in the table, in its order.
    pub(crate) readable: Vec<bool>,
    pub(crate) table: Option<Table>,
    /// The views, where they are asked for.
    pub(crate) view_metadata: Option<Vec<String>>,
}

pub(super) struct BodySeed<'b>(pub(super) &'b Bounds);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = Asked;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Asked, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = Asked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of `features` or `feature_service`, and `entities`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Asked, A::Error> {
        let mut body = Asked::default();
        while let Some(Text(key)) = members.next_key()? {
            match &*key {
                "features" => body.features = members.next_value()?,
                "feature_service" => body.feature_service = members.next_value()?,
                "entities" => body.entities = members.next_value_seed(Columns(self.0))?,
                "full_feature_names" => body.full_feature_names = members.next_value()?,
                "include_feature_view_version_metadata" => body.view_metadata = members.next_value()?,
                // Feast takes any, too.
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(body)
    }
}

/// Columns of any values, in their order.
pub(super) struct Columns<'b>(pub(super) &'b Bounds);

impl<'de> DeserializeSeed<'de> for Columns<'_> {
    type Value = Vec<(String, Vec<Value>)>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Columns<'_> {
    type Value = Vec<(String, Vec<Value>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that has a list of values for each column")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut columns = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            match members.next_value_seed(Bounded(self.0))? {
                Value::Array(values) => columns.push((name, values)),
                _ => return Err(serde::de::Error::custom(format!("`{name}` is not a list"))),
            }
        }
        Ok(columns)
    }
}

async fn found(call: &mut Call, tenant: &str, body: Asked) -> Result<Found, Refusal> {
    let Some(registry) = call.registry().cloned() else {
        return Err(Refusal::invalid("no feature view is declared: Feast's protocol needs declared views"));
    };
    let mut entities = body.entities;
    let rows = rows(&entities)?;
    call.check_rows(rows)?;
    let wanted = match (&body.feature_service, &body.features) {
        (Some(service), _) => service_features(&registry, service)?,
        (None, Some(features)) if !features.is_empty() => {
            features.iter().map(|feature| feature.parse().map_err(Refusal::from)).collect::<Result<_, _>>()?
        }
        _ => return Err(Refusal::invalid("No features specified for retrieval")),
    };
    let columns = expand(&registry, &wanted)?;
    refuse_collisions(&columns, body.full_feature_names)?;

    // A view whose join keys are not all there has nothing for these rows.
    let join_keys: Vec<String> = entities.iter().map(|(name, _)| name.clone()).collect();
    let has_keys = |view: &str| {
        let view = registry.view(view);
        view.is_some_and(|view| view.entities.iter().all(|key| join_keys.contains(key)))
    };
    let complete: Vec<bool> = columns.iter().map(|column| has_keys(column.view())).collect();
    let needed: HashSet<&str> = columns
        .iter()
        .zip(&complete)
        .filter(|(_, complete)| **complete)
        .filter_map(|(column, _)| registry.view(column.view()))
        .flat_map(|view| view.entities.iter().map(String::as_str))
        .collect();
    for (name, values) in &mut entities {
        let declared = call.live.settings.feast.join_keys.get(name);
        convert(name, values, declared.copied(), needed.contains(&**name))?;
    }
    let mut table = None;
    if complete.contains(&true) {
        let keys = keys(&entities, &needed, rows)?;
        // A service whose features can all be read was resolved when it was declared.
        let wanted = match (body.feature_service, complete.iter().all(|complete| *complete)) {
            (Some(service), true) => Wanted::Service(service),
            _ => {
                let readable = columns.iter().zip(&complete).filter(|(_, complete)| **complete);
                Wanted::Features(readable.map(|(column, _)| column.clone()).collect())
            }
        };
        let request = ReadRequest { wanted, entities: keys, max_age: None };
        let read = call.on(tenant, Right::Read)?.read(request).await?;
        if let Some(error) = read.errors().first() {
            // Feast has no way to say that one row could not be read.
            return Err(error.error.clone().into());
        }
        table = Some(read);
    }

    let view_metadata = body.view_metadata.then(|| {
        let mut seen = HashSet::new();
        columns.iter().map(FeatureRef::view).filter(|view| seen.insert(*view)).map(str::to_owned).collect()
    });
    let names = columns.iter().map(|column| name_of(column, body.full_feature_names)).collect();
    Ok(Found { rows, entities, names, readable: complete, table, view_metadata })
}

/// How many rows the columns have.
fn rows(entities: &[(String, Vec<Value>)]) -> Result<usize, Refusal> {
    let rows = entities.first().map_or(0, |(_, values)| values.len());
    if entities.iter().any(|(_, values)| values.len() != rows) {
        return Err(Refusal::invalid("All entity rows must have the same columns."));
    }
    if rows == 0 {
        return Err(Refusal::invalid("No entity rows: each column of `entities` needs a value for each row"));
    }
    Ok(rows)
}

fn service_features(registry: &Registry, service: &str) -> Result<Vec<FeatureRef>, Refusal> {
    let declared = registry.service(service).ok_or_else(|| Refusal::unknown_service(service, registry))?;
    Ok(declared.features.clone())
}

/// Each feature by itself.
fn expand(registry: &Registry, wanted: &[FeatureRef]) -> Result<Vec<FeatureRef>, Refusal> {
    let mut columns = Vec::with_capacity(wanted.len());
    for reference in wanted {
        let view = registry.view(reference.view());
        let view = view.ok_or_else(|| Refusal::unknown_view(reference.view(), registry))?;
        match reference.feature() {
            None => columns.extend(view.features.keys().map(|name| FeatureRef::new(&view.name, name))),
            Some(name) if view.features.contains_key(name) => columns.push(reference.clone()),
            Some(name) => {
                let view = &view.name;
                return Err(Refusal::invalid(format!("Feature {name} not found in projection {view}")));
            }
        }
    }
    Ok(columns)
}

fn name_of(column: &FeatureRef, full: bool) -> String {
    let feature = column.feature().unwrap_or_default();
    if full { format!("{}__{feature}", column.view()) } else { feature.to_owned() }
}

fn refuse_collisions(columns: &[FeatureRef], full: bool) -> Result<(), Refusal> {
    let mut seen = HashSet::with_capacity(columns.len());
    let key = |column: &FeatureRef| {
        (full.then(|| column.view().to_owned()), column.feature().unwrap_or_default().to_owned())
    };
    match columns.iter().find(|column| !seen.insert(key(column))) {
        None => Ok(()),
        Some(column) => {
            let name = name_of(column, full);
            let advice = match full {
                true => {
                    "To resolve this collision, please ensure that the feature views or their own features have \
                         different names."
                }
                false => {
                    "To resolve this collision, either use the full feature name by setting \
                          'full_feature_names=True', or ensure that the features in question have different names."
                }
            };
            let message = format!("Duplicate features named {name} found.\n{advice}");
            Err(named("FeatureNameCollisionError", 400, message))
        }
    }
}

/// Gives the values of a join key their declared type, as Feast does.
fn convert(
    name: &str,
    values: &mut [Value],
    declared: Option<ValueType>,
    needed: bool,
) -> Result<(), Refusal> {
    for (row, value) in values.iter_mut().enumerate() {
        let whole = |value: &Value| match value {
            Value::String(text) => text.trim().parse::<i64>().ok(),
            // pandas makes floats of whole numbers.
            other => other
                .as_i64()
                .or_else(|| other.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < 9e15).map(|v| v as i64)),
        };
        let converted = match (declared, &*value) {
            (Some(ValueType::String), Value::String(_)) | (None, Value::String(_)) => continue,
            (Some(ValueType::String), Value::Number(number)) => Some(number.to_string().into()),
            (Some(ValueType::String), _) => None,
            (None, Value::Number(number)) if number.is_u64() => continue,
            (_, other) => whole(other).map(Value::from),
        };
        match converted {
            Some(converted) => *value = converted,
            None if needed => {
                let wanted = declared.map_or("a text or a whole number", ValueType::name);
                let value = crate::calls::shown(&value.to_string());
                return Err(Refusal::invalid(format!(
                    "the join key `{name}` is {value} in row {row}: expected {wanted}"
                )));
            }
            None => {}
        }
    }
    Ok(())
}

/// The keys of the rows, of the join keys that are needed.
fn keys(
    entities: &[(String, Vec<Value>)],
    needed: &HashSet<&str>,
    rows: usize,
) -> Result<Vec<EntityKey>, Refusal> {
    let columns: Vec<_> = entities.iter().filter(|(name, _)| needed.contains(&**name)).collect();
    let key = |row: usize| {
        let with = |builder: feature_core::EntityKeyBuilder, (name, values): &&(String, Vec<Value>)| {
            let value: EntityValue = match &values[row] {
                Value::String(text) => text.as_str().into(),
                other => other.to_string().into(),
            };
            builder.with(name, value)
        };
        columns.iter().fold(EntityKey::builder(), with).build().map_err(Refusal::from)
    };
    (0..rows).map(key).collect()
}

/// What Feast calls a cell's status.
pub(super) fn status(status: CellStatus) -> &'static str {
    match status {
        CellStatus::Present => "PRESENT",
        CellStatus::Null => "NULL_VALUE",
        CellStatus::NotFound | CellStatus::Failed => "NOT_FOUND",
        CellStatus::OutsideMaxAge => "OUTSIDE_MAX_AGE",
    }
}

/// The time of what has none.
pub(super) const EPOCH: Timestamp = Timestamp::from_micros(0);
