//! Tables as a stream of one record batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Float64Array, ListArray, NullArray,
    PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use feature_core::{Error, ErrorKind, FeatureValue, Timestamp, ValueType};
use store_unified::{CellStatus, ColumnSlice};

use super::{UTC, data_type};
use crate::calls::{Column, Refusal, Table};
use crate::http::json::ReadOptions;
use crate::http::problem::row_error;

/// The answer to a read: a column for each feature, null where there is no value; statuses and event times as
/// further columns where they are asked for. Errors of rows, and the rows that a fallback store has served,
/// are JSON in the metadata of the schema.
pub(crate) fn table(table: &Table, options: ReadOptions) -> Result<Vec<u8>, Refusal> {
    let columns = table.columns();
    let mut fields = Vec::with_capacity(table.width());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(table.width());
    for column in columns {
        let name = if options.full_feature_names { column.full_name() } else { column.name.to_owned() };
        let array = values(&column)?;
        let further = |what: &str, array: ArrayRef| {
            (Field::new(format!("{name}__{what}"), array.data_type().clone(), true), array)
        };
        let status = options.statuses.then(|| further("status", statuses(column.statuses)));
        let time = options.event_times.then(|| further("event_time", instants(column.event_times())));
        let metadata = HashMap::from([("feature".to_owned(), format!("{}:{}", column.view, column.feature))]);
        fields.push(Field::new(&name, array.data_type().clone(), true).with_metadata(metadata));
        arrays.push(array);
        for (field, array) in status.into_iter().chain(time) {
            fields.push(field);
            arrays.push(array);
        }
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, notes(table)));
    let rows = RecordBatchOptions::new().with_row_count(Some(table.rows()));
    written(&schema, arrays, &rows).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("the answer cannot be written as Arrow: {error}")).into()
    })
}

fn written(
    schema: &Arc<Schema>,
    arrays: Vec<ArrayRef>,
    rows: &RecordBatchOptions,
) -> Result<Vec<u8>, ArrowError> {
    let size: usize = arrays.iter().map(|array| array.get_buffer_memory_size() + 192).sum();
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, rows)?;
    let mut writer = StreamWriter::try_new(Vec::with_capacity(size + 1024), schema)?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// What there is to say of rows.
fn notes(table: &Table) -> HashMap<String, String> {
    let mut notes = HashMap::new();
    if !table.errors().is_empty() {
        let errors = table.errors().iter().map(|error| {
            let mut object = row_error(error.row, &error.error);
            object["view"] = error.view.as_str().into();
            object
        });
        notes.insert("errors".to_owned(), errors.collect::<serde_json::Value>().to_string());
    }
    let fallback =
        table.fallback_rows().map(|(view, rows)| serde_json::json!({ "view": view, "rows": rows }));
    let fallback: Vec<_> = fallback.collect();
    if !fallback.is_empty() {
        notes.insert("from_fallback".to_owned(), serde_json::Value::from(fallback).to_string());
    }
    notes
}

fn values(column: &Column<'_>) -> Result<ArrayRef, Refusal> {
    let values = match column.values {
        ColumnSlice::Floats(floats) => {
            let is_present = |status: &CellStatus| *status == CellStatus::Present;
            let nulls = (!column.is_full()).then(|| column.statuses.iter().map(is_present).collect());
            return Ok(Arc::new(Float64Array::new(floats.to_vec().into(), nulls)));
        }
        ColumnSlice::Values(values) => values,
    };
    let Some(value_type) = column.value_type else {
        if values.iter().all(FeatureValue::is_null) {
            return Ok(Arc::new(NullArray::new(values.len())));
        }
        return Err(Refusal::invalid(format!(
            "the feature `{}` has values of several types, which a column of Arrow cannot have: ask for JSON, or \
             declare the feature view",
            column.name
        )));
    };
    Ok(of_type(values, value_type))
}

/// Values of a type; null where a value is of another.
pub(super) fn of_type(values: &[FeatureValue], value_type: ValueType) -> ArrayRef {
    match value_type {
        ValueType::Bool => Arc::new(values.iter().map(FeatureValue::as_bool).collect::<BooleanArray>()),
        ValueType::Int32 => numbers::<Int32Type>(values, |value| match value {
            FeatureValue::Int32(v) => Some(*v),
            _ => None,
        }),
        ValueType::Int64 => numbers::<Int64Type>(values, |value| match value {
            FeatureValue::Int64(v) => Some(*v),
            _ => None,
        }),
        ValueType::Float32 => numbers::<Float32Type>(values, |value| match value {
            FeatureValue::Float32(v) => Some(*v),
            _ => None,
        }),
        ValueType::Float64 => numbers::<Float64Type>(values, |value| match value {
            FeatureValue::Float64(v) => Some(*v),
            _ => None,
        }),
        ValueType::String => Arc::new(values.iter().map(FeatureValue::as_str).collect::<StringArray>()),
        ValueType::Bytes => Arc::new(
            values
                .iter()
                .map(|value| match value {
                    FeatureValue::Bytes(v) => Some(v.as_slice()),
                    _ => None,
                })
                .collect::<BinaryArray>(),
        ),
        ValueType::Timestamp => instants(values.iter().map(|value| match value {
            FeatureValue::Timestamp(v) => Some(*v),
            _ => None,
        })),
        ValueType::Map => Arc::new(values.iter().map(json_text).collect::<StringArray>()),
        _ => lists(values, value_type),
    }
}

fn json_text(value: &FeatureValue) -> Option<String> {
    (!value.is_null()).then(|| value.to_json().to_string())
}

fn numbers<T: ArrowPrimitiveType>(
    values: &[FeatureValue],
    number: impl Fn(&FeatureValue) -> Option<T::Native>,
) -> ArrayRef {
    Arc::new(values.iter().map(number).collect::<PrimitiveArray<T>>())
}

pub(super) fn instants(times: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let micros = times.map(|time| time.map(Timestamp::as_micros));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone(UTC))
}

fn statuses(statuses: &[CellStatus]) -> ArrayRef {
    Arc::new(statuses.iter().map(|status| Some(status.name())).collect::<StringArray>())
}

/// Lists: all elements one after the other, and where each list ends.
fn lists(values: &[FeatureValue], value_type: ValueType) -> ArrayRef {
    let lengths = values.iter().map(length);
    let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
    let DataType::List(item) = data_type(value_type) else {
        return Arc::new(NullArray::new(values.len()));
    };
    let items: ArrayRef = match value_type {
        ValueType::BoolList => {
            Arc::new(values.iter().flat_map(bools).copied().map(Some).collect::<BooleanArray>())
        }
        ValueType::Int32List => elements::<Int32Type>(values, |value| match value {
            FeatureValue::Int32List(list) => list,
            _ => &[],
        }),
        ValueType::Int64List => elements::<Int64Type>(values, |value| match value {
            FeatureValue::Int64List(list) => list,
            _ => &[],
        }),
        ValueType::Float32List => elements::<Float32Type>(values, |value| match value {
            FeatureValue::Float32List(list) => list,
            _ => &[],
        }),
        ValueType::Float64List => elements::<Float64Type>(values, |value| match value {
            FeatureValue::Float64List(list) => list,
            _ => &[],
        }),
        ValueType::StringList => {
            Arc::new(StringArray::from_iter_values(values.iter().flat_map(|value| match value {
                FeatureValue::StringList(list) => list.as_slice(),
                _ => &[],
            })))
        }
        ValueType::BytesList => {
            Arc::new(BinaryArray::from_iter_values(values.iter().flat_map(|value| match value {
                FeatureValue::BytesList(list) => list.as_slice(),
                _ => &[],
            })))
        }
        _ => instants(
            values
                .iter()
                .flat_map(|value| match value {
                    FeatureValue::TimestampList(list) => list.as_slice(),
                    _ => &[],
                })
                .map(|time| Some(*time)),
        ),
    };
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), items, Some(nulls)))
}

fn elements<T: ArrowPrimitiveType>(
    values: &[FeatureValue],
    list: impl Fn(&FeatureValue) -> &[T::Native],
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(
        values.iter().flat_map(|value| list(value).iter().copied()),
    ))
}

fn bools(value: &FeatureValue) -> &[bool] {
    match value {
        FeatureValue::BoolList(list) => list,
        _ => &[],
    }
}

fn length(value: &FeatureValue) -> usize {
    match value {
        FeatureValue::BoolList(list) => list.len(),
        FeatureValue::Int32List(list) => list.len(),
        FeatureValue::Int64List(list) => list.len(),
        FeatureValue::Float32List(list) => list.len(),
        FeatureValue::Float64List(list) => list.len(),
        FeatureValue::StringList(list) => list.len(),
        FeatureValue::BytesList(list) => list.len(),
        FeatureValue::TimestampList(list) => list.len(),
        _ => 0,
    }
}
