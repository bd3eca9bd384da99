//! Entities, as columns or as rows.

use std::borrow::Cow;
use std::fmt;

use feature_core::{EntityKey, EntityValue, Error};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Bounds;

/// A text that is borrowed where it can be.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Of)
    }
}

/// The value of a join key: a text or a whole number.
struct JoinValue;

impl<'de> DeserializeSeed<'de> for JoinValue {
    type Value = EntityValue;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<EntityValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JoinValue {
    type Value = EntityValue;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number, as the value of a join key")
    }
    fn visit_str<E>(self, text: &str) -> Result<EntityValue, E> {
        Ok(text.into())
    }
    fn visit_i64<E>(self, number: i64) -> Result<EntityValue, E> {
        Ok(number.into())
    }
    fn visit_u64<E>(self, number: u64) -> Result<EntityValue, E> {
        Ok(number.into())
    }
}

/// Values of one join key, one for each row.
struct JoinValues<'b>(&'b Bounds);

impl<'de> DeserializeSeed<'de> for JoinValues<'_> {
    type Value = Vec<EntityValue>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for JoinValues<'_> {
    type Value = Vec<EntityValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of the values of a join key, one for each row")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = values.next_element_seed(JoinValue)? {
            all.push(value);
            self.0.rows(all.len())?;
            self.0.cell()?;
        }
        Ok(all)
    }
}

/// One entity: an object of its join keys.
pub(super) struct Entity;

impl<'de> DeserializeSeed<'de> for Entity {
    type Value = EntityKey;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<EntityKey, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entity {
    type Value = EntityKey;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of join keys, such as {\"customer_id\": 7}")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<EntityKey, A::Error> {
        let mut builder = EntityKey::builder();
        while let Some(Text(name)) = members.next_key()? {
            builder = builder.with(&name, members.next_value_seed(JoinValue)?);
        }
        builder.build().map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// Entities: an object that has a list for each join key, or a list of objects.
pub(super) struct EntitiesSeed<'b>(pub(super) &'b Bounds);

impl<'de> DeserializeSeed<'de> for EntitiesSeed<'_> {
    type Value = Vec<EntityKey>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EntitiesSeed<'_> {
    type Value = Vec<EntityKey>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entities: {\"customer_id\": [7, 8]} or [{\"customer_id\": 7}, {\"customer_id\": 8}]")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut columns: Vec<(Cow<'de, str>, Vec<EntityValue>)> = Vec::new();
        while let Some(Text(name)) = members.next_key()? {
            let values = members.next_value_seed(JoinValues(self.0))?;
            columns.push((name, values));
        }
        rows(columns).map_err(|error| serde::de::Error::custom(error.message()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(entity) = rows.next_element_seed(Entity)? {
            all.push(entity);
            self.0.rows(all.len())?;
            self.0.cell()?;
        }
        Ok(all)
    }
}

/// Keys from columns.
fn rows(columns: Vec<(Cow<'_, str>, Vec<EntityValue>)>) -> Result<Vec<EntityKey>, Error> {
    let Some((first, values)) = columns.first() else {
        return Err(Error::invalid_argument("entities name no join key"));
    };
    let number = values.len();
    if let Some((name, values)) = columns.iter().find(|(_, values)| values.len() != number) {
        return Err(Error::invalid_argument(format!(
            "the join key `{}` has {} values and `{}` has {number}: each row needs one of each",
            crate::calls::shown(name),
            values.len(),
            crate::calls::shown(first)
        )));
    }
    let mut columns: Vec<_> = columns.into_iter().map(|(name, values)| (name, values.into_iter())).collect();
    let mut keys = Vec::with_capacity(number);
    for _ in 0..number {
        let mut builder = EntityKey::builder();
        for (name, values) in &mut columns {
            builder = values.next().into_iter().fold(builder, |builder, value| builder.with(name, value));
        }
        keys.push(builder.build()?);
    }
    Ok(keys)
}
