//! From rules to a stack of wrappers.

use std::sync::Arc;

use feature_core::{Clock, Error, OnlineStore, OnlineStoreBackend, Result, StoreSettings, SystemClock};

use super::{Destination, RouteRule, Shared, StoreRule, TenantRule, UnifiedFeatureStore};
use crate::migration::{MigrationSettings, Migrations};
use crate::observe::{Counting, RequestMetrics};
use crate::registry::Registry;
use crate::wrappers::{
    CacheSettings, Cached, Circuit, Fallback, Hedged, Limited, Mirrored, Observed, Quota, Quotas, Retrying,
    Route, Routed,
};

/// Builds a [`UnifiedFeatureStore`]; problems are reported by [`build`](Self::build), all in one error.
#[derive(Debug)]
pub struct UnifiedFeatureStoreBuilder {
    stores: Vec<StoreRule>,
    routes: Vec<RouteRule>,
    default: Option<Destination>,
    tenants: Vec<TenantRule>,
    registry: Option<Registry>,
    cache: Option<CacheSettings>,
    observed: bool,
    settings: StoreSettings,
    migration: MigrationSettings,
    clock: Arc<dyn Clock>,
}

impl Default for UnifiedFeatureStoreBuilder {
    fn default() -> Self {
        Self {
            stores: Vec::new(),
            routes: Vec::new(),
            default: None,
            tenants: Vec::new(),
            registry: None,
            cache: None,
            observed: true,
            settings: StoreSettings::default(),
            migration: MigrationSettings::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl UnifiedFeatureStoreBuilder {
    /// Adds a store.
    #[must_use]
    pub fn store(mut self, store: StoreRule) -> Self {
        self.stores.push(store);
        self
    }

    /// Adds a route, after those that are there.
    #[must_use]
    pub fn route(mut self, route: RouteRule) -> Self {
        self.routes.push(route);
        self
    }

    /// Sets where records go that no route matches. With a single store this can be left out.
    #[must_use]
    pub fn default_destination(mut self, to: Destination) -> Self {
        self.default = Some(to);
        self
    }

    /// Adds a rule about tenants, after those that are there. A tenant that no rule matches has the class
    /// `default` and no quota.
    #[must_use]
    pub fn tenants(mut self, tenants: TenantRule) -> Self {
        self.tenants.push(tenants);
        self
    }

    /// Declares views and services. Views that are not declared are then refused; without a registry any
    /// view takes anything.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Caches what is read in memory.
    #[must_use]
    pub fn cache(mut self, settings: CacheSettings) -> Self {
        self.cache = Some(settings);
        self
    }

    /// Whether calls are counted and timed, for [metrics](crate::observe) and spans; they are unless this
    /// says otherwise. Metrics go to the recorder that is installed when the handle is built.
    #[must_use]
    pub fn observed(mut self, observed: bool) -> Self {
        self.observed = observed;
        self
    }

    /// Replaces the settings of the handle.
    #[must_use]
    pub fn settings(mut self, settings: StoreSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets how soon this process follows a migration. All processes that share the stores must use the same
    /// settings.
    #[must_use]
    pub fn migration(mut self, settings: MigrationSettings) -> Self {
        self.migration = settings;
        self
    }

    /// Takes "now" from this clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The handle. Connects to nothing: the stores are there already.
    ///
    /// # Errors
    /// `InvalidArgument` with everything that is wrong.
    pub fn build(self) -> Result<UnifiedFeatureStore> {
        let default = self.default_or_only_store();
        let problems = self.problems(default.as_ref());
        let Some(default) = default.filter(|_| problems.is_empty()) else {
            return Err(Error::invalid_argument(problems.join("; ")));
        };

        // A destination that several routes have is built once.
        let mut destinations = vec![&default];
        let place = |to| {
            let known = destinations.iter().position(|known| *known == to);
            known.unwrap_or_else(|| {
                destinations.push(to);
                destinations.len() - 1
            })
        };
        let places: Vec<usize> = self.routes.iter().map(|route| &route.to).map(place).collect();
        let route = |(rule, place): (&RouteRule, usize)| Route {
            tenant: rule.tenant.clone(),
            view: rule.view.clone(),
            place,
        };
        let routes = self.routes.iter().zip(places).map(route).collect();
        let stores: Vec<(String, Backend)> =
            self.stores.iter().map(|rule| (rule.name.clone(), self.guarded(rule))).collect();
        let migration = MigrationSettings {
            longest_write: self.migration.longest_write.max(self.settings.deadline),
            ..self.migration
        };
        let (mut mirrors, mut stacks) = (Vec::new(), Vec::new());
        for to in destinations {
            let (mirror, stack) = stack(&stores, to, &self.clock, migration)?;
            mirrors.extend(mirror);
            stacks.push(stack);
        }
        let routed = Arc::new(Routed::new(stacks, stores.clone(), routes, 0)?);
        let mut top: Backend = Arc::clone(&routed) as Backend;
        let migrations = Migrations::new(mirrors, move |scope| routed.places_of(scope));
        if let Some(cache) = self.cache {
            top = Arc::new(Cached::new(top, Arc::clone(&self.clock), cache));
        }
        if self.tenants.iter().any(|rule| rule.quota != Quota::default()) {
            let quotas = self.tenants.iter().map(|rule| (rule.tenant.clone(), rule.quota)).collect();
            top = Arc::new(Quotas::new(top, quotas));
        }

        let classes = self.tenants.into_iter().map(|rule| (rule.tenant, rule.class));
        let metrics = if self.observed { RequestMetrics::new(classes) } else { RequestMetrics::off() };
        let metrics = Arc::new(metrics);
        let (routes, clock, registry) = (self.routes, self.clock, self.registry);
        let mut store = OnlineStore::builder(top)
            .clock(Arc::clone(&clock))
            .views(registry.iter().flat_map(Registry::views).cloned())
            .without_system_tenant()
            .settings(self.settings);
        if registry.is_some() {
            store = store.declared_views_only();
        }
        if self.observed {
            let counting = Counting { metrics: Arc::clone(&metrics), clock: Arc::clone(&clock) };
            store = store.observer(Arc::new(counting));
        }
        let store = store.build()?;
        let shared = Shared { stores, routes, default, metrics, clock, registry, migrations };
        Ok(UnifiedFeatureStore { shared: Arc::new(shared), store })
    }

    fn default_or_only_store(&self) -> Option<Destination> {
        match (&self.default, &self.stores[..]) {
            (Some(default), _) => Some(default.clone()),
            (None, [only]) => Some(Destination::new(&only.name)),
            _ => None,
        }
    }

    fn problems(&self, default: Option<&Destination>) -> Vec<String> {
        let mut problems = Vec::new();
        for (at, store) in self.stores.iter().enumerate() {
            if store.name.is_empty() {
                problems.push("a store has an empty name".to_owned());
            } else if self.stores[..at].iter().any(|earlier| earlier.name == store.name) {
                problems.push(format!("store `{}` is named twice", store.name));
            }
        }
        match default {
            None if self.stores.is_empty() => problems.push("there is no store".to_owned()),
            None => problems.push("there are several stores: say which is the default".to_owned()),
            Some(_) => {}
        }
        let rules = self.routes.iter().map(|rule| (format!("route {}:{}", rule.tenant, rule.view), &rule.to));
        for (what, to) in rules.chain(default.map(|to| ("default".to_owned(), to))) {
            let fallback = to.fallback.as_ref().map(|(store, _)| store);
            let mirror = to.mirror.as_ref().map(|mirror| &mirror.to);
            for name in [Some(&to.store), fallback, mirror].into_iter().flatten() {
                if !self.stores.iter().any(|store| store.name == *name) {
                    problems.push(format!("{what}: there is no store `{name}`"));
                }
            }
            if mirror == Some(&to.store) {
                problems.push(format!("{what}: store `{}` is its own mirror", to.store));
            }
            if fallback == Some(&to.store) {
                problems.push(format!("{what}: store `{}` is its own fallback", to.store));
            }
        }
        problems
    }

    /// A store with all that stands between it and its callers, whichever destination they come from.
    fn guarded(&self, rule: &StoreRule) -> Backend {
        let name = &rule.name;
        let mut store = Arc::clone(&rule.backend);
        if let Some(settings) = rule.retry {
            store = Arc::new(Retrying::new(store, name, settings));
        }
        if let Some(settings) = rule.hedge {
            store = Arc::new(Hedged::new(store, name, settings));
        }
        if let Some(settings) = rule.circuit {
            store = Arc::new(Circuit::new(store, name, settings));
        }
        if let Some(settings) = rule.limit {
            store = Arc::new(Limited::new(store, name, settings));
        }
        if self.observed {
            store = Arc::new(Observed::new(store, name));
        }
        store
    }
}

type Backend = Arc<dyn OnlineStoreBackend>;

/// What a route leads to. Where there are several stores, records can migrate between them.
fn stack(
    stores: &[(String, Backend)],
    to: &Destination,
    clock: &Arc<dyn Clock>,
    migration: MigrationSettings,
) -> Result<(Option<Arc<Mirrored>>, Backend)> {
    let find = |name: &String| {
        let store = stores.iter().find(|(own, _)| own == name).map(|(_, store)| Arc::clone(store));
        store.ok_or_else(|| Error::invalid_argument(format!("there is no store `{name}`")))
    };
    let mut stack = find(&to.store)?;
    let others: Vec<_> = stores.iter().filter(|(name, _)| *name != to.store).cloned().collect();
    let mut mirrored = None;
    if !others.is_empty() {
        let source = (to.store.clone(), stack);
        let mirror = Mirrored::new(source, others, to.mirror.clone(), Arc::clone(clock), migration)?;
        let mirror = mirrored.insert(Arc::new(mirror));
        stack = Arc::clone(mirror) as Backend;
    }
    if let Some((second, settings)) = &to.fallback {
        stack = Arc::new(Fallback::new(stack, find(second)?, &to.store, *settings));
    }
    Ok((mirrored, stack))
}
