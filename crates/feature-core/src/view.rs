//! Feature views: what a pipeline may write and a model may expect.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entity::EntityKey;
use crate::error::{Error, Result};
use crate::features::Features;
use crate::record::MAX_FEATURE_NAME_BYTES;
use crate::time::{Ttl, optional_duration};
use crate::value::ValueType;

/// The declaration of a feature view: its entity, its typed features, and how long they are good for.
///
/// ```
/// use feature_core::{FeatureView, Features, EntityKey};
/// let views = FeatureView::from_yaml("
/// feature_views:
///   - name: customer_features
///     entities: [customer_id]
///     features:
///       total_purchases: float64
///       country: string
///     ttl: 7d
///     max_age: 1d
/// ")?;
/// let error = views[0]
///     .conform(&EntityKey::new("customer_id", 7)?, Features::from([("total_purchases", "many"), ("county", "DE")]))
///     .unwrap_err();
/// assert_eq!(
///     error.message(),
///     "feature view `customer_features` cannot take the write: `county` is not a feature of it; \
///      `total_purchases` is float64, the value is string"
/// );
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureView {
    /// The view's name.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The names of the join keys, all of which an entity key must have.
    pub entities: Vec<String>,
    /// The features and their types.
    pub features: BTreeMap<String, ValueType>,
    /// The TTL of a write that names none; without it such a record stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// How old a feature may be, by its event time, to be served; without it, any age.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub max_age: Option<Duration>,
}

/// A part of a [`FeatureView`]'s declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewPart {
    /// Its name.
    Name,
    /// Its entities as a whole.
    Entities,
    /// The entity of this place, from 0.
    Entity(usize),
    /// Its features as a whole.
    Features,
    /// The feature of this name.
    Feature(String),
    /// Its time to live.
    Ttl,
    /// Its max age.
    MaxAge,
}

/// What a file of feature views holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewsFile {
    feature_views: Vec<FeatureView>,
}

impl FeatureView {
    /// Reads the list under `feature_views` of a YAML document.
    ///
    /// # Errors
    /// `InvalidArgument` with line and column of what cannot be read, or with everything that is wrong
    /// with the views read.
    pub fn from_yaml(text: &str) -> Result<Vec<Self>> {
        let file: ViewsFile = serde_saphyr::from_str(text)
            .map_err(|e| Error::invalid_argument(format!("the feature views cannot be read: {e}")))?;
        Self::check_all(file.feature_views)
    }

    /// Reads the list under `feature_views` of a JSON document.
    ///
    /// # Errors
    /// As [`from_yaml`](Self::from_yaml).
    pub fn from_json(text: &str) -> Result<Vec<Self>> {
        let file: ViewsFile = serde_json::from_str(text)
            .map_err(|e| Error::invalid_argument(format!("the feature views cannot be read: {e}")))?;
        Self::check_all(file.feature_views)
    }

    fn check_all(views: Vec<Self>) -> Result<Vec<Self>> {
        let mut problems: Vec<String> = views.iter().flat_map(Self::reasons).collect();
        for (at, view) in views.iter().enumerate() {
            if views[..at].iter().any(|earlier| earlier.name == view.name) {
                problems.push(format!("feature view `{}` is declared twice", view.name));
            }
        }
        if problems.is_empty() { Ok(views) } else { Err(Error::invalid_argument(problems.join("; "))) }
    }

    /// Checks the declaration itself.
    ///
    /// # Errors
    /// `InvalidArgument` with everything that is wrong.
    pub fn validate(&self) -> Result<()> {
        let problems = self.reasons();
        if problems.is_empty() { Ok(()) } else { Err(Error::invalid_argument(problems.join("; "))) }
    }

    fn reasons(&self) -> Vec<String> {
        let of_view = |(_, problem)| format!("feature view `{}`: {problem}", self.name);
        self.problems().into_iter().map(of_view).collect()
    }

    /// Everything that is wrong with the declaration itself, each with the part that it concerns.
    pub fn problems(&self) -> Vec<(ViewPart, String)> {
        let mut problems = Vec::new();
        let mut add = |part, problem: String| problems.push((part, problem));
        if self.name.is_empty() {
            add(ViewPart::Name, "it has an empty name".to_owned());
        }
        if self.entities.is_empty() {
            add(ViewPart::Entities, "it has no entities: name at least one join key".to_owned());
        }
        for (at, entity) in self.entities.iter().enumerate() {
            if entity.is_empty() {
                add(ViewPart::Entity(at), "an entity has an empty name".to_owned());
            } else if self.entities[..at].contains(entity) {
                add(ViewPart::Entity(at), format!("the entity `{entity}` is named twice"));
            }
        }
        if self.features.is_empty() {
            add(ViewPart::Features, "it has no features".to_owned());
        }
        for name in self.features.keys() {
            let problem = match name.len() {
                0 => "a feature has an empty name".to_owned(),
                1..=MAX_FEATURE_NAME_BYTES => continue,
                bytes => format!(
                    "the feature `{name}` has a name of {bytes} bytes, the limit is {MAX_FEATURE_NAME_BYTES}"
                ),
            };
            add(ViewPart::Feature(name.clone()), problem);
        }
        if matches!(self.ttl, Some(Ttl::After(lifetime)) if lifetime.is_zero()) {
            add(ViewPart::Ttl, "its ttl is zero".to_owned());
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            add(ViewPart::MaxAge, "its max_age is zero".to_owned());
        }
        problems
    }

    /// Checks that a write fits the view, and widens its values to the declared types (see
    /// [`FeatureValue::widen`](crate::FeatureValue::widen)). A write need not bring every feature.
    ///
    /// # Errors
    /// `InvalidArgument` that names every offending join key and feature.
    pub fn conform(&self, entity: &EntityKey, mut features: Features) -> Result<Features> {
        let mut problems = self.entity_problems(entity);
        for (name, value) in features.iter_mut() {
            let Some(&wanted) = self.features.get(name) else {
                problems.push(format!("`{name}` is not a feature of it"));
                continue;
            };
            match std::mem::replace(value, crate::FeatureValue::Null).widen(wanted) {
                Ok(widened) => *value = widened,
                Err(other) => {
                    let got = other.value_type().map_or("null", ValueType::name);
                    problems.push(format!("`{name}` is {wanted}, the value is {got}"));
                }
            }
        }
        if problems.is_empty() { Ok(features) } else { Err(self.refusal("take the write", &problems)) }
    }

    /// Checks the names of a read.
    ///
    /// # Errors
    /// `InvalidArgument` that names every feature which the view does not have.
    pub fn check_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let problems: Vec<_> = names
            .filter(|name| !self.features.contains_key(*name))
            .map(|name| format!("`{name}` is not a feature of it"))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(self.refusal("serve the read", &problems)) }
    }

    fn entity_problems(&self, entity: &EntityKey) -> Vec<String> {
        let missing = self.entities.iter().filter(|name| entity.value_of(name).is_none());
        let foreign = entity.join_keys().filter(|(name, _)| !self.entities.iter().any(|own| own == name));
        missing
            .map(|name| format!("the entity key `{entity}` lacks `{name}`"))
            .chain(foreign.map(|(name, _)| {
                format!("the entity key `{entity}` has `{name}`, which is not an entity of it")
            }))
            .collect()
    }

    fn refusal(&self, what: &str, problems: &[String]) -> Error {
        Error::invalid_argument(format!(
            "feature view `{}` cannot {what}: {}",
            self.name,
            problems.join("; ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> FeatureView {
        FeatureView {
            name: "trips".into(),
            description: String::new(),
            entities: vec!["driver".into(), "city".into()],
            features: BTreeMap::from([
                ("rating".into(), ValueType::Float64),
                ("trips".into(), ValueType::Int64),
            ]),
            ttl: Some(Ttl::from_secs(60)),
            max_age: Some(Duration::from_secs(5)),
        }
    }

    fn entity() -> EntityKey {
        EntityKey::builder().with("driver", 1).with("city", "x").build().unwrap()
    }

    #[test]
    fn a_file_may_be_yaml_or_json() {
        let yaml = "feature_views:\n- {name: trips, entities: [driver, city], ttl: 60, max_age: 5s, \
                    features: {rating: float64, trips: int64}}";
        let json = r#"{"feature_views": [{"name": "trips", "entities": ["driver", "city"], "ttl": "1m",
                    "max_age": 5, "features": {"trips": "int64", "rating": "float64"}}]}"#;
        assert_eq!(FeatureView::from_yaml(yaml).unwrap(), [view()]);
        assert_eq!(FeatureView::from_json(json).unwrap(), [view()]);
        let written = serde_json::json!({ "feature_views": [view()] }).to_string();
        assert_eq!(FeatureView::from_json(&written).unwrap(), [view()]);
        let other = FeatureView { name: "other".into(), ..view() };
        let written = serde_json::json!({ "feature_views": [view(), other] }).to_string();
        assert_eq!(FeatureView::from_json(&written).unwrap(), [view(), other]);
    }

    #[test]
    fn everything_wrong_with_a_file_is_said_at_once() {
        let json = r#"{"feature_views": [
            {"name": "a", "entities": [], "features": {}},
            {"name": "b", "entities": ["k", "k"], "features": {"": "bool"}, "ttl": 0, "max_age": 0},
            {"name": "b", "entities": ["k"], "features": {"x": "bool"}}]}"#;
        let message = FeatureView::from_json(json).unwrap_err().to_string();
        for part in [
            "`a`: it has no entities",
            "`a`: it has no features",
            "`b`: the entity `k` is named twice",
            "`b`: a feature has an empty name",
            "`b`: its ttl is zero",
            "`b`: its max_age is zero",
            "`b` is declared twice",
        ] {
            assert!(message.contains(part), "{message}");
        }
        for (text, part) in [("feature_views: [{nam: a}]", "nam"), ("views: []", "views"), ("{", "")] {
            assert!(FeatureView::from_yaml(text).unwrap_err().to_string().contains(part), "{text}");
        }
        assert!(view().validate().is_ok() && FeatureView { entities: vec![], ..view() }.validate().is_err());
        let unknown = "feature_views: [{name: a, entities: [k], features: {x: double}}]";
        assert!(FeatureView::from_yaml(unknown).unwrap_err().to_string().contains("known are bool"));
    }

    #[test]
    fn a_read_names_features_of_the_view() {
        assert!(view().check_names(["trips", "rating"].into_iter()).is_ok());
        let message = view().check_names(["trips", "x", "y"].into_iter()).unwrap_err().to_string();
        assert!(message.contains("`x` is not") && message.contains("`y` is not"), "{message}");
        assert!(!message.contains("`trips` is not"), "{message}");
    }

    #[test]
    fn a_write_is_widened_or_refused_with_every_reason() {
        let features = view().conform(&entity(), Features::from([("rating", 4i32), ("trips", 9)])).unwrap();
        assert_eq!(features, Features::new().with("rating", 4.0).with("trips", 9i64));
        let nulls = Features::new().with("rating", crate::FeatureValue::Null);
        assert_eq!(view().conform(&entity(), nulls.clone()).unwrap(), nulls);

        let other = EntityKey::builder().with("driver", 1).with("town", "x").build().unwrap();
        let bad = Features::new().with("rating", "good").with("trips", 1.5).with("x", 1);
        let message = view().conform(&other, bad).unwrap_err().to_string();
        for part in ["lacks `city`", "has `town`", "`rating` is float64", "`trips` is int64", "`x` is not"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
