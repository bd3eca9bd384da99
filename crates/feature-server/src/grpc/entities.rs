//! Entities, as they are in messages.

use feature_core::{EntityKey, EntityKeyBuilder, EntityValue, Error};

use super::proto::fstore as pb;
use crate::calls::shown;
use pb::join_key::Values;

/// The values of one join key.
enum Column {
    Strings(std::vec::IntoIter<String>),
    Ints(std::vec::IntoIter<i64>),
}

impl Column {
    fn next(&mut self) -> Option<EntityValue> {
        match self {
            Self::Strings(values) => values.next().map(EntityValue::from),
            Self::Ints(values) => values.next().map(EntityValue::from),
        }
    }
}

/// How many entities there are.
pub(super) fn rows(entities: &pb::Entities) -> usize {
    entities.join_keys.first().map_or(0, length)
}

fn length(key: &pb::JoinKey) -> usize {
    match &key.values {
        Some(Values::Strings(strings)) => strings.values.len(),
        Some(Values::Ints(ints)) => ints.values.len(),
        None => 0,
    }
}

/// The keys of entities.
pub(super) fn keys(entities: Option<pb::Entities>) -> Result<Vec<EntityKey>, Error> {
    let entities = entities.ok_or_else(|| Error::invalid_argument("`entities` is missing"))?;
    let Some(first) = entities.join_keys.first() else {
        return Err(Error::invalid_argument("`entities` names no join key"));
    };
    let rows = length(first);
    if let Some(other) = entities.join_keys.iter().find(|key| length(key) != rows) {
        return Err(Error::invalid_argument(format!(
            "the join key `{}` has {} values and `{}` has {rows}: each row needs one of each",
            shown(&other.name),
            length(other),
            shown(&first.name)
        )));
    }
    let mut columns = Vec::with_capacity(entities.join_keys.len());
    for key in entities.join_keys {
        columns.push((
            key.name,
            match key.values {
                Some(Values::Strings(strings)) => Column::Strings(strings.values.into_iter()),
                Some(Values::Ints(ints)) => Column::Ints(ints.values.into_iter()),
                None => Column::Ints(Vec::new().into_iter()),
            },
        ));
    }
    let key = |_| {
        let with = |builder: EntityKeyBuilder, (name, values): &mut (String, Column)| match values.next() {
            Some(value) => builder.with(name, value),
            None => builder,
        };
        columns.iter_mut().fold(EntityKey::builder(), with).build()
    };
    (0..rows).map(key).collect()
}
