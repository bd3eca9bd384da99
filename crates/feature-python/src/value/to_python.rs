//! From feature values to Python.

use feature_store::{FeatureValue, Timestamp};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyList};

use super::datetime;

/// The Python object of a value: `None`, `bool`, `int`, `float`, `str`, `bytes`, an aware `datetime`, a list of
/// these, or a `dict`.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &FeatureValue) -> PyResult<Bound<'py, PyAny>> {
    match value {
        FeatureValue::Null => Ok(py.None().into_bound(py)),
        FeatureValue::Float64(v) => Ok(PyFloat::new(py, *v).into_any()),
        FeatureValue::Bool(v) => v.into_bound_py_any(py),
        FeatureValue::Int32(v) => v.into_bound_py_any(py),
        FeatureValue::Int64(v) => v.into_bound_py_any(py),
        FeatureValue::Float32(v) => Ok(PyFloat::new(py, f64::from(*v)).into_any()),
        FeatureValue::String(v) => v.into_bound_py_any(py),
        FeatureValue::Bytes(v) => Ok(PyBytes::new(py, v).into_any()),
        FeatureValue::Timestamp(v) => datetime(py, *v),
        FeatureValue::BoolList(v) => Ok(PyList::new(py, v)?.into_any()),
        FeatureValue::Int32List(v) => Ok(PyList::new(py, v)?.into_any()),
        FeatureValue::Int64List(v) => Ok(PyList::new(py, v)?.into_any()),
        FeatureValue::Float32List(v) => Ok(PyList::new(py, v)?.into_any()),
        FeatureValue::Float64List(v) => Ok(PyList::new(py, v)?.into_any()),
        FeatureValue::StringList(v) => Ok(PyList::new(py, v)?.into_any()),
        FeatureValue::BytesList(v) => {
            Ok(PyList::new(py, v.iter().map(|bytes| PyBytes::new(py, bytes)))?.into_any())
        }
        FeatureValue::TimestampList(v) => {
            let all = v.iter().map(|instant| datetime(py, *instant)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, all)?.into_any())
        }
        FeatureValue::Map(v) => {
            let map = PyDict::new(py);
            for (name, value) in v {
                map.set_item(name, to_python(py, value)?)?;
            }
            Ok(map.into_any())
        }
    }
}

/// An instant as text that `datetime.fromisoformat` of every Python reads.
pub(crate) fn iso(instant: Timestamp) -> String {
    let mut text = instant.to_string();
    if text.ends_with('Z') {
        text.pop();
        // Older Pythons know three digits of a second or six.
        if let Some((_, digits)) = text.split_once('.') {
            let missing = 6_usize.saturating_sub(digits.len());
            text.extend(std::iter::repeat_n('0', missing));
        }
        text.push_str("+00:00");
    }
    text
}
