//! The handle that an application holds.

mod build;
mod rules;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    Clock, Error, OnlineStore, OnlineStoreBackend, PurgeProgress, PurgeReport, Result, Scope, ViewKey,
};

pub use build::UnifiedFeatureStoreBuilder;
pub use rules::{Decision, Destination, RouteRule, StoreRule, TenantRule};

use crate::migration::Migrations;
use crate::observe::{Request, RequestKind, RequestMetrics};
use crate::registry::Registry;
use crate::request::{FeatureRequest, FeatureTable};
use crate::wrappers::provenance::watch;

/// Many views, tenants and stores behind one handle. Cheap to clone; clones share everything.
///
/// It is an [`OnlineStore`], with all that one can do, and can be given to code that wants one. Undeclared
/// views and the tenant that is reserved for the software itself are refused, and requests are counted.
#[derive(Clone)]
pub struct UnifiedFeatureStore {
    shared: Arc<Shared>,
    store: OnlineStore,
}

/// What does not change from call to call.
struct Shared {
    stores: Vec<(String, Arc<dyn OnlineStoreBackend>)>,
    routes: Vec<RouteRule>,
    default: Destination,
    metrics: Arc<RequestMetrics>,
    clock: Arc<dyn Clock>,
    registry: Option<Registry>,
    migrations: Migrations,
}

impl UnifiedFeatureStore {
    /// Describes stores, routes, views and policies.
    pub fn builder() -> UnifiedFeatureStoreBuilder {
        UnifiedFeatureStoreBuilder::default()
    }

    /// The same store, each of whose calls may take this long.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { store: self.store.with_deadline(deadline), ..self.clone() }
    }

    /// The same store, whose reads serve no feature older than this by its event time; the max age of a
    /// view still holds where it is shorter.
    #[must_use]
    pub fn with_max_age(&self, max_age: Duration) -> Self {
        Self { store: self.store.with_max_age(max_age), ..self.clone() }
    }

    /// Where the records of a view of a tenant go. Asks no store.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name.
    pub fn route(&self, tenant_id: &str, feature_view: &str) -> Result<Decision> {
        let view = ViewKey::new(tenant_id, feature_view)?;
        Ok(Decision::of(&view, &self.shared.routes, &self.shared.default))
    }

    /// Reads what a model asks for: features of any views, in one call on each store that has some of them.
    /// The table says which rows a fallback store has served.
    ///
    /// # Errors
    /// As [`FeatureRequest::read`]; `InvalidArgument` without a registry.
    pub async fn read(&self, request: &FeatureRequest) -> Result<FeatureTable> {
        let (metrics, what) = (&self.shared.metrics, request.what());
        let begun = metrics.begin(RequestKind::Read, request.tenant(), what, request.entities().len());
        let end = |begun: Request<'_>, table: &FeatureTable| {
            begun.read(std::iter::once_with(|| table.outcomes()).flatten(), self.shared.clock.now());
        };
        begun.counted(self.table(request), end).await
    }

    /// Removes all records of a view of a tenant, or of a tenant in all its stores; see
    /// [`OnlineStore::purge_with_progress`].
    ///
    /// # Errors
    /// As [`OnlineStore::purge_with_progress`].
    pub async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.store.purge_with_progress(scope, progress).await
    }

    /// Moves records from one store to another while they are written and read.
    pub fn migrations(&self) -> &Migrations {
        &self.shared.migrations
    }

    /// Each store by its name, whatever the routes say: for what must look at every one of them.
    pub fn stores(&self) -> &[(String, Arc<dyn OnlineStoreBackend>)] {
        &self.shared.stores
    }

    /// This handle as the [`OnlineStore`] that it is, for code that works with any store.
    pub fn online(&self) -> &OnlineStore {
        &self.store
    }

    /// The declared views and services, if there are any.
    pub fn registry(&self) -> Option<&Registry> {
        self.shared.registry.as_ref()
    }

    async fn table(&self, request: &FeatureRequest) -> Result<FeatureTable> {
        let registry = self.shared.registry.as_ref().ok_or_else(|| {
            Error::invalid_argument("a request needs declared views: give the store a registry")
        })?;
        let (table, from_fallback) = watch(request.read(&self.store.unobserved(), registry)).await;
        let mut table = table?;
        table.mark_fallback(&from_fallback);
        Ok(table)
    }
}

impl Deref for UnifiedFeatureStore {
    type Target = OnlineStore;

    fn deref(&self) -> &OnlineStore {
        &self.store
    }
}

impl fmt::Debug for UnifiedFeatureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedFeatureStore").field("store", &self.store).finish_non_exhaustive()
    }
}
