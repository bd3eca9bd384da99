//! What Arrow's types are as features, entities and times.

use ::arrow::datatypes::{DataType, Schema};
use feature_core::{FeatureValue, ValueType};

use crate::options::Decimals;
use crate::row::Cell;
use crate::schema::{Kind, SourceColumn, TimeKind, fits};
use crate::text::json_in;
use crate::time::Timezone;

/// The columns of a schema.
pub(super) fn columns(schema: &Schema, decimals: Decimals) -> Vec<SourceColumn> {
    let column = |field: &std::sync::Arc<::arrow::datatypes::Field>| SourceColumn {
        name: field.name().clone(),
        found: field.data_type().to_string(),
        kind: Kind::Typed {
            feature: value_type(field.data_type(), decimals),
            no_entity: no_entity(field.data_type()),
            time: time_kind(field.data_type()),
            as_text: field.data_type().is_integer() || decimal_scale(field.data_type()).is_some(),
        },
    };
    schema.fields().iter().map(column).collect()
}

/// Whether a type is a decimal number, and with how many digits behind the point.
pub(super) fn decimal_scale(column: &DataType) -> Option<i8> {
    match column {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

fn no_entity(column: &DataType) -> Option<String> {
    match column {
        DataType::Dictionary(_, values) => no_entity(values),
        DataType::Null
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => None,
        other if decimal_scale(other).is_some_and(|scale| scale <= 0) => None,
        _ => Some("an entity key is made of text and integers".to_owned()),
    }
}

fn time_kind(column: &DataType) -> TimeKind {
    match column {
        DataType::Dictionary(_, values) => time_kind(values),
        DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..) => TimeKind::Time,
        other if other.is_integer() || other.is_floating() || decimal_scale(other).is_some() => {
            TimeKind::Number
        }
        _ => TimeKind::Never,
    }
}

/// The type of feature that a column's values become; `None` for one of nulls alone. The error says why
/// there is none.
pub(super) fn value_type(column: &DataType, decimals: Decimals) -> Result<Option<ValueType>, String> {
    Ok(Some(match column {
        DataType::Null => return Ok(None),
        DataType::Boolean => ValueType::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            ValueType::Int32
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ValueType::Int64,
        DataType::Float16 | DataType::Float32 => ValueType::Float32,
        DataType::Float64 => ValueType::Float64,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => match (decimals, decimal_scale(column)) {
            (Decimals::String, _) => ValueType::String,
            (Decimals::Exact, Some(..=0)) => ValueType::Int64,
            _ => ValueType::Float64,
        },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ValueType::Bytes
        }
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => ValueType::Timestamp,
        DataType::Dictionary(_, values) => return value_type(values, decimals),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            list_type(value_type(element.data_type(), decimals)?)
                .ok_or_else(|| format!("a list of {} cannot be a feature", element.data_type()))?
        }
        DataType::Struct(members) => {
            members.iter().try_for_each(|member| value_type(member.data_type(), decimals).map(drop))?;
            ValueType::Map
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(members) = entries.data_type() else {
                return Err("a map without entries cannot be a feature".to_owned());
            };
            match members
                .iter()
                .map(|m| value_type(m.data_type(), decimals))
                .collect::<Result<Vec<_>, _>>()?[..]
            {
                [Some(ValueType::String), _] => ValueType::Map,
                _ => return Err("a map whose keys are not text cannot be a feature".to_owned()),
            }
        }
        other => return Err(format!("{other} cannot be a feature")),
    }))
}

fn list_type(element: Option<ValueType>) -> Option<ValueType> {
    Some(match element? {
        ValueType::Bool => ValueType::BoolList,
        ValueType::Int32 => ValueType::Int32List,
        ValueType::Int64 => ValueType::Int64List,
        ValueType::Float32 => ValueType::Float32List,
        ValueType::Float64 => ValueType::Float64List,
        ValueType::String => ValueType::StringList,
        ValueType::Bytes => ValueType::BytesList,
        ValueType::Timestamp => ValueType::TimestampList,
        _ => return None,
    })
}

/// The value as one of the wanted type: a whole float as an integer, since many programs write integers so,
/// a 64-bit float rounded to 32 bits, text as a time, an integer as text.
pub(super) fn fit(value: FeatureValue, wanted: ValueType, zone: &Timezone) -> Cell {
    value.widen(wanted).or_else(|value| match (value.value_type(), wanted) {
        (Some(ValueType::Int32 | ValueType::Int64), ValueType::String) => {
            Ok(value.to_json().to_string().into())
        }
        (Some(found), _) if fits(found, wanted) => {
            json_in(&value.to_json(), Some(wanted), zone).map_err(|e| e.message().to_owned())
        }
        (found, _) => Err(format!("expected {wanted}, found {}", found.map_or("null", ValueType::name))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_the_declared_type_or_are_refused() {
        for (value, wanted, fitted) in [
            (FeatureValue::Float64(2004.0), ValueType::Int32, FeatureValue::Int32(2004)),
            (FeatureValue::Int64(5), ValueType::Int32, 5.into()),
            (FeatureValue::Float64(0.1), ValueType::Float32, 0.1_f32.into()),
            (vec![0.5_f64].into(), ValueType::Float32List, vec![0.5_f32].into()),
            (
                "1970-01-01T00:00:00Z".into(),
                ValueType::Timestamp,
                FeatureValue::Timestamp(Default::default()),
            ),
            (FeatureValue::Int64(7), ValueType::String, "7".into()),
            (FeatureValue::Null, ValueType::Int32, FeatureValue::Null),
        ] {
            assert_eq!(fit(value, wanted, &Timezone::utc()), Ok(fitted));
        }
        for (value, wanted) in [
            (FeatureValue::Float64(0.5), ValueType::Int64),
            (FeatureValue::Int64(1 << 40), ValueType::Int32),
            (FeatureValue::Float64(f64::NAN), ValueType::Int64),
            (vec![1_u8].into(), ValueType::String),
            ("AQI=".into(), ValueType::Bytes),
        ] {
            assert!(fit(value, wanted, &Timezone::utc()).is_err());
        }
    }
}
