//! The registry: which feature views there are, and what models ask for.

mod evolve;
pub(crate) mod plan;
mod reference;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use feature_core::{Error, FeatureView, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use evolve::{Force, view_contradictions};
pub use reference::FeatureRef;
pub use service::FeatureService;

use plan::{Plan, hint};

/// The declared feature views and feature services, checked as a whole. Immutable and cheap to clone.
///
/// ```
/// use store_unified::Registry;
/// let registry = Registry::from_yaml("
/// feature_views:
///   - name: customers
///     entities: [customer_id]
///     features: {orders: int64, country: string}
///   - name: devices
///     entities: [device_id]
///     features: {logins: int64, country: string}
/// feature_services:
///   - name: fraud
///     description: What the fraud model asks for.
///     features: [customers:orders, customers:country, 'devices:*']
/// ")?;
/// assert_eq!(registry.version(), 1);
/// assert_eq!(
///     registry.output_names("fraud").unwrap().collect::<Vec<_>>(),
///     ["orders", "customers__country", "devices__country", "logins"]
/// );
/// # Ok::<(), feature_core::Error>(())
/// ```
///
/// With serde it is one object of `version`, `feature_views` and `feature_services`, and is checked when it
/// is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    version: u64,
    views: BTreeMap<String, FeatureView>,
    services: BTreeMap<String, Service>,
}

#[derive(Clone, PartialEq, Eq)]
struct Service {
    declaration: FeatureService,
    plan: Arc<Plan>,
}

/// A registry as it is written down. The lists are owned or borrowed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declarations<V, S> {
    #[serde(default = "first_version")]
    version: u64,
    feature_views: V,
    #[serde(default)]
    feature_services: S,
}

fn first_version() -> u64 {
    1
}

impl Registry {
    /// Collects views and services.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Reads the lists `feature_views` and `feature_services` of a YAML document; the second may be
    /// missing. `version` is 1 unless it is stated.
    ///
    /// # Errors
    /// `InvalidArgument` with line and column of what cannot be read, or as
    /// [`build`](RegistryBuilder::build).
    pub fn from_yaml(text: &str) -> Result<Self> {
        serde_saphyr::from_str(text).map_err(|e| unreadable(&e)).and_then(Self::check)
    }

    /// Reads a JSON document, as [`from_yaml`](Self::from_yaml) does a YAML one.
    ///
    /// # Errors
    /// As [`from_yaml`](Self::from_yaml).
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| unreadable(&e)).and_then(Self::check)
    }

    fn check(declarations: Declarations<Vec<FeatureView>, Vec<FeatureService>>) -> Result<Self> {
        let Declarations { version, feature_views, feature_services } = declarations;
        let mut problems: Vec<String> = feature_views
            .iter()
            .filter_map(|view| view.validate().err().map(|error| error.message().to_owned()))
            .collect();
        let mut views: BTreeMap<String, FeatureView> = BTreeMap::new();
        for view in feature_views {
            match views.get(&view.name) {
                Some(first) => problems.push(declared_twice(first, &view)),
                None => drop(views.insert(view.name.clone(), view)),
            }
        }
        let mut services = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for declaration in feature_services {
            let name = &declaration.name;
            if name.is_empty() {
                problems.push("a feature service has an empty name".to_owned());
            }
            if !seen.insert(name.clone()) {
                problems.push(format!("feature service `{name}` is declared twice"));
            }
            match Plan::resolve(&views, &declaration.features) {
                Ok(plan) => {
                    services.insert(name.clone(), Service { plan: Arc::new(plan), declaration });
                }
                Err(wrong) => problems
                    .extend(wrong.into_iter().map(|wrong| format!("feature service `{name}`: {wrong}"))),
            }
        }
        if problems.is_empty() {
            Ok(Self(Arc::new(Inner { version, views, services })))
        } else {
            Err(Error::invalid_argument(problems.join("; ")))
        }
    }

    /// The version: 1 at first, and one more with every change (see [`evolve`](Self::evolve)).
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// The declaration of a view.
    pub fn view(&self, name: &str) -> Option<&FeatureView> {
        self.0.views.get(name)
    }

    /// The views, by name.
    pub fn views(&self) -> impl ExactSizeIterator<Item = &FeatureView> {
        self.0.views.values()
    }

    /// The declaration of a service.
    pub fn service(&self, name: &str) -> Option<&FeatureService> {
        self.0.services.get(name).map(|service| &service.declaration)
    }

    /// The services, by name.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &FeatureService> {
        self.0.services.values().map(|service| &service.declaration)
    }

    /// What the features of a service are called in a result, in order; `None` when there is no such
    /// service.
    pub fn output_names(&self, service: &str) -> Option<impl ExactSizeIterator<Item = &str>> {
        let service = self.0.services.get(service)?;
        Some(service.plan.columns.iter().map(|column| &*column.name))
    }

    /// What a service comes to.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such service.
    pub(crate) fn plan_of_service(&self, name: &str) -> Result<Arc<Plan>> {
        match self.0.services.get(name) {
            Some(service) => Ok(Arc::clone(&service.plan)),
            None => {
                let hint = hint(name, self.0.services.keys());
                Err(Error::invalid_argument(format!("no feature service `{name}` is declared{hint}")))
            }
        }
    }

    /// What a list of features comes to.
    ///
    /// # Errors
    /// `InvalidArgument` with everything that is wrong with the list.
    pub(crate) fn plan_of(&self, features: &[FeatureRef]) -> Result<Arc<Plan>> {
        match Plan::resolve(&self.0.views, features) {
            Ok(plan) => Ok(Arc::new(plan)),
            Err(problems) => {
                let problems = problems.join("; ");
                Err(Error::invalid_argument(format!("the request cannot be served: {problems}")))
            }
        }
    }
}

fn unreadable(error: &dyn fmt::Display) -> Error {
    Error::invalid_argument(format!("the registry cannot be read: {error}"))
}

fn declared_twice(first: &FeatureView, second: &FeatureView) -> String {
    let clashes: Vec<String> = first
        .features
        .iter()
        .filter_map(|(name, of_type)| Some((name, of_type, second.features.get(name)?)))
        .filter(|(_, first, second)| first != second)
        .map(|(name, first, second)| format!("`{name}` is {first} and {second}"))
        .collect();
    let name = &first.name;
    if clashes.is_empty() {
        format!("feature view `{name}` is declared twice")
    } else {
        format!("feature view `{name}` is declared twice, with different types: {}", clashes.join(", "))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("version", &self.0.version)
            .field("views", &self.0.views.keys())
            .field("services", &self.0.services.keys())
            .finish()
    }
}

impl Serialize for Registry {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let declarations = Declarations {
            version: self.version(),
            feature_views: self.views().collect::<Vec<_>>(),
            feature_services: self.services().collect::<Vec<_>>(),
        };
        declarations.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Registry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let declarations = Declarations::deserialize(deserializer)?;
        Self::check(declarations).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// Builds a [`Registry`]; problems are reported by [`build`](Self::build).
#[derive(Clone, Debug, Default)]
pub struct RegistryBuilder {
    views: Vec<FeatureView>,
    services: Vec<FeatureService>,
}

impl RegistryBuilder {
    /// Declares a view.
    #[must_use]
    pub fn view(self, view: FeatureView) -> Self {
        self.views([view])
    }

    /// Declares views.
    #[must_use]
    pub fn views(mut self, views: impl IntoIterator<Item = FeatureView>) -> Self {
        self.views.extend(views);
        self
    }

    /// Declares a service.
    #[must_use]
    pub fn service(self, service: FeatureService) -> Self {
        self.services([service])
    }

    /// Declares services.
    #[must_use]
    pub fn services(mut self, services: impl IntoIterator<Item = FeatureService>) -> Self {
        self.services.extend(services);
        self
    }

    /// The registry, of version 1.
    ///
    /// # Errors
    /// `InvalidArgument` with everything that is wrong: a view that is invalid or declared twice, a service
    /// that is declared twice, has no features, names an unknown view or feature or one feature twice, or has
    /// features that would have the same name in a result.
    pub fn build(self) -> Result<Registry> {
        Registry::check(Declarations {
            version: first_version(),
            feature_views: self.views,
            feature_services: self.services,
        })
    }
}

#[cfg(test)]
mod tests;
