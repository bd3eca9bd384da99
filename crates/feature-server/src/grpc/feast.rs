//! Feast's serving service: what its HTTP protocol answers, in its messages.

use std::collections::BTreeMap;

use feature_core::{FeatureValue, Timestamp};
use serde_json::Value as Json;
use store_unified::CellStatus;

use super::call::Method;
use super::measure::{FEAST_READ, SMALL, Shape};
use super::proto::feast::serving as pb;
use super::proto::feast::types as values;
use crate::calls::{Call, Column, Refusal, Table};
use crate::feast::{Asked, Found, find};
use crate::observe::Route;
use values::value::Val;

/// `GetFeastServingInfo`.
pub(super) struct GetFeastServingInfo;

impl Method for GetFeastServingInfo {
    const ROUTE: Route = Route::FeastInfo;
    const SHAPE: &'static Shape = &SMALL;
    type Request = pb::GetFeastServingInfoRequest;
    type Response = pb::GetFeastServingInfoResponse;

    async fn handle(_: &mut Call, _: Self::Request) -> Result<Self::Response, Refusal> {
        Ok(pb::GetFeastServingInfoResponse { version: env!("CARGO_PKG_VERSION").to_owned() })
    }
}

/// `GetOnlineFeatures`.
pub(super) struct GetOnlineFeatures;

impl Method for GetOnlineFeatures {
    const ROUTE: Route = Route::FeastRead;
    const SHAPE: &'static Shape = &FEAST_READ;
    type Request = pb::GetOnlineFeaturesRequest;
    type Response = pb::GetOnlineFeaturesResponse;

    async fn handle(call: &mut Call, request: Self::Request) -> Result<Self::Response, Refusal> {
        let (feature_service, features) = match request.kind {
            Some(pb::get_online_features_request::Kind::FeatureService(service)) => (Some(service), None),
            Some(pb::get_online_features_request::Kind::Features(list)) => (None, Some(list.val)),
            None => (None, None),
        };
        let asked = Asked {
            features,
            feature_service,
            entities: entities(request.entities),
            full_feature_names: request.full_feature_names,
            view_metadata: request.include_feature_view_version_metadata,
        };
        Ok(response(find(call, asked).await?))
    }
}

pub(super) fn entities(columns: BTreeMap<String, values::RepeatedValue>) -> Vec<(String, Vec<Json>)> {
    let column = |(name, column): (String, values::RepeatedValue)| {
        (name, column.val.into_iter().map(|value| entity(value.val)).collect())
    };
    columns.into_iter().map(column).collect()
}

/// The value of a join key; what cannot be one is refused by its text where it is needed.
fn entity(value: Option<Val>) -> Json {
    match value {
        Some(Val::StringVal(text)) => text.into(),
        Some(Val::Int32Val(number)) => number.into(),
        Some(Val::Int64Val(number) | Val::UnixTimestampVal(number)) => number.into(),
        Some(Val::DoubleVal(number)) => number.into(),
        Some(Val::FloatVal(number)) => number.into(),
        Some(Val::BoolVal(value)) => value.into(),
        _ => Json::Null,
    }
}

fn response(found: Found) -> pb::GetOnlineFeaturesResponse {
    let rows = found.rows;
    let names = found.entities.iter().map(|(name, _)| name).chain(&found.names).cloned().collect();
    let views = found.view_metadata.unwrap_or_default().into_iter();
    let mut results = Vec::with_capacity(found.entities.len() + found.names.len());
    for (_, column) in &found.entities {
        results.push(repeated(column.iter().map(echo).collect(), rows, pb::FieldStatus::Present));
    }
    let mut read = found.table.iter().flat_map(Table::columns);
    for readable in &found.readable {
        results.push(match if *readable { read.next() } else { None } {
            Some(column) => vector(&column),
            None => repeated(vec![values::Value::default(); rows], rows, pb::FieldStatus::NotFound),
        });
    }
    pb::GetOnlineFeaturesResponse {
        metadata: Some(pb::GetOnlineFeaturesResponseMetadata {
            feature_names: Some(pb::FeatureList { val: names }),
            feature_view_metadata: views.map(|name| pb::FeatureViewMetadata { name, version: 0 }).collect(),
        }),
        results,
        status: false,
    }
}

fn repeated(
    values: Vec<values::Value>,
    rows: usize,
    status: pb::FieldStatus,
) -> pb::get_online_features_response::FeatureVector {
    pb::get_online_features_response::FeatureVector {
        values,
        statuses: vec![status as i32; rows],
        event_timestamps: vec![prost_types::Timestamp::default(); rows],
    }
}

fn vector(column: &Column<'_>) -> pb::get_online_features_response::FeatureVector {
    let time = |time: Option<Timestamp>| time.map_or_else(Default::default, instant);
    pb::get_online_features_response::FeatureVector {
        values: column.each_value().map(|of| value(&of)).collect(),
        statuses: column.statuses.iter().map(|own| status(*own) as i32).collect(),
        event_timestamps: column.event_times().map(time).collect(),
    }
}

fn status(status: CellStatus) -> pb::FieldStatus {
    match status {
        CellStatus::Present => pb::FieldStatus::Present,
        CellStatus::Null => pb::FieldStatus::NullValue,
        CellStatus::NotFound | CellStatus::Failed => pb::FieldStatus::NotFound,
        CellStatus::OutsideMaxAge => pb::FieldStatus::OutsideMaxAge,
    }
}

fn instant(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = (micros.rem_euclid(1_000_000) * 1000) as i32;
    prost_types::Timestamp { seconds: seconds(time), nanos }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// The value of a join key as an answer repeats it.
fn echo(value: &Json) -> values::Value {
    let val = match value {
        Json::String(text) => Some(Val::StringVal(text.clone())),
        Json::Bool(value) => Some(Val::BoolVal(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Some(Val::Int64Val(number)),
            None => number.as_f64().map(Val::DoubleVal),
        },
        _ => None,
    };
    values::Value { val }
}

/// A value as Feast has it: instants are seconds since 1970, and null is a value without one.
fn value(value: &FeatureValue) -> values::Value {
    let val = match value {
        FeatureValue::Null => None,
        FeatureValue::Bool(v) => Some(Val::BoolVal(*v)),
        FeatureValue::Int32(v) => Some(Val::Int32Val(*v)),
        FeatureValue::Int64(v) => Some(Val::Int64Val(*v)),
        FeatureValue::Float32(v) => Some(Val::FloatVal(*v)),
        FeatureValue::Float64(v) => Some(Val::DoubleVal(*v)),
        FeatureValue::String(v) => Some(Val::StringVal(v.clone())),
        FeatureValue::Bytes(v) => Some(Val::BytesVal(v.clone())),
        FeatureValue::Timestamp(v) => Some(Val::UnixTimestampVal(seconds(*v))),
        FeatureValue::BoolList(v) => Some(Val::BoolListVal(values::BoolList { val: v.clone() })),
        FeatureValue::Int32List(v) => Some(Val::Int32ListVal(values::Int32List { val: v.clone() })),
        FeatureValue::Int64List(v) => Some(Val::Int64ListVal(values::Int64List { val: v.clone() })),
        FeatureValue::Float32List(v) => Some(Val::FloatListVal(values::FloatList { val: v.clone() })),
        FeatureValue::Float64List(v) => Some(Val::DoubleListVal(values::DoubleList { val: v.clone() })),
        FeatureValue::StringList(v) => Some(Val::StringListVal(values::StringList { val: v.clone() })),
        FeatureValue::BytesList(v) => Some(Val::BytesListVal(values::BytesList { val: v.clone() })),
        FeatureValue::TimestampList(v) => {
            let val = v.iter().map(|time| seconds(*time)).collect();
            Some(Val::UnixTimestampListVal(values::Int64List { val }))
        }
        FeatureValue::Map(members) => {
            let val = members.iter().map(|(name, member)| (name.clone(), self::value(member))).collect();
            Some(Val::MapVal(values::Map { val }))
        }
    };
    values::Value { val }
}
