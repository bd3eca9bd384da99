//! From Python to feature values.

use std::collections::BTreeMap;

use feature_store::{Error, FeatureValue, FeatureView, Features, Result, ValueType};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple,
};

use super::{instant, numpy};
use crate::entity::dict_of;

/// Why an object is no value.
pub(crate) type Reason = String;

/// The features of a write, whose declared types, where there are any, decide what numbers become.
///
/// # Errors
/// `InvalidArgument` that names the feature and the type of its value.
pub(crate) fn features(features: &Bound<'_, PyAny>, view: Option<&FeatureView>) -> Result<Features> {
    let Ok(features) = features.cast::<PyDict>() else {
        return match dict_of(features) {
            Some(copy) => self::features(&copy, view),
            None => Err(Error::invalid_argument(format!(
                "the features are of type {}: give a dict of their names and values",
                type_name(features)
            ))),
        };
    };
    let mut all = Vec::with_capacity(features.len());
    for (name, value) in features {
        let name: String = name.extract().map_err(|_| {
            Error::invalid_argument(format!("a feature's name is of type {}: it is text", type_name(&name)))
        })?;
        let wanted = view.and_then(|view| view.features.get(&name)).copied();
        let value = from_python(&value, wanted)
            .map_err(|reason| Error::invalid_argument(format!("the feature `{name}`: {reason}")))?;
        all.push((name, value));
    }
    Ok(all.into_iter().collect())
}

/// The value of an object; `wanted` is its declared type, where there is one.
///
/// # Errors
/// Why it is no value.
pub(crate) fn from_python(
    object: &Bound<'_, PyAny>,
    wanted: Option<ValueType>,
) -> std::result::Result<FeatureValue, Reason> {
    // What most features are.
    let value = if let Ok(float) = object.cast_exact::<PyFloat>() {
        FeatureValue::Float64(float.value())
    } else {
        natural(object, wanted, 0)?
    };
    match wanted {
        Some(wanted) if value.value_type() != Some(wanted) => narrow(value, wanted),
        _ => Ok(value),
    }
}

fn natural(
    object: &Bound<'_, PyAny>,
    wanted: Option<ValueType>,
    depth: usize,
) -> std::result::Result<FeatureValue, Reason> {
    let failed = |error: PyErr| format!("its value cannot be read: {error}");
    if object.is_none() {
        return Ok(FeatureValue::Null);
    }
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(value.is_true().into());
    }
    if let Ok(value) = object.cast::<PyInt>() {
        return value.extract::<i64>().map(FeatureValue::Int64).map_err(|_| {
            "an integer beyond 64 bits: store it as str, or as float if that is exact enough".to_owned()
        });
    }
    if let Ok(value) = object.cast::<PyFloat>() {
        return Ok(value.value().into());
    }
    if let Ok(value) = object.cast::<PyString>() {
        // A lone surrogate is no character.
        return value.extract::<String>().map(FeatureValue::String).map_err(failed);
    }
    if let Ok(value) = object.cast::<PyBytes>() {
        return Ok(value.as_bytes().into());
    }
    if object.is_instance_of::<PyByteArray>() || object.is_instance_of::<PyMemoryView>() {
        let bytes = object.py().get_type::<PyBytes>().call1((object,)).map_err(failed)?;
        return bytes.extract::<Vec<u8>>().map(FeatureValue::Bytes).map_err(failed);
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        return list(object, wanted);
    }
    if let Ok(map) = object.cast::<PyDict>() {
        return self::map(map, depth);
    }
    if matches!(type_name(object).as_str(), "NaTType" | "NAType") {
        return Ok(FeatureValue::Null);
    }
    if let Some(instant) = instant(object).map_err(failed)? {
        return Ok(instant.into());
    }
    if let Some(value) = numpy::value(object)? {
        return Ok(value);
    }
    if let Some(value) = decimal(object, wanted)? {
        return Ok(value);
    }
    Err(format!(
        "a value of type {} cannot be stored: give int, float, bool, str, bytes, datetime, date, Decimal, a list \
         or array of one of these, a dict, or None",
        type_name(object)
    ))
}

fn map(map: &Bound<'_, PyDict>, depth: usize) -> std::result::Result<FeatureValue, Reason> {
    if depth >= FeatureValue::MAX_DEPTH {
        return Err(format!("its dicts are nested more than {} deep", FeatureValue::MAX_DEPTH));
    }
    let mut values = BTreeMap::new();
    for (name, value) in map {
        let Ok(name) = name.extract::<String>() else {
            return Err(format!("a dict has a key of type {}: keys are text", type_name(&name)));
        };
        let value = natural(&value, None, depth + 1).map_err(|reason| format!("at `{name}`, {reason}"))?;
        values.insert(name, value);
    }
    Ok(FeatureValue::Map(values))
}

fn list(object: &Bound<'_, PyAny>, wanted: Option<ValueType>) -> std::result::Result<FeatureValue, Reason> {
    let items = object.try_iter().map_err(|error| error.to_string())?;
    let mut values = Vec::with_capacity(object.len().unwrap_or_default());
    for item in items {
        let item = item.map_err(|error| error.to_string())?;
        values.push(natural(&item, None, 0).map_err(|reason| format!("in its list, {reason}"))?);
    }
    list_of(values, wanted)
}

/// A list of values of one type; integers among floats become floats, where that loses nothing.
pub(super) fn list_of(
    values: Vec<FeatureValue>,
    wanted: Option<ValueType>,
) -> std::result::Result<FeatureValue, Reason> {
    macro_rules! all {
        ($variant:ident) => {
            values
                .into_iter()
                .map(|value| match value {
                    FeatureValue::$variant(v) => Some(v),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
                .map(FeatureValue::from)
        };
    }
    let Some(first) = values.first() else { return empty(wanted) };
    let numbers = |value: &FeatureValue| value.as_f64().is_some() || value.as_i64().is_some();
    let list = match first {
        _ if values.iter().any(|value| matches!(value, FeatureValue::Float64(_)))
            && values.iter().all(numbers) =>
        {
            values.iter().map(FeatureValue::as_f64).collect::<Option<Vec<f64>>>().map(FeatureValue::from)
        }
        FeatureValue::Bool(_) => all!(Bool),
        FeatureValue::Int32(_) => all!(Int32),
        FeatureValue::Int64(_) => all!(Int64),
        FeatureValue::Float32(_) => all!(Float32),
        FeatureValue::String(_) => all!(String),
        FeatureValue::Bytes(_) => all!(Bytes),
        FeatureValue::Timestamp(_) => all!(Timestamp),
        _ => None,
    };
    list.ok_or_else(|| {
        "its list has elements of several types, None among them, lists or dicts: a list holds values of one \
         type"
            .to_owned()
    })
}

fn empty(wanted: Option<ValueType>) -> std::result::Result<FeatureValue, Reason> {
    Ok(match wanted {
        Some(ValueType::BoolList) => Vec::<bool>::new().into(),
        Some(ValueType::Int32List) => Vec::<i32>::new().into(),
        Some(ValueType::Int64List) => Vec::<i64>::new().into(),
        Some(ValueType::Float32List) => Vec::<f32>::new().into(),
        Some(ValueType::Float64List) => Vec::<f64>::new().into(),
        Some(ValueType::StringList) => Vec::<String>::new().into(),
        Some(ValueType::BytesList) => Vec::<Vec<u8>>::new().into(),
        Some(ValueType::TimestampList) => Vec::<feature_store::Timestamp>::new().into(),
        _ => {
            return Err(
                "the type of an empty list cannot be told: declare the feature's view, or give an empty \
                        numpy array"
                    .to_owned(),
            );
        }
    })
}

/// A number as one of the declared type, where it is in range: a float rounded to the nearest, an integer exact.
/// What cannot be is left to the store to refuse.
fn narrow(value: FeatureValue, wanted: ValueType) -> std::result::Result<FeatureValue, Reason> {
    let value = match value.widen(wanted) {
        Ok(wide) => return Ok(wide),
        Err(own) => own,
    };
    let float = |v: f64| {
        let narrow = v as f32;
        if narrow.is_finite() || !v.is_finite() { Ok(narrow) } else { Err(format!("{v} is beyond float32")) }
    };
    let int = |v: i64| i32::try_from(v).map_err(|_| format!("{v} is beyond int32"));
    let exact = |v: i64| FeatureValue::Int64(v).as_f64().ok_or_else(|| format!("{v} is no float64 exactly"));
    Ok(match (wanted, value) {
        (ValueType::Int32, FeatureValue::Int64(v)) => int(v)?.into(),
        (ValueType::Float32, FeatureValue::Float64(v)) => float(v)?.into(),
        (ValueType::Float32, FeatureValue::Int64(v)) => float(exact(v)?)?.into(),
        (ValueType::Int32List, FeatureValue::Int64List(v)) => {
            v.into_iter().map(int).collect::<std::result::Result<Vec<_>, _>>()?.into()
        }
        (ValueType::Float32List, FeatureValue::Float64List(v)) => {
            v.into_iter().map(float).collect::<std::result::Result<Vec<_>, _>>()?.into()
        }
        (ValueType::Float32List, FeatureValue::Int64List(v)) => {
            v.into_iter().map(|v| float(exact(v)?)).collect::<std::result::Result<Vec<_>, _>>()?.into()
        }
        (ValueType::Float64List, FeatureValue::Int64List(v)) => {
            v.into_iter().map(exact).collect::<std::result::Result<Vec<_>, _>>()?.into()
        }
        (ValueType::Int64List, FeatureValue::Int32List(v)) => {
            v.into_iter().map(i64::from).collect::<Vec<_>>().into()
        }
        (ValueType::Float64List, FeatureValue::Float32List(v)) => {
            v.into_iter().map(f64::from).collect::<Vec<_>>().into()
        }
        (_, other) => other,
    })
}

/// The number of a `Decimal`, where a float or, for a feature declared so, an integer is exactly that.
fn decimal(
    object: &Bound<'_, PyAny>,
    wanted: Option<ValueType>,
) -> std::result::Result<Option<FeatureValue>, Reason> {
    if type_name(object) != "Decimal" {
        return Ok(None);
    }
    let py = object.py();
    let exactly = |number: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        let number = py.import("builtins")?.getattr(number)?.call1((object,))?;
        Ok(object.eq(&number)?.then_some(number))
    };
    let integer = matches!(wanted, Some(ValueType::Int32 | ValueType::Int64));
    let value = match exactly(if integer { "int" } else { "float" }) {
        Ok(Some(number)) if integer => number.extract::<i64>().ok().map(FeatureValue::from),
        Ok(Some(number)) => number.extract::<f64>().ok().map(FeatureValue::from),
        _ => None,
    };
    value.map(Some).ok_or_else(|| {
        let what = if integer { "64-bit integer" } else { "float" };
        format!("no {what} is exactly {object:?}: round it with float(), or store it as str")
    })
}

/// The name of an object's class.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "unknown".to_owned(), |name| name.to_string())
}
