//! Values of features, as they are in messages.

use std::collections::BTreeMap;

use feature_core::{Error, FeatureValue, Timestamp, ValueType};
use store_unified::ColumnSlice;

use super::proto::fstore as pb;
use pb::value::Kind as One;
use pb::values::Kind as Many;

/// The number of a type.
pub(super) fn type_number(value_type: ValueType) -> i32 {
    let number = match value_type {
        ValueType::Bool => pb::ValueType::Bool,
        ValueType::Int32 => pb::ValueType::Int32,
        ValueType::Int64 => pb::ValueType::Int64,
        ValueType::Float32 => pb::ValueType::Float32,
        ValueType::Float64 => pb::ValueType::Float64,
        ValueType::String => pb::ValueType::String,
        ValueType::Bytes => pb::ValueType::Bytes,
        ValueType::Timestamp => pb::ValueType::Timestamp,
        ValueType::BoolList => pb::ValueType::BoolList,
        ValueType::Int32List => pb::ValueType::Int32List,
        ValueType::Int64List => pb::ValueType::Int64List,
        ValueType::Float32List => pb::ValueType::Float32List,
        ValueType::Float64List => pb::ValueType::Float64List,
        ValueType::StringList => pb::ValueType::StringList,
        ValueType::BytesList => pb::ValueType::BytesList,
        ValueType::TimestampList => pb::ValueType::TimestampList,
        ValueType::Map => pb::ValueType::Map,
    };
    number as i32
}

/// The value of each row, of the variant that `$variant` is; what is null, or of another type, is the
/// default.
macro_rules! each {
    ($values:expr, $variant:ident, $own:pat => $value:expr) => {
        $values
            .iter()
            .map(|value| match value {
                FeatureValue::$variant($own) => $value,
                _ => Default::default(),
            })
            .collect()
    };
}

/// The elements of all lists, one after the other.
macro_rules! flat {
    ($values:expr, $variant:ident, $own:pat => $value:expr) => {{
        let mut lengths = Vec::with_capacity($values.len());
        let mut all = Vec::new();
        for value in $values {
            let before = all.len();
            if let FeatureValue::$variant(elements) = value {
                all.extend(elements.iter().map(|$own| $value));
            }
            lengths.push((all.len() - before) as u32);
        }
        (lengths, all)
    }};
}

/// A column of values of a type; null is the type's zero. Where there is no one type, each says its own.
pub(super) fn column(values: ColumnSlice<'_>, value_type: Option<ValueType>) -> pb::Values {
    let kind = match values {
        ColumnSlice::Floats(floats) => Many::Doubles(pb::Doubles { values: floats.to_vec() }),
        ColumnSlice::Values(values) => many(values, value_type),
    };
    pb::Values { kind: Some(kind) }
}

fn many(values: &[FeatureValue], value_type: Option<ValueType>) -> Many {
    match value_type {
        Some(ValueType::Bool) => Many::Bools(pb::Bools { values: each!(values, Bool, v => *v) }),
        Some(ValueType::Int32) => Many::Int32s(pb::Int32s { values: each!(values, Int32, v => *v) }),
        Some(ValueType::Int64) => Many::Int64s(pb::Int64s { values: each!(values, Int64, v => *v) }),
        Some(ValueType::Float32) => Many::Floats(pb::Floats { values: each!(values, Float32, v => *v) }),
        Some(ValueType::Float64) => Many::Doubles(pb::Doubles { values: each!(values, Float64, v => *v) }),
        Some(ValueType::String) => {
            Many::Strings(pb::Strings { values: each!(values, String, v => v.clone()) })
        }
        Some(ValueType::Bytes) => Many::Blobs(pb::Blobs { values: each!(values, Bytes, v => v.clone()) }),
        Some(ValueType::Timestamp) => {
            Many::Timestamps(pb::Timestamps { micros: each!(values, Timestamp, v => v.as_micros()) })
        }
        Some(ValueType::Map) | None => Many::Any(pb::AnyValues { values: values.iter().map(one).collect() }),
        Some(list) => {
            let (lengths, elements) = lists(values, list);
            let elements = Some(Box::new(pb::Values { kind: Some(elements) }));
            Many::Lists(Box::new(pb::Lists { lengths, elements }))
        }
    }
}

fn lists(values: &[FeatureValue], value_type: ValueType) -> (Vec<u32>, Many) {
    match value_type {
        ValueType::BoolList => {
            let (lengths, values) = flat!(values, BoolList, v => *v);
            (lengths, Many::Bools(pb::Bools { values }))
        }
        ValueType::Int32List => {
            let (lengths, values) = flat!(values, Int32List, v => *v);
            (lengths, Many::Int32s(pb::Int32s { values }))
        }
        ValueType::Int64List => {
            let (lengths, values) = flat!(values, Int64List, v => *v);
            (lengths, Many::Int64s(pb::Int64s { values }))
        }
        ValueType::Float32List => {
            let (lengths, values) = flat!(values, Float32List, v => *v);
            (lengths, Many::Floats(pb::Floats { values }))
        }
        ValueType::StringList => {
            let (lengths, values) = flat!(values, StringList, v => v.clone());
            (lengths, Many::Strings(pb::Strings { values }))
        }
        ValueType::BytesList => {
            let (lengths, values) = flat!(values, BytesList, v => v.clone());
            (lengths, Many::Blobs(pb::Blobs { values }))
        }
        ValueType::TimestampList => {
            let (lengths, micros) = flat!(values, TimestampList, v => v.as_micros());
            (lengths, Many::Timestamps(pb::Timestamps { micros }))
        }
        _ => {
            let (lengths, values) = flat!(values, Float64List, v => *v);
            (lengths, Many::Doubles(pb::Doubles { values }))
        }
    }
}

/// A value by itself.
pub(super) fn one(value: &FeatureValue) -> pb::Value {
    let kind = match value {
        FeatureValue::Null => None,
        FeatureValue::Bool(v) => Some(One::Bool(*v)),
        FeatureValue::Int32(v) => Some(One::Int32(*v)),
        FeatureValue::Int64(v) => Some(One::Int64(*v)),
        FeatureValue::Float32(v) => Some(One::Float(*v)),
        FeatureValue::Float64(v) => Some(One::Double(*v)),
        FeatureValue::String(v) => Some(One::String(v.clone())),
        FeatureValue::Bytes(v) => Some(One::Blob(v.clone())),
        FeatureValue::Timestamp(v) => Some(One::TimestampMicros(v.as_micros())),
        FeatureValue::Map(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), one(value))).collect();
            Some(One::Map(pb::Map { members }))
        }
        list => list.value_type().map(|value_type| {
            let (_, elements) = lists(std::slice::from_ref(list), value_type);
            One::List(pb::Values { kind: Some(elements) })
        }),
    };
    pb::Value { kind }
}

/// Counts values as `limits.cells` does: each element of a list, too.
#[derive(Default)]
pub(super) struct Cells(pub(super) usize);

/// The values of a column, which must be as many as there are rows.
pub(super) fn values(column: pb::Values, cells: &mut Cells) -> Result<Vec<FeatureValue>, Error> {
    let Some(kind) = column.kind else { return Err(Error::invalid_argument("it has no values")) };
    let lists = match kind {
        Many::Lists(lists) => lists,
        Many::Any(any) => return any.values.into_iter().map(|value| of_one(value, cells)).collect(),
        scalars => {
            let values = scalar_values(scalars);
            cells.0 += values.len();
            return Ok(values);
        }
    };
    let pb::Lists { lengths, elements } = *lists;
    let elements = elements.and_then(|elements| elements.kind);
    let of = |lengths: &[u32]| lengths.iter().map(|length| *length as usize).collect::<Vec<_>>();
    split(elements, &of(&lengths), cells)
}

fn scalar_values(kind: Many) -> Vec<FeatureValue> {
    match kind {
        Many::Bools(v) => v.values.into_iter().map(FeatureValue::Bool).collect(),
        Many::Int32s(v) => v.values.into_iter().map(FeatureValue::Int32).collect(),
        Many::Int64s(v) => v.values.into_iter().map(FeatureValue::Int64).collect(),
        Many::Floats(v) => v.values.into_iter().map(FeatureValue::Float32).collect(),
        Many::Doubles(v) => v.values.into_iter().map(FeatureValue::Float64).collect(),
        Many::Strings(v) => v.values.into_iter().map(FeatureValue::String).collect(),
        Many::Blobs(v) => v.values.into_iter().map(FeatureValue::Bytes).collect(),
        Many::Timestamps(v) => v.micros.into_iter().map(instant).map(FeatureValue::Timestamp).collect(),
        Many::Lists(_) | Many::Any(_) => Vec::new(),
    }
}

fn instant(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Lists from their elements one after the other.
fn split(elements: Option<Many>, lengths: &[usize], cells: &mut Cells) -> Result<Vec<FeatureValue>, Error> {
    fn cut<T>(
        elements: Vec<T>,
        lengths: &[usize],
        cells: &mut Cells,
        list: impl Fn(Vec<T>) -> FeatureValue,
    ) -> Result<Vec<FeatureValue>, Error> {
        let sum = lengths.iter().fold(0usize, |sum, length| sum.saturating_add(*length));
        if sum != elements.len() {
            let message =
                format!("its lists have {sum} elements by their lengths, and {} are there", elements.len());
            return Err(Error::invalid_argument(message));
        }
        cells.0 = cells.0.saturating_add(sum).saturating_add(lengths.len());
        let mut elements = elements.into_iter();
        Ok(lengths.iter().map(|length| list(elements.by_ref().take(*length).collect())).collect())
    }
    match elements {
        Some(Many::Bools(v)) => cut(v.values, lengths, cells, FeatureValue::BoolList),
        Some(Many::Int32s(v)) => cut(v.values, lengths, cells, FeatureValue::Int32List),
        Some(Many::Int64s(v)) => cut(v.values, lengths, cells, FeatureValue::Int64List),
        Some(Many::Floats(v)) => cut(v.values, lengths, cells, FeatureValue::Float32List),
        Some(Many::Doubles(v)) => cut(v.values, lengths, cells, FeatureValue::Float64List),
        Some(Many::Strings(v)) => cut(v.values, lengths, cells, FeatureValue::StringList),
        Some(Many::Blobs(v)) => cut(v.values, lengths, cells, FeatureValue::BytesList),
        Some(Many::Timestamps(v)) => cut(v.micros, lengths, cells, |micros| {
            FeatureValue::TimestampList(micros.into_iter().map(instant).collect())
        }),
        Some(Many::Lists(_) | Many::Any(_)) | None => Err(Error::invalid_argument(
            "the elements of its lists are not bools, numbers, texts, blobs or instants",
        )),
    }
}

/// A value that comes by itself.
pub(super) fn of_one(value: pb::Value, cells: &mut Cells) -> Result<FeatureValue, Error> {
    cells.0 = cells.0.saturating_add(1);
    Ok(match value.kind {
        None => FeatureValue::Null,
        Some(One::Bool(v)) => FeatureValue::Bool(v),
        Some(One::Int32(v)) => FeatureValue::Int32(v),
        Some(One::Int64(v)) => FeatureValue::Int64(v),
        Some(One::Float(v)) => FeatureValue::Float32(v),
        Some(One::Double(v)) => FeatureValue::Float64(v),
        Some(One::String(v)) => FeatureValue::String(v),
        Some(One::Blob(v)) => FeatureValue::Bytes(v),
        Some(One::TimestampMicros(v)) => FeatureValue::Timestamp(instant(v)),
        Some(One::List(list)) => {
            let length = length_of(list.kind.as_ref());
            let list = split(list.kind, &[length], cells)?;
            list.into_iter().next().unwrap_or(FeatureValue::Null)
        }
        Some(One::Map(map)) => {
            let members = map.members.into_iter().map(|(name, value)| Ok((name, of_one(value, cells)?)));
            FeatureValue::Map(members.collect::<Result<BTreeMap<_, _>, Error>>()?)
        }
    })
}

fn length_of(kind: Option<&Many>) -> usize {
    match kind {
        Some(Many::Bools(v)) => v.values.len(),
        Some(Many::Int32s(v)) => v.values.len(),
        Some(Many::Int64s(v)) => v.values.len(),
        Some(Many::Floats(v)) => v.values.len(),
        Some(Many::Doubles(v)) => v.values.len(),
        Some(Many::Strings(v)) => v.values.len(),
        Some(Many::Blobs(v)) => v.values.len(),
        Some(Many::Timestamps(v)) => v.micros.len(),
        Some(Many::Lists(_) | Many::Any(_)) | None => 0,
    }
}
