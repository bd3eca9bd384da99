//! From Arrow's columns to feature values.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use ::arrow::compute::cast;
use ::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Field, Float32Type, Float64Type, Int32Type, Int64Type,
    TimeUnit as ArrowUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};
use ::arrow::error::ArrowError;
use feature_core::{FeatureValue, Timestamp, ValueType};

use super::row::Cell;
use super::wanted::from_unit;
use crate::cli::TimeUnit;

/// The type of feature that a column's values become; `None` for one of nulls alone. The error says why
/// there is none.
pub(super) fn value_type(column: &DataType) -> Result<Option<ValueType>, String> {
    Ok(Some(match column {
        DataType::Null => return Ok(None),
        DataType::Boolean => ValueType::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            ValueType::Int32
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ValueType::Int64,
        DataType::Float16 | DataType::Float32 => ValueType::Float32,
        DataType::Float64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => ValueType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ValueType::Bytes
        }
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => ValueType::Timestamp,
        DataType::Dictionary(_, values) => return value_type(values),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            list_type(value_type(element.data_type())?)
                .ok_or_else(|| format!("a list of {} cannot be a feature", element.data_type()))?
        }
        DataType::Struct(members) => {
            members.iter().try_for_each(|member| value_type(member.data_type()).map(drop))?;
            ValueType::Map
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(members) = entries.data_type() else {
                return Err("a map without entries cannot be a feature".to_owned());
            };
            match members.iter().map(|m| value_type(m.data_type())).collect::<Result<Vec<_>, _>>()?[..] {
                [Some(ValueType::String), _] => ValueType::Map,
                _ => return Err("a map whose keys are not text cannot be a feature".to_owned()),
            }
        }
        other => return Err(format!("{other} cannot be a feature")),
    }))
}

fn list_type(element: Option<ValueType>) -> Option<ValueType> {
    Some(match element? {
        ValueType::Bool => ValueType::BoolList,
        ValueType::Int32 => ValueType::Int32List,
        ValueType::Int64 => ValueType::Int64List,
        ValueType::Float32 => ValueType::Float32List,
        ValueType::Float64 => ValueType::Float64List,
        ValueType::String => ValueType::StringList,
        ValueType::Bytes => ValueType::BytesList,
        ValueType::Timestamp => ValueType::TimestampList,
        _ => return None,
    })
}

/// The values of a column, whose type is one that [`value_type`] accepts.
pub(super) fn cells(array: &dyn Array) -> Result<Vec<Cell>, ArrowError> {
    let as_type = |wanted: &DataType| cells(&cast(array, wanted)?);
    Ok(match array.data_type() {
        DataType::Null => vec![Ok(FeatureValue::Null); array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|v| Ok(v.into())).collect(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => as_type(&DataType::Int32)?,
        DataType::Int32 => primitive::<Int32Type>(array, |v| Ok(v.into())),
        DataType::Int64 => primitive::<Int64Type>(array, |v| Ok(v.into())),
        DataType::UInt32 => as_type(&DataType::Int64)?,
        DataType::UInt64 => primitive::<UInt64Type>(array, |v| {
            i64::try_from(v).map(Into::into).map_err(|_| format!("{v} is beyond the range of int64"))
        }),
        DataType::Float16 => as_type(&DataType::Float32)?,
        DataType::Float32 => primitive::<Float32Type>(array, |v| Ok(v.into())),
        DataType::Float64 => primitive::<Float64Type>(array, |v| Ok(v.into())),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => as_type(&DataType::Float64)?,
        DataType::Utf8 => values(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => values(array.as_string::<i64>().iter()),
        DataType::Utf8View => values(array.as_string_view().iter()),
        DataType::Binary => values(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => values(array.as_binary::<i64>().iter()),
        DataType::BinaryView => values(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => values(array.as_fixed_size_binary().iter()),
        DataType::Date32 => {
            primitive::<Date32Type>(array, |days| instant(i64::from(days) * 86_400, TimeUnit::S))
        }
        DataType::Date64 => primitive::<Date64Type>(array, |millis| instant(millis, TimeUnit::Ms)),
        DataType::Timestamp(ArrowUnit::Second, _) => {
            primitive::<TimestampSecondType>(array, |v| instant(v, TimeUnit::S))
        }
        DataType::Timestamp(ArrowUnit::Millisecond, _) => {
            primitive::<TimestampMillisecondType>(array, |v| instant(v, TimeUnit::Ms))
        }
        DataType::Timestamp(ArrowUnit::Microsecond, _) => {
            primitive::<TimestampMicrosecondType>(array, |v| instant(v, TimeUnit::Us))
        }
        DataType::Timestamp(ArrowUnit::Nanosecond, _) => {
            primitive::<TimestampNanosecondType>(array, |v| instant(v, TimeUnit::Ns))
        }
        DataType::Dictionary(_, plain) => as_type(plain)?,
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            lists(array, list.values(), ranges(list.value_offsets(), |o| *o as usize))?
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            lists(array, list.values(), ranges(list.value_offsets(), |o| *o as usize))?
        }
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            let ranges = (0..array.len()).map(|at| at * size..(at + 1) * size);
            lists(array, array.as_fixed_size_list().values(), ranges)?
        }
        DataType::Struct(members) => {
            let columns = array.as_struct().columns();
            let mut columns: Vec<_> = columns.iter().map(|column| cells(column)).collect::<Result<_, _>>()?;
            maps(array, |at| {
                let member = |(m, column): (&Arc<Field>, &mut Vec<Cell>)| {
                    Ok((m.name().clone(), take(&mut column[at])?))
                };
                members.iter().zip(&mut columns).map(member).collect()
            })
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (mut keys, mut values) = (cells(map.keys())?, cells(map.values())?);
            let ranges: Vec<_> = ranges(map.value_offsets(), |o| *o as usize).collect();
            maps(array, |at| {
                let entries = keys[ranges[at].clone()].iter_mut().zip(&mut values[ranges[at].clone()]);
                let entry =
                    |(key, value)| Ok((take(key)?.as_str().unwrap_or_default().to_owned(), take(value)?));
                entries.map(entry).collect()
            })
        }
        other => return Err(ArrowError::NotYetImplemented(format!("{other} cannot be a feature"))),
    })
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, value: impl Fn(T::Native) -> Cell) -> Vec<Cell> {
    array.as_primitive::<T>().iter().map(|v| v.map_or(Ok(FeatureValue::Null), &value)).collect()
}

fn values<T: Into<FeatureValue>>(values: impl Iterator<Item = Option<T>>) -> Vec<Cell> {
    values.map(|v| Ok(v.into())).collect()
}

fn instant(count: i64, unit: TimeUnit) -> Cell {
    from_unit(count, unit).map(Into::into)
}

fn take(cell: &mut Cell) -> Cell {
    std::mem::replace(cell, Ok(FeatureValue::Null))
}

fn ranges<O>(offsets: &[O], index: impl Fn(&O) -> usize) -> impl Iterator<Item = Range<usize>> {
    offsets.windows(2).map(move |pair| index(&pair[0])..index(&pair[1]))
}

fn lists(
    array: &dyn Array,
    elements: &ArrayRef,
    ranges: impl Iterator<Item = Range<usize>>,
) -> Result<Vec<Cell>, ArrowError> {
    let of = value_type(elements.data_type()).ok().flatten();
    let mut elements = cells(elements)?;
    let list = |(at, range): (usize, Range<usize>)| match array.is_null(at) {
        true => Ok(FeatureValue::Null),
        false => list_of(elements[range].iter_mut().map(take), of),
    };
    Ok(ranges.enumerate().map(list).collect())
}

/// A list of these elements, all of which are of one type.
fn list_of(elements: impl Iterator<Item = Cell>, of: Option<ValueType>) -> Cell {
    use FeatureValue as V;
    match of {
        Some(ValueType::Bool) => list(elements, |v| if let V::Bool(v) = v { Some(v) } else { None }),
        Some(ValueType::Int32) => list(elements, |v| if let V::Int32(v) = v { Some(v) } else { None }),
        Some(ValueType::Int64) => list(elements, |v| if let V::Int64(v) = v { Some(v) } else { None }),
        Some(ValueType::Float32) => list(elements, |v| if let V::Float32(v) = v { Some(v) } else { None }),
        Some(ValueType::Float64) => list(elements, |v| if let V::Float64(v) = v { Some(v) } else { None }),
        Some(ValueType::String) => list(elements, |v| if let V::String(v) = v { Some(v) } else { None }),
        Some(ValueType::Bytes) => list(elements, |v| if let V::Bytes(v) = v { Some(v) } else { None }),
        Some(ValueType::Timestamp) => {
            list::<Timestamp>(elements, |v| if let V::Timestamp(v) = v { Some(v) } else { None })
        }
        _ => Err("a list of this type cannot be a feature".to_owned()),
    }
}

fn list<T>(elements: impl Iterator<Item = Cell>, element: impl Fn(FeatureValue) -> Option<T>) -> Cell
where
    Vec<T>: Into<FeatureValue>,
{
    let element = |cell: Cell| element(cell?).ok_or_else(|| "a list holds a null".to_owned());
    elements.map(element).collect::<Result<Vec<T>, String>>().map(Into::into)
}

/// A map for each row, of the members that `members_of` gives for its index.
fn maps(
    array: &dyn Array,
    mut members_of: impl FnMut(usize) -> Result<BTreeMap<String, FeatureValue>, String>,
) -> Vec<Cell> {
    let map = |at| match array.is_null(at) {
        true => Ok(FeatureValue::Null),
        false => members_of(at).map(FeatureValue::Map),
    };
    (0..array.len()).map(map).collect()
}

#[cfg(test)]
mod tests {
    use ::arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray,
        FixedSizeListArray, Float16Array, Int8Array, Int32Array, Int32Builder, LargeStringArray, ListArray,
        MapBuilder, NullArray, StringArray, StringBuilder, StringViewArray, StructArray, Time32SecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt32Array, UInt64Array,
    };
    use ::arrow::datatypes::{Float32Type, Int32Type};

    use super::*;

    fn micros(micros: i64) -> FeatureValue {
        Timestamp::from_micros(micros).into()
    }

    #[test]
    fn every_supported_type_becomes_the_type_that_is_announced() {
        let half = ::arrow::datatypes::Float16Type::default_value();
        let decimal =
            Decimal128Array::from(vec![Some(12_345), None]).with_precision_and_scale(10, 2).unwrap();
        let floats = [Some([Some(1.0), Some(2.0)]), None];
        let member: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let field = Arc::new(Field::new("m", DataType::Int32, true));
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_value(5);
        map.append(true).unwrap();
        map.append(false).unwrap();
        let one =
            |name: &str, value: FeatureValue| FeatureValue::from(BTreeMap::from([(name.to_owned(), value)]));
        let columns: Vec<(ArrayRef, [FeatureValue; 2])> = vec![
            (Arc::new(NullArray::new(2)), [FeatureValue::Null, FeatureValue::Null]),
            (Arc::new(BooleanArray::from(vec![Some(true), None])), [true.into(), FeatureValue::Null]),
            (Arc::new(Int8Array::from(vec![Some(-1), None])), [(-1).into(), FeatureValue::Null]),
            (Arc::new(UInt32Array::from(vec![u32::MAX, 0])), [i64::from(u32::MAX).into(), 0_i64.into()]),
            (Arc::new(Float16Array::from(vec![Some(half), None])), [0.0_f32.into(), FeatureValue::Null]),
            (Arc::new(decimal), [123.45.into(), FeatureValue::Null]),
            (Arc::new(StringArray::from(vec![Some("a"), None])), ["a".into(), FeatureValue::Null]),
            (Arc::new(LargeStringArray::from(vec!["a", ""])), ["a".into(), "".into()]),
            (Arc::new(StringViewArray::from(vec!["a", ""])), ["a".into(), "".into()]),
            (
                Arc::new(BinaryArray::from(vec![&b"a"[..], b""])),
                [vec![97_u8].into(), Vec::<u8>::new().into()],
            ),
            (Arc::new(DictionaryArray::<Int32Type>::from_iter(["a", "b"])), ["a".into(), "b".into()]),
            (Arc::new(Date32Array::from(vec![1, -1])), [micros(86_400_000_000), micros(-86_400_000_000)]),
            (Arc::new(Date64Array::from(vec![1, -1])), [micros(1_000), micros(-1_000)]),
            (Arc::new(TimestampSecondArray::from(vec![1, -1])), [micros(1_000_000), micros(-1_000_000)]),
            (Arc::new(TimestampMillisecondArray::from(vec![1, -1])), [micros(1_000), micros(-1_000)]),
            (Arc::new(TimestampNanosecondArray::from(vec![1_999, -1])), [micros(1), micros(-1)]),
            (
                Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(floats)),
                [vec![1.0_f32, 2.0].into(), FeatureValue::Null],
            ),
            (
                Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(floats, 2)),
                [vec![1.0_f32, 2.0].into(), FeatureValue::Null],
            ),
            (
                Arc::new(StructArray::from(vec![(field, member)])),
                [one("m", 1.into()), one("m", FeatureValue::Null)],
            ),
            (Arc::new(map.finish()), [one("k", 5.into()), FeatureValue::Null]),
        ];
        for (column, expected) in columns {
            let announced = value_type(column.data_type()).unwrap();
            let values: Vec<_> = cells(&column).unwrap().into_iter().map(Result::unwrap).collect();
            assert_eq!(values, expected, "{}", column.data_type());
            assert!(
                values.iter().all(|v| v.is_null() || v.value_type() == announced),
                "{}",
                column.data_type()
            );
            // A slice, as a batch may be one, gives the same.
            assert_eq!(
                cells(&column.slice(1, 1)).unwrap(),
                [Ok(expected[1].clone())],
                "{}",
                column.data_type()
            );
        }
    }

    #[test]
    fn a_value_that_no_feature_can_hold_is_an_error_of_its_row() {
        let unsigned = cells(&UInt64Array::from(vec![1, u64::MAX])).unwrap();
        assert_eq!(unsigned, [Ok(1_i64.into()), Err(format!("{} is beyond the range of int64", u64::MAX))]);
        assert!(cells(&TimestampSecondArray::from(vec![i64::MAX])).unwrap()[0].is_err());
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        assert_eq!(cells(&list).unwrap(), [Err("a list holds a null".to_owned())]);
        assert!(value_type(Time32SecondArray::from(vec![1]).data_type()).is_err());
    }
}
