//! Names of tenants and views, by pattern.

use std::fmt;
use std::str::FromStr;

use feature_core::{Error, Result};

/// Names of tenants or views: one name, all with a prefix (`eu-*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name alone.
    Name(String),
    /// Every name with this prefix.
    Prefix(String),
}

impl Pattern {
    /// Every name.
    pub const fn any() -> Self {
        Self::Prefix(String::new())
    }

    /// Whether it matches this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// Whether it matches every name that the other matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(_), Self::Prefix(_)) => false,
            (_, Self::Name(name) | Self::Prefix(name)) => self.matches(name),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let pattern = match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Name(text.to_owned()),
        };
        match &pattern {
            Self::Name(name) if name.is_empty() => Err(Error::invalid_argument("a pattern is empty")),
            Self::Name(name) | Self::Prefix(name) if name.contains('*') => Err(Error::invalid_argument(
                format!("`{text}` is not a pattern: a `*` stands at the end, as in `eu-*`, or alone"),
            )),
            _ => Ok(pattern),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_a_beginning_or_all() {
        for (pattern, name, matches) in [
            ("acme", "acme", true),
            ("acme", "acme2", false),
            ("eu-*", "eu-1", true),
            ("eu-*", "eu", false),
            ("*", "", true),
        ] {
            let read: Pattern = pattern.parse().unwrap();
            assert_eq!((read.matches(name), read.to_string()), (matches, pattern.to_owned()), "{name}");
        }
        for wrong in ["", "*x", "a*b", "**"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
