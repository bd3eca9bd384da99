//! From Arrow's columns to feature values, event times and entities.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use ::arrow::compute::cast;
use ::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field,
    Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit as ArrowUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use ::arrow::error::ArrowError;
use feature_core::{FeatureValue, Timestamp, ValueType};

use super::types::{decimal_scale, value_type};
use crate::mapping::Mapping;
use crate::options::Decimals;
use crate::row::Cell;
use crate::text::{is_exact_float, typed};
use crate::time::{Instant, TimeUnit, Timezone};

/// How values are read that more than one value could be.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) decimals: Decimals,
    pub(super) zone: &'a Timezone,
    /// The type that a view states for the column.
    pub(super) wanted: Option<ValueType>,
}

/// A column of an entity key, which is of a type that can be one.
pub(super) fn keys(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, plain) => cast(array, plain),
        _ => Ok(Arc::clone(array)),
    }
}

/// The value of an entity key in a row of [`keys`].
pub(super) fn key(array: &dyn Array, at: usize) -> Result<Option<Cow<'_, str>>, String> {
    if array.is_null(at) {
        return Ok(None);
    }
    let text = match array.data_type() {
        DataType::Utf8 => Cow::Borrowed(array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => Cow::Borrowed(array.as_string::<i64>().value(at)),
        DataType::Utf8View => Cow::Borrowed(array.as_string_view().value(at)),
        DataType::Int64 => Cow::Owned(array.as_primitive::<Int64Type>().value(at).to_string()),
        DataType::UInt64 => Cow::Owned(array.as_primitive::<UInt64Type>().value(at).to_string()),
        DataType::Int32 => Cow::Owned(array.as_primitive::<Int32Type>().value(at).to_string()),
        other if decimal_scale(other).is_some() => Cow::Owned(decimal_text(array, at).unwrap_or_default()),
        _ => {
            let wide = cast(&array.slice(at, 1), &DataType::Int64).map_err(|e| e.to_string())?;
            Cow::Owned(wide.as_primitive::<Int64Type>().value(0).to_string())
        }
    };
    Ok(Some(text))
}

/// The event times of a column.
pub(super) fn instants(
    array: &dyn Array,
    mapping: &Mapping,
) -> Result<Vec<Result<Instant, String>>, ArrowError> {
    if let DataType::Timestamp(ArrowUnit::Nanosecond, zone) = array.data_type() {
        let instant = |count: Option<i64>| {
            let instant = TimeUnit::Nanosecond.instant(count.ok_or("it is empty")?)?;
            let time = if zone.is_some() { instant.time } else { mapping.zone.of_local(instant.time)? };
            Ok(Instant { time, ..instant })
        };
        return Ok(array.as_primitive::<TimestampNanosecondType>().iter().map(instant).collect());
    }
    // A decimal number of seconds keeps its digits as text.
    let rules = Rules { decimals: Decimals::String, zone: &mapping.zone, wanted: None };
    let instant = |cell: Cell| match cell? {
        FeatureValue::Timestamp(time) => Ok(Instant::exact(time)),
        FeatureValue::Null => mapping.instant_of_text(None),
        FeatureValue::String(text) => mapping.instant_of_text(Some(&text)),
        number => {
            let unit = mapping.unit.ok_or(crate::time::NEEDS_UNIT)?;
            match (number.as_i64(), number.as_f64()) {
                (Some(count), _) => unit.instant(count),
                (None, Some(count)) => unit.instant_of_float(count),
                _ => Err("it is neither a time, RFC 3339 text nor a number".to_owned()),
            }
        }
    };
    Ok(cells(array, rules)?.into_iter().map(instant).collect())
}

/// The values of a column, whose type is one that [`value_type`] accepts.
pub(super) fn cells(array: &dyn Array, rules: Rules<'_>) -> Result<Vec<Cell>, ArrowError> {
    let as_type = |wanted: &DataType| cells(&cast(array, wanted)?, rules);
    // A view that states a type says nothing of what is inside a list or a map.
    let inner = Rules { wanted: None, ..rules };
    Ok(match array.data_type() {
        DataType::Null => vec![Ok(FeatureValue::Null); array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|v| Ok(v.into())).collect(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => as_type(&DataType::Int32)?,
        DataType::Int32 => primitive::<Int32Type>(array, |v| Ok(v.into())),
        DataType::Int64 => primitive::<Int64Type>(array, |v| Ok(v.into())),
        DataType::UInt32 => as_type(&DataType::Int64)?,
        DataType::UInt64 => primitive::<UInt64Type>(array, |v| unsigned(v, rules)),
        DataType::Float16 => as_type(&DataType::Float32)?,
        DataType::Float32 => primitive::<Float32Type>(array, |v| Ok(v.into())),
        DataType::Float64 => primitive::<Float64Type>(array, |v| Ok(v.into())),
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => (0..array.len()).map(|at| decimal(array, at, rules)).collect(),
        DataType::Utf8 => values(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => values(array.as_string::<i64>().iter()),
        DataType::Utf8View => values(array.as_string_view().iter()),
        DataType::Binary => values(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => values(array.as_binary::<i64>().iter()),
        DataType::BinaryView => values(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => values(array.as_fixed_size_binary().iter()),
        DataType::Date32 => {
            let instant = |days| local(i64::from(days) * 86_400, TimeUnit::Second, None, rules);
            primitive::<Date32Type>(array, instant)
        }
        DataType::Date64 => {
            primitive::<Date64Type>(array, |millis| local(millis, TimeUnit::Millisecond, None, rules))
        }
        DataType::Timestamp(ArrowUnit::Second, zone) => {
            primitive::<TimestampSecondType>(array, |v| local(v, TimeUnit::Second, zone.as_deref(), rules))
        }
        DataType::Timestamp(ArrowUnit::Millisecond, zone) => {
            primitive::<TimestampMillisecondType>(array, |v| {
                local(v, TimeUnit::Millisecond, zone.as_deref(), rules)
            })
        }
        DataType::Timestamp(ArrowUnit::Microsecond, zone) => {
            primitive::<TimestampMicrosecondType>(array, |v| {
                local(v, TimeUnit::Microsecond, zone.as_deref(), rules)
            })
        }
        DataType::Timestamp(ArrowUnit::Nanosecond, zone) => {
            primitive::<TimestampNanosecondType>(array, |v| {
                local(v, TimeUnit::Nanosecond, zone.as_deref(), rules)
            })
        }
        DataType::Dictionary(_, plain) => as_type(plain)?,
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (elements, ranges) = within(list.values(), list.value_offsets(), |o| *o as usize);
            lists(array, &elements, ranges, inner)?
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (elements, ranges) = within(list.values(), list.value_offsets(), |o| *o as usize);
            lists(array, &elements, ranges, inner)?
        }
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            let ranges = (0..array.len()).map(|at| at * size..(at + 1) * size);
            lists(array, array.as_fixed_size_list().values(), ranges, inner)?
        }
        DataType::Struct(members) => {
            let columns = array.as_struct().columns();
            let mut columns: Vec<_> =
                columns.iter().map(|column| cells(column, inner)).collect::<Result<_, _>>()?;
            maps(array, |at| {
                let member = |(m, column): (&Arc<Field>, &mut Vec<Cell>)| {
                    Ok((m.name().clone(), take(&mut column[at])?))
                };
                members.iter().zip(&mut columns).map(member).collect()
            })
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (keys, ranges) = within(map.keys(), map.value_offsets(), |o| *o as usize);
            let ranges: Vec<_> = ranges.collect();
            let (values, _) = within(map.values(), map.value_offsets(), |o| *o as usize);
            let (mut keys, mut values) = (cells(&keys, inner)?, cells(&values, inner)?);
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

/// An instant, or, where the type has no zone, what a clock of the given zone shows.
fn local(count: i64, unit: TimeUnit, zone: Option<&str>, rules: Rules<'_>) -> Cell {
    let instant = unit.instant(count)?;
    match zone {
        Some(_) => Ok(instant.time.into()),
        None => rules.zone.of_local(instant.time).map(Into::into),
    }
}

fn unsigned(value: u64, rules: Rules<'_>) -> Cell {
    match (i64::try_from(value), rules.wanted) {
        (_, Some(ValueType::String)) => Ok(value.to_string().into()),
        (_, Some(ValueType::Float64)) => Ok((value as f64).into()),
        (Ok(value), _) => Ok(value.into()),
        (Err(_), _) => Err(format!(
            "{value} is beyond the range of int64; declare the feature as a string in a feature view"
        )),
    }
}

/// The digits of a decimal number.
fn decimal_text(array: &dyn Array, at: usize) -> Option<String> {
    Some(match array.data_type() {
        DataType::Decimal32(..) => array.as_primitive::<Decimal32Type>().value_as_string(at),
        DataType::Decimal64(..) => array.as_primitive::<Decimal64Type>().value_as_string(at),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(at),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(at),
        _ => return None,
    })
}

/// A decimal number as the wanted type, or else as what keeps its digits.
fn decimal(array: &dyn Array, at: usize, rules: Rules<'_>) -> Cell {
    if array.is_null(at) {
        return Ok(FeatureValue::Null);
    }
    let text = decimal_text(array, at).unwrap_or_default();
    let whole = decimal_scale(array.data_type()).is_some_and(|scale| scale <= 0);
    if let Some(wanted) = rules.wanted {
        return typed(&text, wanted).map_err(|e| e.message().to_owned());
    }
    let float = || text.parse::<f64>().map(Into::into).map_err(|e| e.to_string());
    match rules.decimals {
        Decimals::String => Ok(text.into()),
        Decimals::Float64 => float(),
        Decimals::Exact if whole => text.parse::<i64>().map(Into::into).map_err(|_| {
            format!("{text} is beyond the range of int64; declare the feature as a string in a feature view, or have decimals as strings")
        }),
        Decimals::Exact if is_exact_float(&text) => float(),
        Decimals::Exact => Err(format!(
            "{text} has more digits than float64 holds; declare the feature's type in a feature view, or have \
             decimals as float64 or strings"
        )),
    }
}

fn take(cell: &mut Cell) -> Cell {
    std::mem::replace(cell, Ok(FeatureValue::Null))
}

/// The elements that these rows have, and which of them each has. The array may be a part of one with many
/// more.
fn within<O>(
    elements: &ArrayRef,
    offsets: &[O],
    index: impl Fn(&O) -> usize,
) -> (ArrayRef, impl Iterator<Item = Range<usize>>) {
    let first = offsets.first().map_or(0, &index);
    let end = offsets.last().map_or(0, &index);
    let ranges = offsets.windows(2).map(move |pair| index(&pair[0]) - first..index(&pair[1]) - first);
    (elements.slice(first, end - first), ranges)
}

fn lists(
    array: &dyn Array,
    elements: &ArrayRef,
    ranges: impl Iterator<Item = Range<usize>>,
    rules: Rules<'_>,
) -> Result<Vec<Cell>, ArrowError> {
    let of = value_type(elements.data_type(), rules.decimals).ok().flatten();
    let mut elements = cells(elements, rules)?;
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

    const UTC: Timezone = Timezone::utc();

    fn cells(array: &dyn Array) -> Result<Vec<Cell>, ArrowError> {
        super::cells(array, Rules { decimals: Decimals::Exact, zone: &UTC, wanted: None })
    }

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
            let announced = value_type(column.data_type(), Decimals::Exact).unwrap();
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
        assert_eq!(unsigned[0], Ok(1_i64.into()));
        let why = unsigned[1].as_ref().unwrap_err();
        assert!(why.starts_with(&format!("{} is beyond the range of int64; declare", u64::MAX)), "{why}");
        assert!(cells(&TimestampSecondArray::from(vec![i64::MAX])).unwrap()[0].is_err());
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        assert_eq!(cells(&list).unwrap(), [Err("a list holds a null".to_owned())]);
        assert!(value_type(Time32SecondArray::from(vec![1]).data_type(), Decimals::Exact).is_err());
    }

    #[test]
    fn decimals_keep_their_digits_or_are_refused() {
        let decimals = |values: Vec<i128>, scale| {
            Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap()
        };
        let read = |array: &dyn Array, decimals, wanted| {
            super::cells(array, Rules { decimals, zone: &UTC, wanted }).unwrap().remove(0)
        };
        let (long, wide) =
            (decimals(vec![1_234_567_890_123_456_789_012], 2), decimals(vec![i128::pow(10, 20)], 0));
        let small = decimals(vec![110], 2);
        assert_eq!(read(&small, Decimals::Exact, None), Ok(1.1.into()));
        assert_eq!(read(&decimals(vec![42], 0), Decimals::Exact, None), Ok(42_i64.into()));
        assert!(read(&long, Decimals::Exact, None).unwrap_err().contains("decimals as float64 or strings"));
        assert!(read(&wide, Decimals::Exact, None).unwrap_err().contains("beyond the range of int64"));
        assert_eq!(read(&long, Decimals::Float64, None), Ok(12_345_678_901_234_567_890.12.into()));
        assert_eq!(read(&long, Decimals::String, None), Ok("12345678901234567890.12".into()));
        assert_eq!(
            read(&long, Decimals::Exact, Some(ValueType::String)),
            Ok("12345678901234567890.12".into())
        );
        assert_eq!(read(&small, Decimals::Exact, Some(ValueType::Float64)), Ok(1.1.into()));
        assert!(read(&small, Decimals::Exact, Some(ValueType::Int64)).is_err());
        let unsigned = UInt64Array::from(vec![u64::MAX]);
        assert_eq!(
            read(&unsigned, Decimals::Exact, Some(ValueType::String)),
            Ok(u64::MAX.to_string().into())
        );
        assert_eq!(key(&unsigned, 0), Ok(Some(u64::MAX.to_string().into())));
        assert_eq!(key(&wide, 0), Ok(Some("100000000000000000000".into())));
        assert_eq!(key(&Int8Array::from(vec![-1]), 0), Ok(Some("-1".into())));
    }

    #[test]
    fn times_without_a_zone_are_those_of_the_given_one() {
        let zone: Timezone = "+02:00".parse().unwrap();
        let read = |array: &dyn Array| {
            super::cells(array, Rules { decimals: Decimals::Exact, zone: &zone, wanted: None })
                .unwrap()
                .remove(0)
        };
        let local = TimestampSecondArray::from(vec![7_200]);
        assert_eq!(read(&local), Ok(micros(0)));
        assert_eq!(read(&local.with_timezone("UTC")), Ok(micros(7_200_000_000)));
        assert_eq!(read(&Date32Array::from(vec![0])), Ok(micros(-7_200_000_000)));
    }
}
