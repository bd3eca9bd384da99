//! Feature services.

use serde::{Deserialize, Serialize};

use super::FeatureRef;

/// What one model asks for: features of any views, under one name.
///
/// In a result a feature has its own name where no other feature of the service has the same, and otherwise
/// is called `view__feature`, like all that share its name. Where even these are not different the service
/// is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureService {
    /// The service's name.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The features, in the order of the result; each at most once.
    pub features: Vec<FeatureRef>,
}

impl FeatureService {
    /// A service without a description.
    pub fn new(name: impl Into<String>, features: impl IntoIterator<Item = FeatureRef>) -> Self {
        Self { name: name.into(), description: String::new(), features: features.into_iter().collect() }
    }
}
