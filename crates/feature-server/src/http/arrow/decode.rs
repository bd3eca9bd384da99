//! Rows to write from a stream of record batches.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use feature_core::{
    EntityKey, EntityValue, Error, FeatureNames, FeatureValue, FeatureView, FeatureWrite, Features,
    Timestamp, Ttl, ValueType, WriteMode,
};

use super::malformed;
use super::message::{CONTINUATION, Message};
use crate::calls::{Refusal, WriteRows, limit_of, shown};
use crate::settings::Limits;

/// The column that has the event times, where the query names no other.
const EVENT_TIME: &str = "event_time";

/// What columns cannot say.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The join keys, where no view is declared that says them.
    entities: Vec<String>,
    /// The column that has the event times.
    event_time: Option<String>,
    ttl: Option<Ttl>,
    mode: WriteMode,
}

impl Options {
    /// `entities=a,b&event_time=column&ttl=7d&mode=replace`.
    pub(crate) fn of_query(query: Option<&str>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "entities" => options.entities = value.split(',').map(str::to_owned).collect(),
                "event_time" => options.event_time = Some(value.to_owned()),
                "ttl" => options.ttl = Some(value.parse()?),
                "mode" if value == "merge" => options.mode = WriteMode::Merge,
                "mode" if value == "replace" => options.mode = WriteMode::Replace,
                _ => {
                    let message = "unknown parameter in the query; known are `entities`, `event_time`, `ttl` and \
                                   `mode` (merge or replace)";
                    return Err(Refusal::invalid(message));
                }
            }
        }
        Ok(options)
    }
}

/// The rows of a stream of record batches.
pub(crate) fn rows(
    body: &Bytes,
    view: Option<&FeatureView>,
    options: &Options,
    limits: &Limits,
) -> Result<WriteRows, Refusal> {
    // Arrow's own decoder panics at some streams that are wrong in ways which `check_messages` cannot tell, such
    // as a buffer of an odd length. Only this request is the worse for it.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(body, view, options, limits)));
    decoded.unwrap_or_else(|_| Err(malformed("the stream cannot be read")))
}

fn decode(
    body: &Bytes,
    view: Option<&FeatureView>,
    options: &Options,
    limits: &Limits,
) -> Result<WriteRows, Refusal> {
    check_messages(body, limits)?;
    let mut decoder = StreamDecoder::new();
    let mut buffer = Buffer::from(body.clone());
    let mut all = Vec::new();
    let mut cells = 0usize;
    // Bytes after the end of the stream are none of its business.
    while let Some(batch) = decoder.decode(&mut buffer).map_err(malformed)? {
        limit_of(
            "the request",
            all.len().saturating_add(batch.num_rows()),
            limits.rows,
            "rows (limits.rows)",
        )?;
        let elements = batch.columns().iter().map(elements);
        cells = elements.fold(cells, usize::saturating_add);
        limit_of("the request", cells, limits.cells, "values (limits.cells)")?;
        of_batch(&batch, view, options, &mut all)?;
    }
    decoder.finish().map_err(malformed)?;
    Ok(all)
}

/// Whether each message of the stream stays within its own body: the decoder relies on that.
fn check_messages(body: &[u8], limits: &Limits) -> Result<(), Refusal> {
    let cut_off = || malformed("it is cut off");
    let mut rest = body;
    while !rest.is_empty() {
        let (mut size, mut after) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        if *size == CONTINUATION {
            (size, after) = after.split_first_chunk::<4>().ok_or_else(cut_off)?;
        }
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 {
            return Ok(());
        }
        let (message, after) = after.split_at_checked(size).ok_or_else(cut_off)?;
        let message = Message::of(message)?;
        let (_, after) = after.split_at_checked(message.body).ok_or_else(cut_off)?;
        limit_of("the request", message.rows, limits.rows, "rows (limits.rows)")?;
        limit_of("the request", message.values, limits.cells, "values (limits.cells)")?;
        rest = after;
    }
    Ok(())
}

/// How many values a column has, with those inside its lists.
fn elements(column: &ArrayRef) -> usize {
    column.len().saturating_add(match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().values().len(),
        DataType::LargeList(_) => column.as_list::<i64>().values().len(),
        DataType::FixedSizeList(..) => column.as_fixed_size_list().values().len(),
        _ => 0,
    })
}

fn of_batch(
    batch: &RecordBatch,
    view: Option<&FeatureView>,
    options: &Options,
    all: &mut WriteRows,
) -> Result<(), Refusal> {
    let entities = view.map_or(&options.entities, |view| &view.entities);
    if entities.is_empty() {
        return Err(Refusal::invalid(
            "the view is not declared: say in the query which columns are `entities`",
        ));
    }
    let is_feature = |name: &str| view.is_some_and(|view| view.features.contains_key(name));
    let (mut join_keys, mut times, mut features) = (HashMap::new(), None, Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        if entities.contains(name) {
            join_keys.insert(name.clone(), join_values(name, column)?);
        } else if match &options.event_time {
            Some(stated) => stated == name,
            None => name == EVENT_TIME && !is_feature(name),
        } {
            times = Some(event_times(name, column)?);
        } else {
            let wanted = view.and_then(|view| view.features.get(name).copied());
            features.push((name.clone(), values(name, column, wanted)?.into_iter()));
        }
    }
    if let Some(missing) = entities.iter().find(|name| !join_keys.contains_key(*name)) {
        return Err(Refusal::invalid(format!("there is no column for the join key `{}`", shown(missing))));
    }
    if let (Some(stated), None) = (&options.event_time, &times) {
        return Err(Refusal::invalid(format!("there is no column `{}` with the event times", shown(stated))));
    }
    features.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some(twice) = features.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Refusal::invalid(format!("the column `{}` is there twice", shown(&twice[0].0))));
    }
    let names: Arc<FeatureNames> = Arc::new(features.iter().map(|(name, _)| name).collect());
    for row in 0..batch.num_rows() {
        let values: Vec<FeatureValue> = features.iter_mut().filter_map(|(_, values)| values.next()).collect();
        let mut builder = EntityKey::builder();
        let mut lacks = None;
        for name in entities {
            match join_keys.get(name).and_then(|values| values[row].clone()) {
                Some(value) => builder = builder.with(name, value),
                None => lacks = Some(name),
            }
        }
        let write = || {
            if let Some(name) = lacks {
                return Err(Error::invalid_argument(format!("the join key `{}` is null", shown(name))));
            }
            let features = Features::of_names(&names, values)?;
            let timestamp = times.as_ref().and_then(|times| times[row]);
            let write = FeatureWrite::new(builder.build()?, features);
            Ok(FeatureWrite { timestamp, ttl: options.ttl, mode: options.mode, ..write })
        };
        all.push(write());
    }
    Ok(())
}

fn unsupported(name: &str, column: &ArrayRef, wanted: &str) -> Refusal {
    let of_type = shown(&column.data_type().to_string());
    Refusal::invalid(format!("the column `{}` is {of_type}: expected {wanted}", shown(name)))
}

fn primitives<T: ArrowPrimitiveType, V>(column: &ArrayRef, value: impl Fn(T::Native) -> V) -> Vec<Option<V>> {
    column.as_primitive::<T>().iter().map(|own| own.map(&value)).collect()
}

fn join_values(name: &str, column: &ArrayRef) -> Result<Vec<Option<EntityValue>>, Refusal> {
    Ok(match column.data_type() {
        DataType::Int8 => primitives::<Int8Type, _>(column, |v| i64::from(v).into()),
        DataType::Int16 => primitives::<Int16Type, _>(column, |v| i64::from(v).into()),
        DataType::Int32 => primitives::<Int32Type, _>(column, |v| i64::from(v).into()),
        DataType::Int64 => primitives::<Int64Type, _>(column, EntityValue::from),
        DataType::UInt8 => primitives::<UInt8Type, _>(column, |v| i64::from(v).into()),
        DataType::UInt16 => primitives::<UInt16Type, _>(column, |v| i64::from(v).into()),
        DataType::UInt32 => primitives::<UInt32Type, _>(column, |v| i64::from(v).into()),
        DataType::Utf8 => column.as_string::<i32>().iter().map(|text| text.map(EntityValue::from)).collect(),
        DataType::LargeUtf8 => {
            column.as_string::<i64>().iter().map(|text| text.map(EntityValue::from)).collect()
        }
        DataType::Utf8View => {
            column.as_string_view().iter().map(|text| text.map(EntityValue::from)).collect()
        }
        _ => return Err(unsupported(name, column, "texts or whole numbers, as the values of a join key")),
    })
}

fn event_times(name: &str, column: &ArrayRef) -> Result<Vec<Option<Timestamp>>, Refusal> {
    instants(column).ok_or_else(|| unsupported(name, column, "timestamps, as event times"))
}

/// Instants; those without a time zone are UTC, and what is finer than microseconds is cut off.
fn instants(column: &ArrayRef) -> Option<Vec<Option<Timestamp>>> {
    let times = |factor: i64| move |v: i64| Timestamp::from_micros(v.saturating_mul(factor));
    Some(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            primitives::<TimestampSecondType, _>(column, times(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            primitives::<TimestampMillisecondType, _>(column, times(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitives::<TimestampMicrosecondType, _>(column, times(1))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitives::<TimestampNanosecondType, _>(column, |v| Timestamp::from_micros(v.div_euclid(1_000)))
        }
        _ => return None,
    })
}

/// The values of a feature, each as what it is in Arrow; the store widens them to the declared type.
fn values(name: &str, column: &ArrayRef, wanted: Option<ValueType>) -> Result<Vec<FeatureValue>, Refusal> {
    if let (Some(ValueType::Map), DataType::Utf8) = (wanted, column.data_type()) {
        let map = |text: Option<&str>| match text {
            None => Ok(FeatureValue::Null),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Refusal::invalid(format!("`{}` is no JSON text: {error}", shown(name))))
                .and_then(|json| Ok(FeatureValue::from_json(&json, wanted)?)),
        };
        return column.as_string::<i32>().iter().map(map).collect();
    }
    let optional = |values: Vec<Option<FeatureValue>>| {
        values.into_iter().map(|value| value.unwrap_or(FeatureValue::Null)).collect::<Vec<_>>()
    };
    let values = scalars(column).or_else(|| lists(column));
    values.map(optional).ok_or_else(|| unsupported(name, column, "what a feature can be"))
}

fn scalars(column: &ArrayRef) -> Option<Vec<Option<FeatureValue>>> {
    Some(match column.data_type() {
        DataType::Null => vec![None; column.len()],
        DataType::Boolean => column.as_boolean().iter().map(|v| v.map(FeatureValue::from)).collect(),
        DataType::Int8 => primitives::<Int8Type, _>(column, |v| i32::from(v).into()),
        DataType::Int16 => primitives::<Int16Type, _>(column, |v| i32::from(v).into()),
        DataType::Int32 => primitives::<Int32Type, _>(column, FeatureValue::from),
        DataType::Int64 => primitives::<Int64Type, _>(column, FeatureValue::from),
        DataType::UInt8 => primitives::<UInt8Type, _>(column, |v| i32::from(v).into()),
        DataType::UInt16 => primitives::<UInt16Type, _>(column, |v| i32::from(v).into()),
        DataType::UInt32 => primitives::<UInt32Type, _>(column, |v| i64::from(v).into()),
        DataType::Float32 => primitives::<Float32Type, _>(column, FeatureValue::from),
        DataType::Float64 => primitives::<Float64Type, _>(column, FeatureValue::from),
        DataType::Utf8 => column.as_string::<i32>().iter().map(|v| v.map(FeatureValue::from)).collect(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().map(|v| v.map(FeatureValue::from)).collect(),
        DataType::Utf8View => column.as_string_view().iter().map(|v| v.map(FeatureValue::from)).collect(),
        DataType::Binary => column.as_binary::<i32>().iter().map(|v| v.map(FeatureValue::from)).collect(),
        DataType::LargeBinary => {
            column.as_binary::<i64>().iter().map(|v| v.map(FeatureValue::from)).collect()
        }
        DataType::Timestamp(..) => {
            instants(column)?.into_iter().map(|time| time.map(FeatureValue::from)).collect()
        }
        _ => return None,
    })
}

/// Lists; one that has a null among its elements is no list of a feature.
fn lists(column: &ArrayRef) -> Option<Vec<Option<FeatureValue>>> {
    let elements: Vec<Option<ArrayRef>> = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().iter().collect(),
        DataType::LargeList(_) => column.as_list::<i64>().iter().collect(),
        DataType::FixedSizeList(..) => column.as_fixed_size_list().iter().collect(),
        _ => return None,
    };
    elements.into_iter().map(|list| list.map_or(Some(None), |list| Some(Some(list_of(&list)?)))).collect()
}

fn list_of(elements: &ArrayRef) -> Option<FeatureValue> {
    fn all<T>(values: Vec<Option<T>>) -> Option<Vec<T>> {
        values.into_iter().collect()
    }
    Some(match elements.data_type() {
        DataType::Boolean => all(elements.as_boolean().iter().collect())?.into(),
        DataType::Int32 => all(primitives::<Int32Type, _>(elements, |v| v))?.into(),
        DataType::Int64 => all(primitives::<Int64Type, _>(elements, |v| v))?.into(),
        DataType::Float32 => all(primitives::<Float32Type, _>(elements, |v| v))?.into(),
        DataType::Float64 => all(primitives::<Float64Type, _>(elements, |v| v))?.into(),
        DataType::Utf8 => {
            all(elements.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect())?.into()
        }
        DataType::Binary => {
            all(elements.as_binary::<i32>().iter().map(|v| v.map(<[u8]>::to_vec)).collect())?.into()
        }
        DataType::Timestamp(..) => all(instants(elements)?)?.into(),
        _ => return None,
    })
}
