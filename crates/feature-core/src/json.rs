//! Values as JSON, for people, scripts and servers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Number, Value};

use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::value::{FeatureValue, ValueType};

impl FeatureValue {
    /// The value as JSON. Bytes become base64 text, instants RFC 3339 text, floats that JSON has no number
    /// for `"NaN"`, `"Infinity"` or `"-Infinity"`. [`from_json`](Self::from_json) reads it back, given the
    /// type; only the payload of a NaN is lost, and types inside a map become the natural ones.
    ///
    /// ```
    /// use feature_core::{FeatureValue, ValueType};
    /// let json = FeatureValue::from(vec![0.1f32, f32::INFINITY]).to_json();
    /// assert_eq!(json.to_string(), r#"[0.1,"Infinity"]"#);
    /// assert_eq!(FeatureValue::from_json(&json, Some(ValueType::Float32List))?, vec![0.1f32, f32::INFINITY].into());
    /// # Ok::<(), feature_core::Error>(())
    /// ```
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(v) => (*v).into(),
            Self::Int32(v) => (*v).into(),
            Self::Int64(v) => (*v).into(),
            Self::Float32(v) => float32(*v),
            Self::Float64(v) => float64(*v),
            Self::String(v) => v.as_str().into(),
            Self::Bytes(v) => BASE64.encode(v).into(),
            Self::Timestamp(v) => v.to_string().into(),
            Self::BoolList(v) => v.as_slice().into(),
            Self::Int32List(v) => v.as_slice().into(),
            Self::Int64List(v) => v.as_slice().into(),
            Self::Float32List(v) => v.iter().copied().map(float32).collect(),
            Self::Float64List(v) => v.iter().copied().map(float64).collect(),
            Self::StringList(v) => v.as_slice().into(),
            Self::BytesList(v) => v.iter().map(|bytes| BASE64.encode(bytes)).collect(),
            Self::TimestampList(v) => v.iter().map(Timestamp::to_string).collect(),
            Self::Map(v) => v.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        }
    }

    /// Appends the JSON of [`to_json`](Self::to_json) to a text, without building it.
    ///
    /// ```
    /// use feature_core::FeatureValue;
    /// let mut text = Vec::new();
    /// FeatureValue::from(vec![0.1f32, f32::INFINITY]).write_json(&mut text);
    /// assert_eq!(text, br#"[0.1,"Infinity"]"#);
    /// ```
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(v) => write(out, v),
            Self::Int32(v) => write(out, v),
            Self::Int64(v) => write(out, v),
            Self::Float32(v) => write_float32(out, *v),
            Self::Float64(v) => Self::write_json_float(out, *v),
            Self::String(v) => write(out, v),
            Self::Bytes(v) => write_bytes(out, v),
            Self::Timestamp(v) => write(out, v),
            Self::BoolList(v) => write_list(out, v, write),
            Self::Int32List(v) => write_list(out, v, write),
            Self::Int64List(v) => write_list(out, v, write),
            Self::Float32List(v) => write_list(out, v, |out, v| write_float32(out, *v)),
            Self::Float64List(v) => write_list(out, v, |out, v| Self::write_json_float(out, *v)),
            Self::StringList(v) => write_list(out, v, write),
            Self::BytesList(v) => write_list(out, v, |out, v| write_bytes(out, v)),
            Self::TimestampList(v) => write_list(out, v, write),
            Self::Map(v) => {
                out.push(b'{');
                for (at, (name, value)) in v.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write(out, name);
                    out.push(b':');
                    value.write_json(out);
                }
                out.push(b'}');
            }
        }
    }

    /// As [`write_json`](Self::write_json), for a float that is no [`FeatureValue`] yet.
    pub fn write_json_float(out: &mut Vec<u8>, value: f64) {
        match value.is_finite() {
            true => out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
            false => write(out, &float64(value)),
        }
    }

    /// The value that a JSON text means: as one of `wanted`'s type where that is known, otherwise as its
    /// natural type: an integer is `int64`, another number `float64`, an object a `map`, an array a list
    /// of its elements' one type. `null` is the explicit null of every type.
    ///
    /// A number becomes an integer where it is a whole one in range, and a float by rounding to the nearest.
    ///
    /// # Errors
    /// `InvalidArgument` that says what was expected and what was found.
    pub fn from_json(json: &Value, wanted: Option<ValueType>) -> Result<Self> {
        match (json, wanted) {
            (Value::Null, _) => Ok(Self::Null),
            (_, Some(wanted)) => typed(json, wanted).ok_or_else(|| {
                Error::invalid_argument(format!("expected {wanted}, found {}", excerpt(json)))
            }),
            (_, None) => natural(json),
        }
    }
}

/// Nothing keeps a number or a text from being written into memory.
fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

fn write_float32(out: &mut Vec<u8>, value: f32) {
    match value.is_finite() {
        true => out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
        false => write(out, &float64(f64::from(value))),
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write(out, &BASE64.encode(bytes));
}

fn write_list<T>(out: &mut Vec<u8>, list: &[T], mut element: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (at, value) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        element(out, value);
    }
    out.push(b']');
}

fn float64(v: f64) -> Value {
    match Number::from_f64(v) {
        Some(number) => Value::Number(number),
        None if v.is_nan() => "NaN".into(),
        None if v.is_sign_positive() => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// With as few digits as tell the number from other 32-bit floats: 0.1, not 0.10000000149011612.
fn float32(v: f32) -> Value {
    let mut text = zmij::Buffer::new();
    let short = text.format(v).parse::<f64>().ok().filter(|short| (*short as f32).to_bits() == v.to_bits());
    float64(short.unwrap_or_else(|| v.into()))
}

fn typed(json: &Value, wanted: ValueType) -> Option<FeatureValue> {
    Some(match wanted {
        ValueType::Bool => json.as_bool()?.into(),
        ValueType::Int32 => i32::try_from(integer(json)?).ok()?.into(),
        ValueType::Int64 => integer(json)?.into(),
        ValueType::Float32 => narrow(float(json)?)?.into(),
        ValueType::Float64 => float(json)?.into(),
        ValueType::String => json.as_str()?.into(),
        ValueType::Bytes => bytes(json)?.into(),
        ValueType::Timestamp => instant(json)?.into(),
        ValueType::BoolList => list(json, Value::as_bool)?.into(),
        ValueType::Int32List => list(json, |v| i32::try_from(integer(v)?).ok())?.into(),
        ValueType::Int64List => list(json, integer)?.into(),
        ValueType::Float32List => list(json, |v| narrow(float(v)?))?.into(),
        ValueType::Float64List => list(json, float)?.into(),
        ValueType::StringList => list(json, |v| v.as_str().map(str::to_owned))?.into(),
        ValueType::BytesList => list(json, bytes)?.into(),
        ValueType::TimestampList => list(json, instant)?.into(),
        ValueType::Map => json.as_object().and_then(|_| natural(json).ok())?,
    })
}

fn list<T>(json: &Value, element: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    json.as_array()?.iter().map(element).collect()
}

fn integer(json: &Value) -> Option<i64> {
    // Up to here a float holds every integer; what lies beyond may already have been rounded.
    let exact = |v: f64| (v.fract() == 0.0 && v.abs() <= (1_i64 << 53) as f64).then_some(v as i64);
    json.as_i64().or_else(|| json.as_f64().filter(|_| json.is_f64()).and_then(exact))
}

fn float(json: &Value) -> Option<f64> {
    match json.as_str() {
        None => json.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
    }
}

fn narrow(v: f64) -> Option<f32> {
    let narrowed = v as f32;
    (narrowed.is_finite() || !v.is_finite()).then_some(narrowed)
}

fn bytes(json: &Value) -> Option<Vec<u8>> {
    BASE64.decode(json.as_str()?).ok()
}

fn instant(json: &Value) -> Option<Timestamp> {
    json.as_str()?.parse().ok()
}

fn natural(json: &Value) -> Result<FeatureValue> {
    match json {
        Value::Null => Ok(FeatureValue::Null),
        Value::Bool(v) => Ok((*v).into()),
        Value::Number(v) if v.is_f64() => typed(json, ValueType::Float64).ok_or_else(|| beyond(json)),
        Value::Number(_) => typed(json, ValueType::Int64).ok_or_else(|| beyond(json)),
        Value::String(v) => Ok(v.as_str().into()),
        Value::Array(elements) => {
            let types =
                [ValueType::BoolList, ValueType::Int64List, ValueType::Float64List, ValueType::StringList];
            // A list of numbers is one of integers only if none of them has a fraction or an exponent.
            let fits = |wanted: &ValueType| {
                *wanted != ValueType::Int64List || elements.iter().all(|element| !element.is_f64())
            };
            let of_numbers = elements.first().is_some_and(Value::is_number);
            types
                .into_iter()
                .filter(|wanted| !elements.is_empty() && fits(wanted))
                .filter(|wanted| *wanted != ValueType::Float64List || of_numbers)
                .find_map(|wanted| typed(json, wanted))
                .ok_or_else(|| {
                    Error::invalid_argument(format!(
                        "{} is a list whose type cannot be told: it must have elements, all of one type and \
                         none of them null; a feature view that states the type may help",
                        excerpt(json)
                    ))
                })
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| Ok((name.clone(), natural(value)?));
            members.iter().map(member).collect::<Result<_>>().map(FeatureValue::Map)
        }
    }
}

fn beyond(json: &Value) -> Error {
    Error::invalid_argument(format!("{json} is beyond the range of int64"))
}

/// Enough of a value to recognise it.
fn excerpt(json: &Value) -> String {
    let text = json.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = FeatureValue> {
        let instant = || any::<i64>().prop_map(Timestamp::from_micros);
        let f64s = || {
            let any =
                any::<u64>().prop_map(f64::from_bits).prop_map(|v| if v.is_nan() { f64::NAN } else { v });
            // Most bits are none of these.
            let rare = prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0]);
            prop_oneof![3 => any, 1 => rare]
        };
        let f32s = || {
            let any =
                any::<u32>().prop_map(f32::from_bits).prop_map(|v| if v.is_nan() { f32::NAN } else { v });
            prop_oneof![3 => any, 1 => f64s().prop_map(|v| v as f32)]
        };
        let finite = f64s().prop_filter("JSON has no number for it", |v| v.is_finite());
        let natural = prop_oneof![
            Just(FeatureValue::Null),
            any::<bool>().prop_map(FeatureValue::from),
            any::<i64>().prop_map(FeatureValue::from),
            finite.prop_map(FeatureValue::from),
            ".*".prop_map(FeatureValue::from),
            prop::collection::vec(any::<i64>(), 1..4).prop_map(FeatureValue::from),
            prop::collection::vec(".*", 1..4).prop_map(FeatureValue::from),
        ];
        let map = prop::collection::btree_map(".*", natural.clone(), 0..4).prop_map(FeatureValue::Map);
        let nested = prop::collection::btree_map(".*", map.clone(), 0..3).prop_map(FeatureValue::Map);
        prop_oneof![
            natural,
            map,
            nested,
            any::<i32>().prop_map(FeatureValue::from),
            f32s().prop_map(FeatureValue::from),
            f64s().prop_map(FeatureValue::from),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(FeatureValue::from),
            instant().prop_map(FeatureValue::from),
            prop::collection::vec(any::<bool>(), 0..4).prop_map(FeatureValue::from),
            prop::collection::vec(any::<i32>(), 0..4).prop_map(FeatureValue::from),
            prop::collection::vec(f32s(), 0..4).prop_map(FeatureValue::from),
            prop::collection::vec(f64s(), 0..4).prop_map(FeatureValue::from),
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..4)
                .prop_map(FeatureValue::from),
            prop::collection::vec(instant(), 0..4).prop_map(FeatureValue::from),
        ]
    }

    proptest! {
        #[test]
        fn every_value_reads_back_through_text(value in values()) {
            let text = value.to_json().to_string();
            let json: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(FeatureValue::from_json(&json, value.value_type()).unwrap(), value.clone());
            let mut written = Vec::new();
            value.write_json(&mut written);
            prop_assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json);
        }
    }

    /// It is 1114380.25: 1114380.2 and 1114380.3 are as short and as near.
    #[test]
    fn of_two_texts_as_short_and_as_near_both_ways_take_the_same() {
        let value = FeatureValue::from(1_114_380.3_f32);
        let mut written = Vec::new();
        value.write_json(&mut written);
        assert_eq!(value.to_json().to_string().as_bytes(), written);
    }

    #[test]
    fn floats_that_json_has_no_number_for_are_their_names() {
        for (value, name) in
            [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")]
        {
            assert_eq!(FeatureValue::from(value).to_json(), json!(name));
            assert_eq!(FeatureValue::from(value as f32).to_json(), json!(name));
        }
    }

    #[test]
    fn without_a_type_the_natural_one_is_taken() {
        for (json, value) in [
            (json!(null), FeatureValue::Null),
            (json!(3), 3_i64.into()),
            (json!(3.0), 3.0.into()),
            (json!("NaN"), "NaN".into()),
            (json!([true, false]), vec![true, false].into()),
            (json!([1, 2]), vec![1_i64, 2].into()),
            (json!([1, 2.5]), vec![1.0, 2.5].into()),
            (json!([1.0, 2.0]), vec![1.0, 2.0].into()),
            (json!(["NaN"]), vec!["NaN".to_owned()].into()),
            (json!({"a": {"b": 1}}), {
                let inner = BTreeMap::from([("b".to_owned(), 1_i64.into())]);
                BTreeMap::from([("a".to_owned(), inner.into())]).into()
            }),
        ] {
            assert_eq!(FeatureValue::from_json(&json, None).unwrap(), value, "{json}");
        }
        for json in
            [json!([]), json!([1, "a"]), json!([1, null]), json!([[1]]), json!(u64::MAX), json!({"a": []})]
        {
            assert!(FeatureValue::from_json(&json, None).is_err(), "{json}");
        }
    }

    #[test]
    fn a_type_takes_what_it_can_hold_and_refuses_the_rest() {
        let read = |json: Value, wanted| FeatureValue::from_json(&json, Some(wanted));
        assert_eq!(read(json!(2004.0), ValueType::Int32).unwrap(), 2004.into());
        assert_eq!(read(json!(7), ValueType::Float64).unwrap(), 7.0.into());
        assert_eq!(read(json!([]), ValueType::BytesList).unwrap(), Vec::<Vec<u8>>::new().into());
        for (json, wanted) in [
            (json!(1.5), ValueType::Int64),
            (json!(1_i64 << 40), ValueType::Int32),
            (json!(1e300), ValueType::Float32),
            (json!(1e300), ValueType::Int64),
            (json!("many"), ValueType::Float64),
            (json!(1), ValueType::String),
            (json!("not base64!"), ValueType::Bytes),
            (json!("01/02/2013"), ValueType::Timestamp),
            (json!([1, null]), ValueType::Int64List),
            (json!([]), ValueType::Map),
        ] {
            let error = read(json.clone(), wanted).unwrap_err();
            assert_eq!(error.message(), format!("expected {wanted}, found {json}"));
        }
    }
}
