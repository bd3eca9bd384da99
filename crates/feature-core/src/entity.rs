//! Entities: what features are about.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::escape::{escape_into, unescape};

/// What must not appear unescaped in a join key's name.
const JOIN_KEY_SEPARATORS: &[u8] = b"=|{}";
/// What must not appear unescaped in a join key's value.
const JOIN_VALUE_SEPARATORS: &[u8] = b"|{}";

/// Which entity: a non-empty set of `join key name = value`, compared by its canonical text.
///
/// The canonical text is `name=value` joined with `|`, sorted by name, with separators
/// [percent-encoded](crate::escape_into). Values are text or integers; `7` and `"7"` are the same entity.
/// Cheap to clone.
///
/// ```
/// use feature_core::EntityKey;
/// let key = EntityKey::builder().with("customer_id", 7).with("country", "DE").build()?;
/// assert_eq!(key.canonical(), "country=DE|customer_id=7");
/// assert_eq!(key, EntityKey::parse("country=DE|customer_id=7")?);
/// assert_eq!(EntityKey::new("customer_id", "cust-123")?.canonical(), "customer_id=cust-123");
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey(Arc<str>);

impl EntityKey {
    /// The key with one join key.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is empty.
    pub fn new(name: &str, value: impl Into<EntityValue>) -> Result<Self> {
        Self::builder().with(name, value).build()
    }

    /// Collects the join keys of a key, in any order.
    pub fn builder() -> EntityKeyBuilder {
        EntityKeyBuilder::default()
    }

    /// Reads a canonical text back. Join keys may come in any order.
    ///
    /// # Errors
    /// `InvalidArgument` for text that is not `name=value` joined with `|`, correctly encoded.
    pub fn parse(text: &str) -> Result<Self> {
        let mut builder = Self::builder();
        for pair in text.split('|') {
            let (name, value) = pair.split_once('=').ok_or_else(|| not_an_entity(text))?;
            let name = unescape(name, JOIN_KEY_SEPARATORS).map_err(|_| not_an_entity(text))?;
            let value = unescape(value, JOIN_VALUE_SEPARATORS).map_err(|_| not_an_entity(text))?;
            builder = builder.with(&name, &*value);
        }
        builder.build()
    }

    /// The canonical text, as used in the stores' keys.
    pub fn canonical(&self) -> &str {
        &self.0
    }

    /// The join keys, sorted by name, decoded.
    pub fn join_keys(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        // Only `build` makes a key, so each part decodes; the raw text is what an error would show.
        let decode = |text, separators| unescape(text, separators).unwrap_or(Cow::Borrowed(text));
        self.0.split('|').filter_map(|pair| pair.split_once('=')).map(move |(name, value)| {
            (decode(name, JOIN_KEY_SEPARATORS), decode(value, JOIN_VALUE_SEPARATORS))
        })
    }

    /// The key of these join keys alone, each named once, in any order; `None` when there is one that this
    /// key lacks, or none at all.
    ///
    /// ```
    /// use feature_core::EntityKey;
    /// let key = EntityKey::parse("country=DE|customer_id=7")?;
    /// assert_eq!(key.project(&["customer_id"]), Some(EntityKey::new("customer_id", 7)?));
    /// assert_eq!(key.project(&["customer_id", "city"]), None);
    /// # Ok::<(), feature_core::Error>(())
    /// ```
    pub fn project<S: AsRef<str>>(&self, join_keys: &[S]) -> Option<Self> {
        let wanted = |pair: &&str| {
            let Some((name, _)) = pair.split_once('=') else { return false };
            // Most names are written as they are.
            match name.contains('%') {
                false => join_keys.iter().any(|own| own.as_ref() == name),
                true => unescape(name, JOIN_KEY_SEPARATORS)
                    .is_ok_and(|name| join_keys.iter().any(|own| own.as_ref() == name)),
            }
        };
        let pairs = || self.0.split('|').filter(wanted);
        let kept = pairs().count();
        if join_keys.is_empty() || kept != join_keys.len() {
            return None;
        }
        if kept == self.0.split('|').count() {
            return Some(self.clone());
        }
        let mut text = String::with_capacity(self.0.len());
        for pair in pairs() {
            if !text.is_empty() {
                text.push('|');
            }
            text.push_str(pair);
        }
        Some(Self(text.into()))
    }

    /// The value of one join key.
    pub fn value_of(&self, name: &str) -> Option<Cow<'_, str>> {
        self.join_keys().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

fn not_an_entity(text: &str) -> Error {
    Error::invalid_argument(format!(
        "`{}` is not an entity key: expected name=value, several joined with |, such as customer_id=cust-123",
        text.escape_debug()
    ))
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a join key, as text; made from text and from integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityValue(String);

impl From<&str> for EntityValue {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<String> for EntityValue {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl From<i64> for EntityValue {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl From<i32> for EntityValue {
    fn from(value: i32) -> Self {
        Self(value.to_string())
    }
}

impl From<u64> for EntityValue {
    fn from(value: u64) -> Self {
        Self(value.to_string())
    }
}

/// Builds an [`EntityKey`]; problems are reported by [`build`](Self::build).
#[derive(Clone, Debug, Default)]
pub struct EntityKeyBuilder(Vec<(String, EntityValue)>);

impl EntityKeyBuilder {
    /// Adds a join key.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<EntityValue>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// The key.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no join key, a name is empty, or a name appears twice.
    pub fn build(mut self) -> Result<EntityKey> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        if self.0.is_empty() {
            return Err(Error::invalid_argument("an entity key needs at least one join key"));
        }
        if self.0[0].0.is_empty() {
            return Err(Error::invalid_argument("a join key of an entity key has an empty name"));
        }
        if let Some(pair) = self.0.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid_argument(format!("the entity key names `{}` twice", pair[0].0)));
        }
        let mut text = String::with_capacity(32);
        for (name, EntityValue(value)) in &self.0 {
            if !text.is_empty() {
                text.push('|');
            }
            escape_into(&mut text, name, JOIN_KEY_SEPARATORS);
            text.push('=');
            escape_into(&mut text, value, JOIN_VALUE_SEPARATORS);
        }
        Ok(EntityKey(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_its_text() {
        let key = EntityKey::parse("customer_id=7|country=DE").unwrap();
        assert_eq!(key.to_string(), "country=DE|customer_id=7");
        assert_eq!(format!("{key:?}"), "country=DE|customer_id=7");
    }

    #[test]
    fn a_projection_to_all_join_keys_is_no_copy() {
        let key = EntityKey::parse("customer_id=7|country=DE").unwrap();
        let all = key.project(&["customer_id", "country"]).unwrap();
        assert!(Arc::ptr_eq(&key.0, &all.0));
    }
}
