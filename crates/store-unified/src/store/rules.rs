//! What an application says about its stores and about who uses them.

use std::sync::Arc;

use feature_core::{OnlineStoreBackend, ViewKey};

use crate::wrappers::{Pattern, Quota};

/// A store, by the name that routes know it by.
#[derive(Clone, Debug)]
pub struct StoreRule {
    /// The name, as it stands in routes, metrics and reports.
    pub name: String,
    /// The store.
    pub backend: Arc<dyn OnlineStoreBackend>,
}

impl StoreRule {
    /// A store with nothing between it and its callers.
    pub fn new(name: impl Into<String>, backend: Arc<dyn OnlineStoreBackend>) -> Self {
        Self { name: name.into(), backend }
    }
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The name of the store that they live in.
    pub store: String,
}

impl Destination {
    /// A store alone.
    pub fn new(store: impl Into<String>) -> Self {
        Self { store: store.into() }
    }
}

/// Where the records of some tenants and views go. Of several rules the first that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// The tenants.
    pub tenant: Pattern,
    /// The views.
    pub view: Pattern,
    /// Where they go.
    pub to: Destination,
}

impl RouteRule {
    /// Whether the rule is about this view of this tenant.
    pub fn matches(&self, view: &ViewKey) -> bool {
        self.tenant.matches(view.tenant()) && self.view.matches(view.view())
    }
}

/// What some tenants are, and how much each may do. Of several rules the first that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRule {
    /// The tenants.
    pub tenant: Pattern,
    /// What metrics call them, in place of their names: `gold`, `internal`, …
    pub class: String,
    /// How much each of them may do.
    pub quota: Quota,
}
