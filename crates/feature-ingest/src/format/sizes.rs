//! How much the values of record batches are, written out: a few bytes of a dictionary or a view may stand for
//! many.

use ::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use ::arrow::datatypes::DataType;

/// About how many bytes the values of these rows take, each by itself.
pub(super) fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(bytes_of_column).sum()
}

fn bytes_of_column(column: &ArrayRef) -> usize {
    // Of a value by itself.
    const EACH: usize = size_of::<feature_core::FeatureValue>();
    let inside = match column.data_type() {
        DataType::Utf8 => spread(column.as_string::<i32>().value_offsets(), |o| *o as usize),
        DataType::LargeUtf8 => spread(column.as_string::<i64>().value_offsets(), |o| *o as usize),
        DataType::Binary => spread(column.as_binary::<i32>().value_offsets(), |o| *o as usize),
        DataType::LargeBinary => spread(column.as_binary::<i64>().value_offsets(), |o| *o as usize),
        DataType::Utf8View => lengths(column.as_string_view().views()),
        DataType::BinaryView => lengths(column.as_binary_view().views()),
        DataType::FixedSizeBinary(size) => column.len() * usize::try_from(*size).unwrap_or(0),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = dictionary.values();
            let sizes: Vec<usize> =
                (0..values.len()).map(|at| bytes_of_column(&values.slice(at, 1))).collect();
            let keys = dictionary.normalized_keys();
            keys.iter().filter_map(|key| sizes.get(*key)).sum()
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            bytes_of_elements(list.values(), list.value_offsets(), |o| *o as usize)
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            bytes_of_elements(list.values(), list.value_offsets(), |o| *o as usize)
        }
        DataType::FixedSizeList(..) => bytes_of_column(column.as_fixed_size_list().values()),
        DataType::Struct(_) => column.as_struct().columns().iter().map(bytes_of_column).sum(),
        DataType::Map(..) => {
            let map = column.as_map();
            let of = |elements| bytes_of_elements(elements, map.value_offsets(), |o| *o as usize);
            of(map.keys()) + of(map.values())
        }
        _ => 0,
    };
    column.len() * EACH + inside
}

fn bytes_of_elements<O>(elements: &ArrayRef, offsets: &[O], index: impl Fn(&O) -> usize) -> usize {
    let first = offsets.first().map_or(0, &index);
    bytes_of_column(&elements.slice(first, spread(offsets, index)))
}

/// From the first offset to the last.
fn spread<O>(offsets: &[O], index: impl Fn(&O) -> usize) -> usize {
    match offsets {
        [first, .., last] => index(last).saturating_sub(index(first)),
        _ => 0,
    }
}

/// A view begins with the length of what it shows.
fn lengths(views: &[u128]) -> usize {
    views.iter().map(|view| *view as u32 as usize).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::arrow::array::{DictionaryArray, Float32Array, ListArray, StringArray, StringViewArray};
    use ::arrow::datatypes::{Float32Type, Int32Type};

    use super::*;

    #[test]
    fn values_are_weighed_as_they_are_when_written_out() {
        const EACH: usize = size_of::<feature_core::FeatureValue>();
        let long = "x".repeat(1000);
        let texts = vec![long.as_str(); 50];
        let dictionary: DictionaryArray<Int32Type> = texts.iter().copied().collect();
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(0.5); 128]); 50]);
        let arrays: [(ArrayRef, usize); 5] = [
            (Arc::new(StringArray::from(texts.clone())), EACH + 1000),
            (Arc::new(StringViewArray::from(texts.clone())), EACH + 1000),
            (Arc::new(dictionary), 2 * EACH + 1000),
            (Arc::new(lists), EACH + 128 * EACH),
            (Arc::new(Float32Array::from(vec![0.5; 50])), EACH),
        ];
        for (array, each) in arrays {
            assert_eq!(bytes_of_column(&array), 50 * each, "{}", array.data_type());
            assert_eq!(bytes_of_column(&array.slice(7, 3)), 3 * each, "a part of {}", array.data_type());
        }
    }
}
