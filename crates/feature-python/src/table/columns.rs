//! Columns that Python holds as a record batch, where no library of tables is there to make one.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use feature_store::{Error, ErrorKind, FeatureValue, Result, ValueType};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::arrow::array;
use super::cells::{Kind, kind_of};
use crate::value::{Reason, from_python, numpy_value};

/// A record batch of a dict of columns: lists, arrays, series and whatever else can be iterated over.
///
/// # Errors
/// `InvalidArgument` that names the column whose values have no common type, or that is of another length.
pub(crate) fn record_batch(columns: &Bound<'_, PyDict>) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, own) in columns {
        let array =
            column(&own).map_err(|why| Error::invalid_argument(format!("the column `{name}`: {why}")))?;
        if let Some(first) = arrays.first().map(|first: &ArrayRef| first.len())
            && first != array.len()
        {
            let rows = array.len();
            let message = format!("the column `{name}` has {rows} rows, and the first has {first}");
            return Err(Error::invalid_argument(message));
        }
        fields.push(Field::new(name.to_string(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let rows = arrays.first().map_or(0, |first| first.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

fn column(own: &Bound<'_, PyAny>) -> std::result::Result<ArrayRef, Reason> {
    if own.is_instance_of::<PyString>() {
        return Err("it is one text: give a list of values".to_owned());
    }
    // An array that has nulls, or elements of several types, is read one by one.
    let values = match numpy_value(own) {
        Ok(Some(list)) => elements(list),
        _ => None,
    };
    let mut values = values.map_or_else(|| each(own), Ok)?;
    let module = own.get_type().module().map_or_else(|_| String::new(), |module| module.to_string());
    if module.starts_with("pandas.") {
        values.iter_mut().filter(|value| is_nan(value)).for_each(|value| *value = FeatureValue::Null);
    }
    match kind_of(values.iter()) {
        Kind::Nulls => Ok(array(values.iter(), None)),
        Kind::One(ValueType::Map) => {
            Err("Arrow has no type for its dicts: install pyarrow, or write the rows with batch_write"
                .to_owned())
        }
        Kind::One(kind) => Ok(array(values.iter(), Some(kind))),
        Kind::Several => Err("its values have several types: a column has one".to_owned()),
    }
}

/// The elements, one by one. What an empty list is one of, the others say.
fn each(own: &Bound<'_, PyAny>) -> std::result::Result<Vec<FeatureValue>, Reason> {
    let failed = |error: PyErr| format!("it is no list of values: {error}");
    let (mut values, mut empty) = (Vec::with_capacity(own.len().unwrap_or_default()), Vec::new());
    for (row, item) in own.try_iter().map_err(failed)?.enumerate() {
        let item = item.map_err(failed)?;
        if is_empty_list(&item) {
            values.push(FeatureValue::Null);
            empty.push((row, item));
        } else {
            values.push(from_python(&item, None).map_err(|why| format!("in row {row}, {why}"))?);
        }
    }
    let wanted = match kind_of(values.iter()) {
        Kind::One(kind) => Some(kind),
        Kind::Nulls | Kind::Several => None,
    };
    for (row, item) in empty {
        values[row] = from_python(&item, wanted).map_err(|why| format!("in row {row}, {why}"))?;
    }
    Ok(values)
}

fn is_empty_list(item: &Bound<'_, PyAny>) -> bool {
    (item.is_instance_of::<PyList>() || item.is_instance_of::<PyTuple>())
        && item.len().is_ok_and(|length| length == 0)
}

/// The elements of a list; `None` of what is none.
fn elements(list: FeatureValue) -> Option<Vec<FeatureValue>> {
    fn all<T: Into<FeatureValue>>(list: Vec<T>) -> Option<Vec<FeatureValue>> {
        Some(list.into_iter().map(Into::into).collect())
    }
    match list {
        FeatureValue::BoolList(v) => all(v),
        FeatureValue::Int32List(v) => all(v),
        FeatureValue::Int64List(v) => all(v),
        FeatureValue::Float32List(v) => all(v),
        FeatureValue::Float64List(v) => all(v),
        FeatureValue::StringList(v) => all(v),
        FeatureValue::BytesList(v) => all(v),
        FeatureValue::TimestampList(v) => all(v),
        _ => None,
    }
}

fn is_nan(value: &FeatureValue) -> bool {
    match value {
        FeatureValue::Float64(v) => v.is_nan(),
        FeatureValue::Float32(v) => v.is_nan(),
        _ => false,
    }
}
