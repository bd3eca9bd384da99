//! Bodies as streams of Arrow record batches.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod message;
pub(crate) mod scan;

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use feature_core::{Error, ValueType};

use crate::calls::{Cause, Refusal};

/// The time zone of instants.
const UTC: &str = "UTC";

/// Why a body is no stream.
fn malformed(why: impl std::fmt::Display) -> Refusal {
    let message = format!("the body is not a stream of Arrow record batches: {why}");
    Refusal::new(Cause::Malformed(0), Error::invalid_argument(message))
}

/// What a feature of a type is in Arrow. Maps are their JSON text, since their values may be of any types.
fn data_type(value_type: ValueType) -> DataType {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    match value_type {
        ValueType::Bool => DataType::Boolean,
        ValueType::Int32 => DataType::Int32,
        ValueType::Int64 => DataType::Int64,
        ValueType::Float32 => DataType::Float32,
        ValueType::Float64 => DataType::Float64,
        ValueType::String | ValueType::Map => DataType::Utf8,
        ValueType::Bytes => DataType::Binary,
        ValueType::Timestamp => instant(),
        ValueType::BoolList => list(DataType::Boolean),
        ValueType::Int32List => list(DataType::Int32),
        ValueType::Int64List => list(DataType::Int64),
        ValueType::Float32List => list(DataType::Float32),
        ValueType::Float64List => list(DataType::Float64),
        ValueType::StringList => list(DataType::Utf8),
        ValueType::BytesList => list(DataType::Binary),
        ValueType::TimestampList => list(instant()),
    }
}
