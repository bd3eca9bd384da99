//! The columns of an input, before anything is taken of them.

use feature_core::ValueType;

use crate::guess::Guess;

/// A column as the input has it.
#[derive(Clone, Debug)]
pub(crate) struct SourceColumn {
    pub(crate) name: String,
    /// Its type, in the words of the format.
    pub(crate) found: String,
    pub(crate) kind: Kind,
}

/// What a column can be.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Values of a type, or none but nulls; or what no feature can be, and why.
    Typed {
        feature: Result<Option<ValueType>, String>,
        /// Why it cannot be part of an entity key.
        no_entity: Option<String>,
        time: TimeKind,
        /// Whether each value can be written as text with nothing lost, where it is wanted so.
        as_text: bool,
    },
    /// Texts, of which some have been looked at.
    Texts(Box<Guess>),
}

/// What a column of a type is as an event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeKind {
    /// A time, a date, or text that may be one.
    Time,
    /// A number, which needs a unit.
    Number,
    /// Neither.
    Never,
}

/// Whether some values of one type can be values of another.
pub(crate) fn fits(found: ValueType, wanted: ValueType) -> bool {
    use ValueType as T;
    let number = |t| matches!(t, T::Int32 | T::Int64 | T::Float32 | T::Float64);
    let numbers = |t| matches!(t, T::Int32List | T::Int64List | T::Float32List | T::Float64List);
    found == wanted
        || (number(found) && number(wanted))
        || (numbers(found) && numbers(wanted))
        || (found == T::String && wanted == T::Timestamp)
}
