//! From the text of a cell or an argument to a feature's value.

use base64::Engine;
use feature_core::{Error, FeatureValue, Result, Timestamp, ValueType};
use serde_json::Value;

/// The value that a text means, as one of `wanted`'s type. Lists and maps are JSON, bytes base64.
///
/// # Errors
/// `InvalidArgument` that says what was expected and what was found.
pub(crate) fn typed(text: &str, wanted: ValueType) -> Result<FeatureValue> {
    let refused = || {
        let found: String = text.chars().take(60).collect();
        Error::invalid_argument(format!("expected {wanted}, found `{}`", found.escape_debug()))
    };
    let json = || serde_json::from_str(text).map_err(|_| refused());
    match wanted {
        ValueType::String => Ok(text.into()),
        ValueType::Bool => boolean(text).map(Into::into).ok_or_else(refused),
        ValueType::Int64 => integer(text).map(Into::into).ok_or_else(refused),
        ValueType::Int32 => {
            let small = integer(text).and_then(|v| i32::try_from(v).ok());
            small.map(Into::into).ok_or_else(refused)
        }
        ValueType::Float64 => text.parse::<f64>().map(Into::into).map_err(|_| refused()),
        ValueType::Float32 => text.parse::<f32>().map(Into::into).map_err(|_| refused()),
        ValueType::Timestamp => text.parse::<Timestamp>().map(Into::into),
        ValueType::Bytes => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            bytes.map(Into::into).map_err(|_| refused())
        }
        _ => FeatureValue::from_json(&json()?, Some(wanted)),
    }
}

/// The value of an argument: `null`, or as the view states the type, or as JSON, or as text.
///
/// # Errors
/// As [`typed`].
pub(crate) fn argument(text: &str, wanted: Option<ValueType>) -> Result<FeatureValue> {
    let json = serde_json::from_str::<Value>(text).ok();
    match (json, wanted) {
        (Some(Value::Null), _) => Ok(FeatureValue::Null),
        (Some(Value::String(quoted)), Some(wanted)) => typed(&quoted, wanted),
        (_, Some(wanted)) => typed(text, wanted),
        (Some(json), None) => FeatureValue::from_json(&json, None),
        (None, None) => Ok(text.into()),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number, also one written with a fraction of zero, as programs do that know floats alone.
fn integer(text: &str) -> Option<i64> {
    let whole = text.split_once('.').filter(|(_, fraction)| fraction.bytes().all(|b| b == b'0'));
    whole.map_or(text, |(whole, _)| whole).parse().ok()
}

/// The narrowest type that every one of the texts has: bool, int64, float64, timestamp, else string.
pub(crate) fn narrowest<'a>(texts: &(impl Iterator<Item = &'a str> + Clone)) -> ValueType {
    if texts.clone().next().is_none() {
        return ValueType::String;
    }
    // 007 is a code, not a number.
    let is_number = |text: &str| {
        let digits = text.trim_start_matches('-');
        !digits.starts_with('+') && (!digits.starts_with('0') || digits == "0" || digits.starts_with("0."))
    };
    let is_integer = |text: &str| is_number(text) && text.parse::<i64>().is_ok();
    let is_float = |text: &str| is_number(text) && text.parse::<f64>().is_ok();
    let has_digit = |text: &str| text.bytes().any(|b| b.is_ascii_digit());
    if texts.clone().all(|text| boolean(text).is_some()) {
        ValueType::Bool
    } else if texts.clone().all(is_integer) {
        ValueType::Int64
    } else if texts.clone().all(is_float) && texts.clone().any(has_digit) {
        ValueType::Float64
    } else if texts.clone().all(|text| has_digit(text) && text.parse::<Timestamp>().is_ok()) {
        ValueType::Timestamp
    } else {
        ValueType::String
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_type_takes_every_text() {
        for (texts, wanted) in [
            (&["true", "False"][..], ValueType::Bool),
            (&["1", "-20", "0"], ValueType::Int64),
            (&["1", "2.5", "nan"], ValueType::Float64),
            (&["0.5", "1e9"], ValueType::Float64),
            (&["9223372036854775808"], ValueType::Float64),
            (&["2013-01-01T05:00:00Z", "2013-01-01 05:00:00+01:00"], ValueType::Timestamp),
            (&["2013-01-01"], ValueType::String),
            (&["1", "x"], ValueType::String),
            (&["007", "12"], ValueType::String),
            (&["nan", "inf"], ValueType::String),
            (&["true", "1"], ValueType::String),
            (&[], ValueType::String),
        ] {
            assert_eq!(narrowest(&texts.iter().copied()), wanted, "{texts:?}");
            assert!(texts.iter().all(|text| typed(text, wanted).is_ok()), "{texts:?}");
        }
    }

    #[test]
    fn typed_texts() {
        for (text, value) in [
            ("2004.0", FeatureValue::Int64(2004)),
            ("-7", FeatureValue::Int32(-7)),
            ("0.1", FeatureValue::Float32(0.1)),
            ("NaN", FeatureValue::Float64(f64::NAN)),
            ("[1,2]", vec![1.0, 2.0].into()),
            ("AQI=", vec![1u8, 2].into()),
            ("null", "null".into()),
        ] {
            assert_eq!(typed(text, value.value_type().unwrap()).unwrap(), value);
        }
        for (text, wanted) in [
            ("1.5", ValueType::Int64),
            ("3000000000", ValueType::Int32),
            ("yes", ValueType::Bool),
            ("[1,", ValueType::Int64List),
            ("?", ValueType::Bytes),
        ] {
            let error = typed(text, wanted).unwrap_err();
            assert!(error.message().starts_with(&format!("expected {wanted}, found")), "{error}");
        }
    }

    #[test]
    fn arguments() {
        for (text, wanted, value) in [
            ("3", None, FeatureValue::Int64(3)),
            ("3.0", None, 3.0.into()),
            ("DE", None, "DE".into()),
            ("\"3\"", None, "3".into()),
            ("null", None, FeatureValue::Null),
            ("null", Some(ValueType::String), FeatureValue::Null),
            ("\"null\"", Some(ValueType::String), "null".into()),
            ("3", Some(ValueType::String), "3".into()),
            ("3", Some(ValueType::Float64), 3.0.into()),
        ] {
            assert_eq!(argument(text, wanted).unwrap(), value, "{text}");
        }
        assert!(argument("[]", None).is_err());
    }
}
