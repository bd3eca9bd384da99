//! From the text of a cell or an argument to a feature's value.

use base64::Engine;
use feature_core::{Error, FeatureValue, Result, ValueType};
use serde_json::Value;

use crate::time::Timezone;

/// The value that a text means, as one of `wanted`'s type. Lists and maps are JSON, bytes base64.
///
/// # Errors
/// `InvalidArgument` that says what was expected and what was found.
pub fn typed(text: &str, wanted: ValueType) -> Result<FeatureValue> {
    typed_in(text, wanted, &Timezone::utc())
}

/// The same, with the zone of times that state none.
pub(crate) fn typed_in(text: &str, wanted: ValueType, zone: &Timezone) -> Result<FeatureValue> {
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
        ValueType::Timestamp => match zone.instant(text) {
            Ok(instant) => Ok(instant.time.into()),
            Err(why) => Err(Error::invalid_argument(why)),
        },
        ValueType::Bytes => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            bytes.map(Into::into).map_err(|_| refused())
        }
        _ => json_in(&json()?, Some(wanted), zone),
    }
}

/// The value that a JSON text means, with the zone of times that state none.
pub(crate) fn json_in(json: &Value, wanted: Option<ValueType>, zone: &Timezone) -> Result<FeatureValue> {
    let instant =
        |text: &str| zone.instant(text).map(|instant| instant.time).map_err(Error::invalid_argument);
    match (json, wanted) {
        (Value::String(text), Some(ValueType::Timestamp)) => instant(text).map(Into::into),
        (Value::Array(elements), Some(ValueType::TimestampList)) if elements.iter().all(Value::is_string) => {
            let texts = elements.iter().filter_map(Value::as_str);
            texts.map(instant).collect::<Result<Vec<_>>>().map(Into::into)
        }
        _ => FeatureValue::from_json(json, wanted),
    }
}

/// The value of an argument: `null`, or as the view states the type, or as JSON, or as text.
///
/// # Errors
/// As [`typed`].
pub fn argument(text: &str, wanted: Option<ValueType>) -> Result<FeatureValue> {
    let json = serde_json::from_str::<Value>(text).ok();
    match (json, wanted) {
        (Some(Value::Null), _) => Ok(FeatureValue::Null),
        (Some(Value::String(quoted)), Some(wanted)) => typed(&quoted, wanted),
        (_, Some(wanted)) => typed(text, wanted),
        (Some(json), None) => FeatureValue::from_json(&json, None),
        (None, None) => Ok(text.into()),
    }
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
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

/// Whether the nearest 64-bit float, written with as many digits, is this very number.
pub(crate) fn is_exact_float(number: &str) -> bool {
    let (mantissa, _) = number.split_once(['e', 'E']).unwrap_or((number, ""));
    let digits = |text: &str| -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').to_owned()
    };
    let own = digits(mantissa);
    // Fifteen digits survive in any float of the normal range.
    let Ok(value) = number.parse::<f64>() else { return false };
    if own.trim_end_matches('0').is_empty() {
        return true;
    }
    if own.len() <= 15 && value.is_normal() {
        return true;
    }
    let again = format!("{value:.*e}", own.len().saturating_sub(1));
    value.is_finite() && digits(again.split_once('e').map_or("", |(mantissa, _)| mantissa)) == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_that_loses_digits_is_noticed() {
        for exact in [
            "0",
            "-0.0",
            "123.45",
            "0.1",
            "1e300",
            "0.30000000000000004",
            "9007199254740993e3",
            "1e-320",
            "100000000000000000000",
            "0.1000000000000000055511151231257827",
        ] {
            assert!(is_exact_float(exact), "{exact}");
        }
        for inexact in [
            "0.12345678901234567890123",
            "9007199254740993",
            "12345678901234567.89",
            "18446744073709551615",
            "1e999",
            "1.5e-324",
            "x",
        ] {
            assert!(!is_exact_float(inexact), "{inexact}");
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
