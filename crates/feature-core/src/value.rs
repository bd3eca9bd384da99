//! Feature values and their types.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The value of one feature. It has one of the [`ValueType`]s, or is an explicit null, which is a value
/// like any other and different from a feature that was never written.
///
/// Equality is by representation: a NaN equals a NaN of the same bits, and `0.0` differs from `-0.0`.
#[derive(Clone, Debug)]
pub enum FeatureValue {
    /// An explicit null.
    Null,
    /// True or false.
    Bool(bool),
    /// A 32-bit integer.
    Int32(i32),
    /// A 64-bit integer.
    Int64(i64),
    /// A 32-bit float; every bit pattern survives.
    Float32(f32),
    /// A 64-bit float; every bit pattern survives.
    Float64(f64),
    /// UTF-8 text.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An instant, in microseconds, UTC.
    Timestamp(Timestamp),
    /// A list of booleans.
    BoolList(Vec<bool>),
    /// A list of 32-bit integers.
    Int32List(Vec<i32>),
    /// A list of 64-bit integers.
    Int64List(Vec<i64>),
    /// A list of 32-bit floats, such as an embedding.
    Float32List(Vec<f32>),
    /// A list of 64-bit floats.
    Float64List(Vec<f64>),
    /// A list of texts.
    StringList(Vec<String>),
    /// A list of byte strings.
    BytesList(Vec<Vec<u8>>),
    /// A list of instants.
    TimestampList(Vec<Timestamp>),
    /// Values by name; maps may hold maps, [`FeatureValue::MAX_DEPTH`] deep in all.
    Map(BTreeMap<String, FeatureValue>),
}

impl FeatureValue {
    /// How deeply maps may be nested.
    pub const MAX_DEPTH: usize = 16;

    /// The type of the value; `None` for null, which belongs to every type.
    pub fn value_type(&self) -> Option<ValueType> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => ValueType::Bool,
            Self::Int32(_) => ValueType::Int32,
            Self::Int64(_) => ValueType::Int64,
            Self::Float32(_) => ValueType::Float32,
            Self::Float64(_) => ValueType::Float64,
            Self::String(_) => ValueType::String,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Timestamp(_) => ValueType::Timestamp,
            Self::BoolList(_) => ValueType::BoolList,
            Self::Int32List(_) => ValueType::Int32List,
            Self::Int64List(_) => ValueType::Int64List,
            Self::Float32List(_) => ValueType::Float32List,
            Self::Float64List(_) => ValueType::Float64List,
            Self::StringList(_) => ValueType::StringList,
            Self::BytesList(_) => ValueType::BytesList,
            Self::TimestampList(_) => ValueType::TimestampList,
            Self::Map(_) => ValueType::Map,
        })
    }

    /// Whether this is the explicit null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether the value owns no memory.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Bool(_)
                | Self::Int32(_)
                | Self::Int64(_)
                | Self::Float32(_)
                | Self::Float64(_)
                | Self::Timestamp(_)
        )
    }

    /// The number as a 64-bit float, when the value is an integer that fits exactly, or a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int32(v) => Some(f64::from(*v)),
            Self::Int64(v) if v.unsigned_abs() <= 1 << 53 => Some(*v as f64),
            Self::Float32(v) => Some(f64::from(*v)),
            Self::Float64(v) => Some(*v),
            _ => None,
        }
    }

    /// The integer, when the value is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int32(v) => Some(i64::from(*v)),
            Self::Int64(v) => Some(*v),
            _ => None,
        }
    }

    /// The text, when the value is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }

    /// The boolean, when the value is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(v) => Some(*v),
            _ => None,
        }
    }

    /// This value as one of `wanted`'s type, when that loses nothing: the same type, null, `int32` to
    /// `int64` or `float64`, `int64` of at most 53 bits to `float64`, `float32` to `float64`.
    ///
    /// # Errors
    /// Gives the value back when the type cannot hold it.
    pub fn widen(self, wanted: ValueType) -> Result<Self, Self> {
        if self.value_type().is_none_or(|own| own == wanted) {
            return Ok(self);
        }
        match (wanted, self.as_i64(), self.as_f64()) {
            (ValueType::Int64, Some(v), _) => Ok(Self::Int64(v)),
            (ValueType::Float64, _, Some(v)) => Ok(Self::Float64(v)),
            _ => Err(self),
        }
    }
}

/// The values of many features, most of which are numbers: those are copied and freed after a look at
/// each, where the compiler would call a function for each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureValues(Vec<FeatureValue>);

impl FeatureValues {
    pub(crate) fn into_vec(mut self) -> Vec<FeatureValue> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<FeatureValue>> for FeatureValues {
    fn from(values: Vec<FeatureValue>) -> Self {
        Self(values)
    }
}

impl Clone for FeatureValues {
    fn clone(&self) -> Self {
        let copy = |value: &FeatureValue| match value {
            FeatureValue::Float64(v) => FeatureValue::Float64(*v),
            other => other.clone(),
        };
        Self(self.0.iter().map(copy).collect())
    }
}

impl Drop for FeatureValues {
    fn drop(&mut self) {
        for value in std::mem::take(&mut self.0) {
            if value.is_plain() {
                // There is nothing to free, but only we know.
                std::mem::forget(value);
            }
        }
    }
}

impl Deref for FeatureValues {
    type Target = Vec<FeatureValue>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for FeatureValues {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl PartialEq for FeatureValue {
    fn eq(&self, other: &Self) -> bool {
        fn same_bits<T: Copy, B: PartialEq>(a: &[T], b: &[T], bits: impl Fn(T) -> B) -> bool {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(*a) == bits(*b))
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int32(a), Self::Int32(b)) => a == b,
            (Self::Int64(a), Self::Int64(b)) => a == b,
            (Self::Float32(a), Self::Float32(b)) => a.to_bits() == b.to_bits(),
            (Self::Float64(a), Self::Float64(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::BoolList(a), Self::BoolList(b)) => a == b,
            (Self::Int32List(a), Self::Int32List(b)) => a == b,
            (Self::Int64List(a), Self::Int64List(b)) => a == b,
            (Self::Float32List(a), Self::Float32List(b)) => same_bits(a, b, f32::to_bits),
            (Self::Float64List(a), Self::Float64List(b)) => same_bits(a, b, f64::to_bits),
            (Self::StringList(a), Self::StringList(b)) => a == b,
            (Self::BytesList(a), Self::BytesList(b)) => a == b,
            (Self::TimestampList(a), Self::TimestampList(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for FeatureValue {}

/// Declares `From` for the Rust types that have one obvious feature type.
macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for FeatureValue {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool, i32 => Int32, i64 => Int64, f32 => Float32, f64 => Float64,
    String => String, &str => String, Vec<u8> => Bytes, &[u8] => Bytes, Timestamp => Timestamp,
    Vec<bool> => BoolList, Vec<i32> => Int32List, Vec<i64> => Int64List,
    Vec<f32> => Float32List, Vec<f64> => Float64List, Vec<String> => StringList,
    Vec<Vec<u8>> => BytesList, Vec<Timestamp> => TimestampList,
    BTreeMap<String, FeatureValue> => Map,
}

impl<T: Into<FeatureValue>> From<Option<T>> for FeatureValue {
    /// `None` is the explicit null.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The type of a feature.
///
/// As text: `bool`, `int32`, `int64`, `float32`, `float64`, `string`, `bytes`, `timestamp`, `list<…>` of
/// any of these, and `map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described at the variant of FeatureValue with its name")]
pub enum ValueType {
    Bool,
    Int32,
    Int64,
    Float32,
    Float64,
    String,
    Bytes,
    Timestamp,
    BoolList,
    Int32List,
    Int64List,
    Float32List,
    Float64List,
    StringList,
    BytesList,
    TimestampList,
    Map,
}

impl ValueType {
    /// Every type, scalars first.
    pub const ALL: [Self; 17] = [
        Self::Bool,
        Self::Int32,
        Self::Int64,
        Self::Float32,
        Self::Float64,
        Self::String,
        Self::Bytes,
        Self::Timestamp,
        Self::BoolList,
        Self::Int32List,
        Self::Int64List,
        Self::Float32List,
        Self::Float64List,
        Self::StringList,
        Self::BytesList,
        Self::TimestampList,
        Self::Map,
    ];

    /// Whether every value of this type can be [widened](FeatureValue::widen) to `wanted`: so with the same
    /// type, `int32` to `int64` or `float64`, and `float32` to `float64`. `int64` to `float64` is not
    /// among them, since an integer of more than 53 bits would lose some.
    pub const fn widens_to(self, wanted: Self) -> bool {
        self as u8 == wanted as u8
            || matches!(
                (self, wanted),
                (Self::Int32, Self::Int64 | Self::Float64) | (Self::Float32, Self::Float64)
            )
    }

    /// The type's name, as in a feature view's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::BoolList => "list<bool>",
            Self::Int32List => "list<int32>",
            Self::Int64List => "list<int64>",
            Self::Float32List => "list<float32>",
            Self::Float64List => "list<float64>",
            Self::StringList => "list<string>",
            Self::BytesList => "list<bytes>",
            Self::TimestampList => "list<timestamp>",
            Self::Map => "map",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ValueType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|t| t.name() == s).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|t| t.name()).collect();
            Error::invalid_argument(format!("`{s}` is not a feature type; known are {}", known.join(", ")))
        })
    }
}

impl Serialize for ValueType {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ValueType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_by_bits() {
        let nan = FeatureValue::Float64(f64::NAN);
        assert_eq!(nan, nan.clone());
        assert_ne!(nan, FeatureValue::Float64(f64::from_bits(f64::NAN.to_bits() ^ 1)));
        assert_ne!(FeatureValue::Float32(0.0), FeatureValue::Float32(-0.0));
        assert_ne!(FeatureValue::Float64List(vec![0.0]), FeatureValue::Float64List(vec![-0.0]));
        assert_ne!(FeatureValue::Int32(1), FeatureValue::Int64(1));
    }

    #[test]
    fn a_value_is_read_as_what_it_is() {
        use FeatureValue as V;
        let (text, yes) = (V::from("a"), V::Bool(true));
        assert_eq!(
            (text.as_str(), text.as_bool(), text.as_i64(), text.as_f64()),
            (Some("a"), None, None, None)
        );
        assert_eq!((yes.as_bool(), V::Bool(false).as_bool(), yes.as_str()), (Some(true), Some(false), None));
        assert_eq!((V::Int32(-7).as_i64(), V::Int64(7).as_i64()), (Some(-7), Some(7)));
        assert_eq!((V::Float64(0.5).as_f64(), V::Float32(0.5).as_f64()), (Some(0.5), Some(0.5)));
        assert_eq!((V::Int32(-7).as_f64(), V::Int64(1 << 53).as_f64()), (Some(-7.0), Some(2f64.powi(53))));
        assert_eq!(V::Int64((1 << 53) + 1).as_f64(), None);
        assert!(V::Null.is_null() && !yes.is_null());
    }

    /// Values that own none are never freed.
    #[test]
    fn a_value_owns_memory_or_not() {
        use FeatureValue as V;
        let time = Timestamp::from_micros(1);
        for plain in [V::Null, true.into(), 1i32.into(), 1i64.into(), 1f32.into(), 1f64.into(), time.into()] {
            assert!(plain.is_plain(), "{plain:?}");
        }
        for owner in [V::from("a"), V::from(vec![1u8]), V::from(vec![true]), V::from(BTreeMap::new())] {
            assert!(!owner.is_plain(), "{owner:?}");
        }
    }

    #[test]
    fn widening_loses_nothing_or_refuses() {
        use FeatureValue as V;
        assert_eq!(V::Int32(7).widen(ValueType::Int64), Ok(V::Int64(7)));
        assert_eq!(V::Int64(7).widen(ValueType::Float64), Ok(V::Float64(7.0)));
        assert_eq!(V::Float32(0.5).widen(ValueType::Float64), Ok(V::Float64(0.5)));
        assert_eq!(V::Null.widen(ValueType::Map), Ok(V::Null));
        let odd = V::Int64((1 << 53) + 1);
        assert_eq!(odd.clone().widen(ValueType::Float64), Err(odd));
        assert_eq!(V::Float64(1.0).widen(ValueType::Int64), Err(V::Float64(1.0)));
        assert_eq!(V::Int64(1).widen(ValueType::Int32), Err(V::Int64(1)));
    }

    #[test]
    fn a_type_widens_where_each_of_its_values_does() {
        let list = |value: FeatureValue| vec![value];
        let values_of = |t| match t {
            ValueType::Bool => list(true.into()),
            ValueType::Int32 => vec![i32::MIN.into(), 0.into(), i32::MAX.into()],
            ValueType::Int64 => vec![i64::MIN.into(), 0i64.into(), i64::MAX.into()],
            ValueType::Float32 => vec![f32::MIN.into(), (-0.0f32).into(), f32::NAN.into(), f32::MAX.into()],
            ValueType::Float64 => vec![f64::MIN.into(), 0.5.into(), f64::NAN.into()],
            ValueType::String => list("1".into()),
            ValueType::Bytes => list(vec![1u8].into()),
            ValueType::Timestamp => list(Timestamp::from_micros(1).into()),
            ValueType::BoolList => list(vec![true].into()),
            ValueType::Int32List => list(vec![1i32].into()),
            ValueType::Int64List => list(vec![1i64].into()),
            ValueType::Float32List => list(vec![1f32].into()),
            ValueType::Float64List => list(vec![1f64].into()),
            ValueType::StringList => list(vec![String::new()].into()),
            ValueType::BytesList => list(vec![vec![1u8]].into()),
            ValueType::TimestampList => list(vec![Timestamp::from_micros(1)].into()),
            ValueType::Map => list(BTreeMap::new().into()),
        };
        for own in ValueType::ALL {
            for wanted in ValueType::ALL {
                let all = values_of(own).into_iter().all(|value| value.widen(wanted).is_ok());
                assert_eq!(own.widens_to(wanted), all, "{own} to {wanted}");
            }
        }
    }

    #[test]
    fn type_names_read_back() {
        for t in ValueType::ALL {
            assert_eq!(t.name().parse::<ValueType>().unwrap(), t);
        }
        assert!("double".parse::<ValueType>().unwrap_err().message().contains("list<float32>"));
    }
}
