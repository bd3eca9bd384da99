//! Entity keys from Python.

use feature_store::{EntityKey, EntityValue, Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyMapping, PyString};

use crate::value::type_name;

/// The key of a dict of join keys.
///
/// # Errors
/// `InvalidArgument` for what is no such dict, and for values that are neither text nor integers.
pub(crate) fn key(object: &Bound<'_, PyAny>) -> Result<EntityKey> {
    let Ok(pairs) = object.cast::<PyDict>() else {
        return match dict_of(object) {
            Some(copy) => key(&copy),
            None => Err(Error::invalid_argument(format!(
                "an entity key is of type {}: give a dict of join keys, such as {{\"customer_id\": \"cust-123\"}}",
                type_name(object)
            ))),
        };
    };
    let mut builder = EntityKey::builder();
    for (name, own) in pairs {
        let text = name.cast::<PyString>().ok().and_then(|name| name.to_str().ok()).ok_or_else(|| {
            Error::invalid_argument(format!("a join key's name is of type {}: it is text", type_name(&name)))
        })?;
        let own = value(&own)
            .map_err(|what| Error::invalid_argument(format!("the join key `{text}` is {what}")))?;
        builder = builder.with(text, own);
    }
    builder.build()
}

fn value(object: &Bound<'_, PyAny>) -> std::result::Result<EntityValue, String> {
    if let Ok(text) = object.cast::<PyString>() {
        return text.extract::<String>().map(EntityValue::from).map_err(|error| error.to_string());
    }
    // Most are, and need not be asked what else they may be.
    if object.is_exact_instance_of::<PyInt>()
        && let Ok(number) = object.extract::<i64>()
    {
        return Ok(number.into());
    }
    // Numpy's integers are numbers to Python; its booleans, and Python's, should not be.
    let is_bool = object.is_instance_of::<PyBool>() || type_name(object).starts_with("bool");
    if !is_bool && let Ok(number) = object.extract::<i64>() {
        return Ok(number.into());
    }
    if !is_bool && let Ok(number) = object.extract::<u64>() {
        return Ok(number.into());
    }
    Err(format!("of type {}: join keys are text and integers of 64 bits", type_name(object)))
}

/// A dict with what another mapping has.
pub(crate) fn dict_of<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let items = object.cast::<PyMapping>().ok()?.items().ok()?;
    PyDict::from_sequence(&items).ok().map(Bound::into_any)
}

/// Entity keys, and the dicts that they are of.
pub(crate) struct Entities {
    pub(crate) keys: Vec<EntityKey>,
    pub(crate) dicts: Vec<Py<PyAny>>,
}

/// The keys of a list of dicts, or of a dict of columns: `{"customer_id": [1, 2]}`.
///
/// # Errors
/// As [`key`], with the number of the wrong one.
pub(crate) fn entities(object: &Bound<'_, PyAny>) -> PyResult<Result<Entities>> {
    let py = object.py();
    if let Ok(columns) = object.cast::<PyDict>() {
        return of_columns(py, columns);
    }
    let mut all = Entities { keys: Vec::new(), dicts: Vec::new() };
    for (number, one) in object.try_iter()?.enumerate() {
        let one = one?;
        match key(&one) {
            Ok(key) => all.keys.push(key),
            Err(error) => {
                return Ok(Err(Error::invalid_argument(format!("entity {number}: {}", error.message()))));
            }
        }
        all.dicts.push(one.unbind());
    }
    Ok(Ok(all))
}

fn of_columns(py: Python<'_>, columns: &Bound<'_, PyDict>) -> PyResult<Result<Entities>> {
    let mut lists = Vec::with_capacity(columns.len());
    for (name, column) in columns {
        if column.is_instance_of::<PyString>() {
            let message = format!(
                "the entities' column {name} is one text: give a list of values, or a list of dicts, one for each entity"
            );
            return Ok(Err(Error::invalid_argument(message)));
        }
        // Numpy, pandas, polars and pyarrow each have one of these, which is quicker than their iterators.
        let list =
            ["tolist", "to_list", "to_pylist"].into_iter().find_map(|make| column.call_method0(make).ok());
        let list = match list {
            Some(list) => list.cast_into::<PyList>()?,
            None => column.try_iter()?.collect::<PyResult<Vec<_>>>().and_then(|all| PyList::new(py, all))?,
        };
        lists.push((name, list));
    }
    let rows = lists.first().map_or(0, |(_, list)| list.len());
    if let Some((name, list)) = lists.iter().find(|(_, list)| list.len() != rows) {
        let message = format!("the entities' columns have {rows} rows, and {name} has {}", list.len());
        return Ok(Err(Error::invalid_argument(message)));
    }
    let dicts = PyList::empty(py);
    for row in 0..rows {
        let dict = PyDict::new(py);
        for (name, list) in &lists {
            dict.set_item(name, list.get_item(row)?)?;
        }
        dicts.append(dict)?;
    }
    entities(dicts.as_any())
}
