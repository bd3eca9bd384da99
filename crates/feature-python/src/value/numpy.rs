//! Numpy's scalars and arrays, without compiling against numpy.

use feature_store::{FeatureValue, Timestamp};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::from_python::{Reason, from_python, list_of};

/// The value of a numpy scalar or of an array of one dimension; `None` for what is neither.
///
/// # Errors
/// Why it is no value.
pub(crate) fn value(object: &Bound<'_, PyAny>) -> Result<Option<FeatureValue>, Reason> {
    let py = object.py();
    // What has both can be handled as numpy's own.
    let (Ok(dtype), Ok(shape)) = (object.getattr(intern!(py, "dtype")), object.getattr(intern!(py, "shape")))
    else {
        return Ok(None);
    };
    read(object, &dtype, &shape)
        .unwrap_or_else(|error| Err(format!("its array cannot be read: {error}")))
        .map(Some)
}

fn read(
    object: &Bound<'_, PyAny>,
    dtype: &Bound<'_, PyAny>,
    shape: &Bound<'_, PyAny>,
) -> PyResult<Result<FeatureValue, Reason>> {
    let py = object.py();
    let dimensions = shape.len()?;
    if dimensions > 1 {
        return Ok(Err(format!(
            "its array has {dimensions} dimensions: flatten it, and store its shape beside it"
        )));
    }
    let object = if object.hasattr(intern!(py, "tobytes"))? {
        object.clone()
    } else {
        let array = object.call_method0(intern!(py, "to_numpy"))?;
        // An array of pandas' own types, which know nulls and time zones, is one of other things in numpy.
        if !array.getattr(intern!(py, "dtype"))?.eq(dtype)? {
            return Ok(from_python(&object.call_method0(intern!(py, "tolist"))?, None));
        }
        array
    };
    let (kind, size): (String, usize) =
        match dtype.getattr(intern!(py, "kind")).and_then(|kind| kind.extract()) {
            Ok(kind) => (kind, dtype.getattr(intern!(py, "itemsize"))?.extract()?),
            Err(_) => return Ok(Err(format!("arrays of {dtype} are not known"))),
        };
    let native = match (kind.as_str(), size) {
        ("b", _) => "|b1",
        ("f", 2 | 4) => "<f4",
        ("f", 8) => "<f8",
        ("i", ..=4) | ("u", ..=2) => "<i4",
        ("i", 8) | ("u", 4) => "<i8",
        ("u", 8) => return unsigned(&object, dimensions),
        ("M", _) => "<M8[us]",
        _ => {
            let plain = object.call_method0(intern!(py, "tolist"))?;
            // An array without elements still says what they would be.
            return match (kind.as_str(), plain.len()) {
                ("U", Ok(0)) if dimensions == 1 => Ok(Ok(Vec::<String>::new().into())),
                ("S", Ok(0)) if dimensions == 1 => Ok(Ok(Vec::<Vec<u8>>::new().into())),
                _ if plain.get_type().is(object.get_type()) => {
                    Ok(Err(format!("arrays of {dtype} cannot be stored")))
                }
                _ => Ok(from_python(&plain, None)),
            };
        }
    };
    let bytes =
        object.call_method1(intern!(py, "astype"), (native,))?.call_method0(intern!(py, "tobytes"))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    let eight = || bytes.as_chunks::<8>().0.iter().copied();
    let four = || bytes.as_chunks::<4>().0.iter().copied();
    let list: FeatureValue = match native {
        "|b1" => bytes.iter().map(|byte| *byte != 0).collect::<Vec<_>>().into(),
        "<f4" => four().map(f32::from_le_bytes).collect::<Vec<_>>().into(),
        "<f8" => eight().map(f64::from_le_bytes).collect::<Vec<_>>().into(),
        "<i4" => four().map(i32::from_le_bytes).collect::<Vec<_>>().into(),
        "<i8" => eight().map(i64::from_le_bytes).collect::<Vec<_>>().into(),
        _ => {
            let micros: Vec<i64> = eight().map(i64::from_le_bytes).collect();
            // Numpy's "not a time".
            if micros.contains(&i64::MIN) {
                return Ok(if dimensions == 0 {
                    Ok(FeatureValue::Null)
                } else {
                    list_of(vec![FeatureValue::Null], None)
                });
            }
            micros.into_iter().map(Timestamp::from_micros).collect::<Vec<_>>().into()
        }
    };
    Ok(Ok(if dimensions == 0 { single(list) } else { list }))
}

/// Unsigned integers of 64 bits, most of which are in the range of the signed ones.
fn unsigned(object: &Bound<'_, PyAny>, dimensions: usize) -> PyResult<Result<FeatureValue, Reason>> {
    let plain = object.call_method0(intern!(object.py(), "tolist"))?;
    if dimensions == 1 && plain.is_empty()? {
        return Ok(Ok(Vec::<i64>::new().into()));
    }
    Ok(from_python(&plain, None))
}

/// The only element of a list.
fn single(list: FeatureValue) -> FeatureValue {
    let first = match list {
        FeatureValue::BoolList(v) => v.first().copied().map(FeatureValue::from),
        FeatureValue::Int32List(v) => v.first().copied().map(FeatureValue::from),
        FeatureValue::Int64List(v) => v.first().copied().map(FeatureValue::from),
        FeatureValue::Float32List(v) => v.first().copied().map(FeatureValue::from),
        FeatureValue::Float64List(v) => v.first().copied().map(FeatureValue::from),
        FeatureValue::TimestampList(v) => v.first().copied().map(FeatureValue::from),
        other => Some(other),
    };
    first.unwrap_or(FeatureValue::Null)
}
