//! What an application says about its stores and about who uses them.

use std::sync::Arc;

use feature_core::{OnlineStoreBackend, ViewKey};

use crate::pattern::Pattern;
use crate::wrappers::{
    CircuitSettings, FallbackSettings, HedgeSettings, LimitSettings, MirrorSettings, Quota, RetrySettings,
};

/// A store, by the name that routes use, and what stands between it and its callers. What is `None` is left
/// out.
#[derive(Clone, Debug)]
pub struct StoreRule {
    /// The name, as used in routes, metrics and reports.
    pub name: String,
    /// The store.
    pub backend: Arc<dyn OnlineStoreBackend>,
    /// How calls that failed are tried again.
    pub retry: Option<RetrySettings>,
    /// When a slow read is sent a second time.
    pub hedge: Option<HedgeSettings>,
    /// When the store is left alone for a while.
    pub circuit: Option<CircuitSettings>,
    /// How many calls it may get at a time.
    pub limit: Option<LimitSettings>,
}

impl StoreRule {
    /// A store with nothing between it and its callers.
    pub fn new(name: impl Into<String>, backend: Arc<dyn OnlineStoreBackend>) -> Self {
        Self { name: name.into(), backend, retry: None, hedge: None, circuit: None, limit: None }
    }
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The name of the store that they live in.
    pub store: String,
    /// The name of the store that serves what this one cannot, and when.
    pub fallback: Option<(String, FallbackSettings)>,
    /// The store that gets every write too.
    pub mirror: Option<MirrorSettings>,
}

impl Destination {
    /// A store alone.
    pub fn new(store: impl Into<String>) -> Self {
        Self { store: store.into(), fallback: None, mirror: None }
    }

    /// Sends every write to another store too.
    #[must_use]
    pub fn with_mirror(mut self, mirror: MirrorSettings) -> Self {
        self.mirror = Some(mirror);
        self
    }

    /// Reads from another store what the first cannot give.
    #[must_use]
    pub fn with_fallback(mut self, store: impl Into<String>, settings: FallbackSettings) -> Self {
        self.fallback = Some((store.into(), settings));
        self
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
    /// Whether the rule matches this view of this tenant.
    pub fn matches(&self, view: &ViewKey) -> bool {
        self.tenant.matches(view.tenant()) && self.view.matches(view.view())
    }
}

/// Where the records of a view of a tenant go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number of the rule that decided, from 0; `None` is the default.
    pub rule: Option<usize>,
    /// Where they go.
    pub to: Destination,
}

impl Decision {
    pub(crate) fn of(view: &ViewKey, routes: &[RouteRule], default: &Destination) -> Self {
        let rule = routes.iter().position(|rule| rule.matches(view));
        Self { rule, to: rule.map_or(default, |rule| &routes[rule].to).clone() }
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
