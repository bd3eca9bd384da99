//! Cells as Arrow's arrays.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, ListBuilder, PrimitiveBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, NullArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema};
use feature_store::unified::CellStatus;
use feature_store::{FeatureValue, ValueType};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::cells::Cells;

const UTC: &str = "UTC";
/// The column of rows' newest event times.
const TIMESTAMP: &str = "timestamp";

impl Cells {
    /// The table as a record batch, of these columns or of all.
    ///
    /// # Errors
    /// `ValueError` for a column whose values have no common type.
    pub(super) fn batch(&self, py: Python<'_>, only: Option<usize>) -> PyResult<RecordBatch> {
        let wanted = |at: &usize| only.is_none_or(|only| only == *at);
        if let Some(mixed) = self.columns.iter().enumerate().find(|(at, own)| wanted(at) && own.is_mixed()) {
            return Err(PyValueError::new_err(format!(
                "the values of `{}` have several types, and a column has one: take them with to_dicts(), or declare \
                 the feature's type in a view",
                mixed.1.name
            )));
        }
        py.detach(|| {
            let mut fields = Vec::new();
            let mut arrays = Vec::new();
            let mut add = |name: &str, array: ArrayRef, nullable| {
                fields.push(Field::new(name, array.data_type().clone(), nullable));
                arrays.push(array);
            };
            if self.keys_shown {
                self.key_columns().into_iter().for_each(|(name, array)| add(&name, array, true));
            }
            for (at, column) in self.columns.iter().enumerate().filter(|(at, _)| wanted(at)) {
                let array = match self.floats(at) {
                    Some((floats, statuses)) => {
                        let present = |status: &CellStatus| *status == CellStatus::Present;
                        let nulls = (!statuses.iter().all(present))
                            .then(|| NullBuffer::from_iter(statuses.iter().map(present)));
                        Arc::new(Float64Array::new(floats.into(), nulls))
                    }
                    None => {
                        let values: Vec<_> = (0..self.rows()).map(|row| self.value(at, row)).collect();
                        array(values.iter().map(|value| &**value), column.value_type())
                    }
                };
                add(&column.name, array, true);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(self.rows()));
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        })
        .map_err(|e| PyValueError::new_err(e.to_string()))
    }

    /// A column for each join key, and one for the records' newest event times.
    fn key_columns(&self) -> Vec<(String, ArrayRef)> {
        let names: BTreeSet<String> =
            self.keys.iter().flat_map(|key| key.join_keys().map(|(name, _)| name.into_owned())).collect();
        let column = |name: String| {
            let values: StringArray = self.keys.iter().map(|key| key.value_of(&name)).collect();
            (name, Arc::new(values) as ArrayRef)
        };
        let mut columns: Vec<_> = names.into_iter().map(column).collect();
        if self.has_row_times() {
            let times =
                (0..self.rows()).map(|row| self.row_time(row).map(feature_store::Timestamp::as_micros));
            let times: PrimitiveArray<TimestampMicrosecondType> = times.collect();
            columns.push((TIMESTAMP.to_owned(), Arc::new(times.with_timezone(UTC))));
        }
        columns
    }
}

/// The array of values of a type, or null; narrower numbers are widened.
pub(super) fn array<'a>(
    values: impl ExactSizeIterator<Item = &'a FeatureValue> + Clone,
    kind: Option<ValueType>,
) -> ArrayRef {
    let Some(kind) = kind else { return Arc::new(NullArray::new(values.len())) };
    macro_rules! variable {
        ($builder:expr, $variant:ident) => {{
            let mut builder = $builder;
            for value in values {
                builder.append_option(match value {
                    FeatureValue::$variant(v) => Some(v),
                    _ => None,
                });
            }
            Arc::new(builder.finish())
        }};
    }
    macro_rules! list {
        ($values:expr, $variant:ident, $append:expr) => {{
            let mut builder = ListBuilder::new($values);
            for value in values {
                if let FeatureValue::$variant(v) = value {
                    $append(builder.values(), v);
                }
                builder.append(!value.is_null());
            }
            Arc::new(builder.finish())
        }};
    }
    match kind {
        ValueType::Bool => Arc::new(values.map(FeatureValue::as_bool).collect::<BooleanArray>()),
        ValueType::Int32 => Arc::new(numbers::<Int32Type>(values, |value| match value {
            FeatureValue::Int32(v) => Some(*v),
            _ => None,
        })),
        ValueType::Int64 => Arc::new(numbers::<Int64Type>(values, FeatureValue::as_i64)),
        ValueType::Float32 => Arc::new(numbers::<Float32Type>(values, |value| match value {
            FeatureValue::Float32(v) => Some(*v),
            _ => None,
        })),
        ValueType::Float64 => Arc::new(numbers::<Float64Type>(values, FeatureValue::as_f64)),
        ValueType::Timestamp => {
            let times = numbers::<TimestampMicrosecondType>(values, |value| match value {
                FeatureValue::Timestamp(v) => Some(v.as_micros()),
                _ => None,
            });
            Arc::new(times.with_timezone(UTC))
        }
        ValueType::String => variable!(StringBuilder::new(), String),
        ValueType::Bytes => variable!(BinaryBuilder::new(), Bytes),
        ValueType::BoolList => {
            list!(BooleanBuilder::new(), BoolList, |own: &mut BooleanBuilder, v: &[bool]| own.append_slice(v))
        }
        ValueType::Int32List => list!(PrimitiveBuilder::<Int32Type>::new(), Int32List, append::<Int32Type>),
        ValueType::Int64List => list!(PrimitiveBuilder::<Int64Type>::new(), Int64List, append::<Int64Type>),
        ValueType::Float32List => {
            list!(PrimitiveBuilder::<Float32Type>::new(), Float32List, append::<Float32Type>)
        }
        ValueType::Float64List => {
            list!(PrimitiveBuilder::<Float64Type>::new(), Float64List, append::<Float64Type>)
        }
        ValueType::StringList => {
            list!(StringBuilder::new(), StringList, |own: &mut StringBuilder, v: &[String]| v
                .iter()
                .for_each(|text| own.append_value(text)))
        }
        ValueType::BytesList => {
            list!(BinaryBuilder::new(), BytesList, |own: &mut BinaryBuilder, v: &[Vec<u8>]| v
                .iter()
                .for_each(|bytes| own.append_value(bytes)))
        }
        ValueType::TimestampList => {
            let utc = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some(UTC.into()));
            let times = TimestampMicrosecondBuilder::new().with_data_type(utc);
            list!(
                times,
                TimestampList,
                |own: &mut TimestampMicrosecondBuilder, v: &[feature_store::Timestamp]| v
                    .iter()
                    .for_each(|time| own.append_value(time.as_micros()))
            )
        }
        // Arrow has no map of values of several types.
        ValueType::Map => {
            let text = |value: &FeatureValue| (!value.is_null()).then(|| value.to_json().to_string());
            Arc::new(values.map(text).collect::<StringArray>())
        }
    }
}

fn append<T: ArrowPrimitiveType>(values: &mut PrimitiveBuilder<T>, own: &[T::Native]) {
    values.append_slice(own);
}

/// Numbers, most of which are there.
fn numbers<'a, T: ArrowPrimitiveType>(
    values: impl Iterator<Item = &'a FeatureValue> + Clone,
    number: impl Fn(&FeatureValue) -> Option<T::Native> + Copy,
) -> PrimitiveArray<T> {
    match values.clone().map(number).collect::<Option<Vec<_>>>() {
        Some(all) => PrimitiveArray::new(all.into(), None),
        None => values.map(number).collect(),
    }
}
