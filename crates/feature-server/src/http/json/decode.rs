//! Bodies of reads and deletes.

use std::fmt;
use std::time::Duration;

use feature_core::{EntityKey, parse_duration};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use store_unified::FeatureRef;

use super::entities::{EntitiesSeed, Text};
use super::{Bounds, unknown_key};

/// What a read may say beside which features and entities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadOptions {
    pub(crate) max_age: Option<Duration>,
    /// Features are called `view__feature` throughout.
    pub(crate) full_feature_names: bool,
    /// Event times are wanted.
    pub(crate) event_times: bool,
    /// Statuses are wanted where JSON would leave them out and Arrow has no place for them.
    pub(crate) statuses: bool,
}

/// The body of a read, of features of any views or of one view.
#[derive(Debug, Default)]
pub(crate) struct ReadBody {
    pub(crate) service: Option<String>,
    /// As they are named: `view:feature`, or in one view by their plain names.
    pub(crate) features: Option<Vec<String>>,
    pub(crate) entities: Option<Vec<EntityKey>>,
    pub(crate) options: ReadOptions,
}

/// Reads a [`ReadBody`].
pub(crate) struct ReadSeed<'b> {
    pub(crate) bounds: &'b Bounds,
    /// Whether it may name a service, and features of any view.
    pub(crate) any_view: bool,
}

impl<'de> DeserializeSeed<'de> for ReadSeed<'_> {
    type Value = ReadBody;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ReadBody, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadSeed<'_> {
    type Value = ReadBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of `entities` and what is wanted of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ReadBody, A::Error> {
        let mut body = ReadBody::default();
        while let Some(Text(key)) = members.next_key()? {
            match &*key {
                "service" if self.any_view => body.service = Some(members.next_value()?),
                "features" => body.features = members.next_value_seed(Names(self.bounds))?,
                "entities" => body.entities = Some(members.next_value_seed(EntitiesSeed(self.bounds))?),
                "max_age" => body.options.max_age = members.next_value::<Age>()?.0,
                "full_feature_names" => body.options.full_feature_names = members.next_value()?,
                "include" => {
                    let included: Vec<Included> = members.next_value()?;
                    body.options.event_times = included.contains(&Included::EventTimes);
                    body.options.statuses = included.contains(&Included::Statuses);
                }
                other => {
                    members.next_value::<IgnoredAny>()?;
                    return Err(match self.any_view {
                        true => unknown_key(other, &READ),
                        false => unknown_key(other, &READ[1..]),
                    });
                }
            }
        }
        Ok(body)
    }
}

const READ: [&str; 6] = ["service", "features", "entities", "max_age", "full_feature_names", "include"];

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Included {
    EventTimes,
    Statuses,
}

/// A duration as text, or seconds.
struct Age(Option<Duration>);

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Age;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1d\", or a number of seconds")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Age, E> {
                parse_duration(text).map(|age| Age(Some(age))).map_err(|error| E::custom(error.message()))
            }
            fn visit_u64<E>(self, seconds: u64) -> Result<Age, E> {
                Ok(Age(Some(Duration::from_secs(seconds))))
            }
            fn visit_unit<E>(self) -> Result<Age, E> {
                Ok(Age(None))
            }
        }
        deserializer.deserialize_any(Of)
    }
}

/// A list of names; `null` is none.
struct Names<'b>(&'b Bounds);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = Option<Vec<String>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Option<Vec<String>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of the names of features")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = names.next_element::<String>()? {
            all.push(name);
            self.0.cell()?;
        }
        Ok(Some(all))
    }
}

impl ReadBody {
    /// The features as references.
    pub(crate) fn references(&self) -> Result<Option<Vec<FeatureRef>>, feature_core::Error> {
        let parse = |names: &Vec<String>| names.iter().map(|name| name.parse()).collect();
        self.features.as_ref().map(parse).transpose()
    }
}

/// Reads the body of a delete: `entities`, and nothing else.
pub(crate) struct DeleteSeed<'b>(pub(crate) &'b Bounds);

impl<'de> DeserializeSeed<'de> for DeleteSeed<'_> {
    type Value = Vec<EntityKey>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DeleteSeed<'_> {
    type Value = Vec<EntityKey>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of `entities`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut entities = None;
        while let Some(Text(key)) = members.next_key()? {
            match &*key {
                "entities" => entities = Some(members.next_value_seed(EntitiesSeed(self.0))?),
                other => return Err(unknown_key(other, &["entities"])),
            }
        }
        entities.ok_or_else(|| A::Error::custom("`entities` is missing"))
    }
}
