//! The handle that an application holds.

mod build;
mod rules;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    BatchRows, Clock, EntityKey, Error, FeatureRow, FeatureWrite, Features, Health, OnlineStore,
    PurgeProgress, PurgeReport, RecordKey, Result, SYSTEM_TENANT, Scope, Timestamp, Ttl, ViewKey,
    WriteOutcome, WriteReport,
};
use futures::stream::{BoxStream, StreamExt};
use tracing::Instrument;

pub use build::UnifiedFeatureStoreBuilder;
pub use rules::{Destination, RouteRule, StoreRule, TenantRule};

use crate::migration::Migrations;
use crate::observe::{Request, RequestKind, RequestMetrics};
use crate::registry::Registry;
use crate::request::{FeatureRequest, FeatureTable};
use crate::wrappers::provenance::watch;

/// Many views, tenants and stores behind one handle. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct UnifiedFeatureStore {
    shared: Arc<Shared>,
    store: OnlineStore,
}

/// What does not change from call to call.
struct Shared {
    routes: Vec<RouteRule>,
    default: Destination,
    metrics: RequestMetrics,
    clock: Arc<dyn Clock>,
    registry: Option<Registry>,
    migrations: Migrations,
}

/// Where the records of a view of a tenant go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number of the rule that decided, from 0; `None` is the default.
    pub rule: Option<usize>,
    /// Where they go.
    pub to: Destination,
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
        let rule = self.shared.routes.iter().position(|rule| rule.matches(&view));
        let to = rule.map_or(&self.shared.default, |rule| &self.shared.routes[rule].to).clone();
        Ok(Decision { rule, to })
    }

    /// Reads what a model asks for: features of any views, in one call on each store that has some of them.
    /// The table says which rows a fallback store has served.
    ///
    /// # Errors
    /// As [`FeatureRequest::read`]; `InvalidArgument` without a registry.
    pub async fn read(&self, request: &FeatureRequest) -> Result<FeatureTable> {
        let counted =
            self.begin(RequestKind::Read, request.tenant(), request.what(), request.entities().len());
        let table = self.table(request).instrument(counted.span()).await;
        match &table {
            Ok(table) => counted.read(std::iter::once_with(|| table.outcomes()).flatten(), self.now()),
            Err(error) => counted.fail(error),
        }
        table
    }

    /// Reads features of one entity; `None` is all features. `Ok(None)` when there is no record.
    ///
    /// # Errors
    /// As [`OnlineStore::read_features`].
    pub async fn read_features(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_key: &EntityKey,
        feature_names: Option<&[&str]>,
    ) -> Result<Option<FeatureRow>> {
        let rows =
            self.batch_read(tenant_id, feature_view, std::slice::from_ref(entity_key), feature_names).await?;
        rows.into_iter().next().unwrap_or(Ok(None))
    }

    /// Reads features of several entities of one view; see [`OnlineStore::batch_read`].
    ///
    /// # Errors
    /// As [`OnlineStore::batch_read`].
    pub async fn batch_read(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_keys: &[EntityKey],
        feature_names: Option<&[&str]>,
    ) -> Result<BatchRows> {
        let counted = self.begin(RequestKind::Read, tenant_id, feature_view, entity_keys.len());
        let read = async {
            self.check_names(tenant_id, feature_view)?;
            self.store.batch_read(tenant_id, feature_view, entity_keys, feature_names).await
        };
        let rows = read.instrument(counted.span()).await;
        let time = |row: &Option<FeatureRow>| row.as_ref().map(|row| row.timestamp);
        match &rows {
            Ok(rows) => counted.read(rows.iter().map(|row| row.as_ref().map(time)), self.now()),
            Err(error) => counted.fail(error),
        }
        rows
    }

    /// Writes features of one entity; see [`OnlineStore::write_features`].
    ///
    /// # Errors
    /// As [`OnlineStore::write_features`].
    pub async fn write_features(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_key: &EntityKey,
        features: impl Into<Features>,
        timestamp: Option<Timestamp>,
        ttl: Option<Ttl>,
    ) -> Result<WriteOutcome> {
        let write = FeatureWrite { timestamp, ttl, ..FeatureWrite::new(entity_key.clone(), features) };
        let report = self.batch_write(tenant_id, feature_view, [write]).await?.into_result()?;
        report.rows().first().cloned().unwrap_or(Ok(WriteOutcome::Applied))
    }

    /// Writes rows of one view; see [`OnlineStore::batch_write`].
    ///
    /// # Errors
    /// As [`OnlineStore::batch_write`].
    pub async fn batch_write<W: Into<FeatureWrite>>(
        &self,
        tenant_id: &str,
        feature_view: &str,
        writes: impl IntoIterator<Item = W>,
    ) -> Result<WriteReport> {
        let writes = writes.into_iter();
        let counted = self.begin(RequestKind::Write, tenant_id, feature_view, writes.size_hint().0);
        let write = async {
            self.check_names(tenant_id, feature_view)?;
            self.store.batch_write(tenant_id, feature_view, writes).await
        };
        let report = write.instrument(counted.span()).await;
        match &report {
            Ok(report) => counted.write(report),
            Err(error) => counted.fail(error),
        }
        report
    }

    /// Removes records at once; see [`OnlineStore::delete`].
    ///
    /// # Errors
    /// As [`OnlineStore::delete`].
    pub async fn delete(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_keys: &[EntityKey],
    ) -> Result<Vec<Result<bool>>> {
        let counted = self.begin(RequestKind::Delete, tenant_id, feature_view, entity_keys.len());
        let delete = async {
            self.check_names(tenant_id, feature_view)?;
            self.store.delete(tenant_id, feature_view, entity_keys).await
        };
        let rows = delete.instrument(counted.span()).await;
        match &rows {
            Ok(rows) => counted.delete(rows),
            Err(error) => counted.fail(error),
        }
        rows
    }

    /// Streams the rows of a scope from every store that has some; see [`OnlineStore::scan`]. What the
    /// software itself keeps is not among them.
    pub fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, FeatureRow)>> {
        let data = |row: &Result<(RecordKey, FeatureRow)>| {
            row.as_ref().map_or(true, |(key, _)| key.view().tenant() != SYSTEM_TENANT)
        };
        self.store.scan(scope).filter(move |row| std::future::ready(data(row))).boxed()
    }

    /// Removes all records of a view of a tenant, or of a tenant in all its stores; see
    /// [`OnlineStore::purge_with_progress`].
    ///
    /// # Errors
    /// As [`OnlineStore::purge_with_progress`].
    pub async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        match scope {
            Scope::Tenant(tenant) => refuse_system_tenant(tenant)?,
            Scope::View(view) => refuse_system_tenant(view.tenant())?,
            Scope::Store => {}
        }
        self.store.purge_with_progress(scope, progress).await
    }

    /// Asks every store how it is.
    ///
    /// # Errors
    /// As [`OnlineStore::check`], of the first store that does not answer.
    pub async fn check(&self) -> Result<Health> {
        self.store.check().await
    }

    /// Closes every store, for every clone of this handle.
    ///
    /// # Errors
    /// As [`OnlineStore::close`].
    pub async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    /// Moves records from one store to another while they are written and read.
    pub fn migrations(&self) -> &Migrations {
        &self.shared.migrations
    }

    /// The handle under this one, for what is not about several views.
    pub fn online(&self) -> &OnlineStore {
        &self.store
    }

    /// The declared views and services, if there are any.
    pub fn registry(&self) -> Option<&Registry> {
        self.shared.registry.as_ref()
    }

    async fn table(&self, request: &FeatureRequest) -> Result<FeatureTable> {
        refuse_system_tenant(request.tenant())?;
        let registry = self.shared.registry.as_ref().ok_or_else(|| {
            Error::invalid_argument("a request needs declared views: give the store a registry")
        })?;
        let (table, from_fallback) = watch(request.read(&self.store, registry)).await;
        let mut table = table?;
        table.mark_fallback(&from_fallback);
        Ok(table)
    }

    fn begin(&self, kind: RequestKind, tenant: &str, view: &str, rows: usize) -> Request<'_> {
        self.shared.metrics.begin(kind, tenant, view, rows)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn check_names(&self, tenant_id: &str, feature_view: &str) -> Result<()> {
        refuse_system_tenant(tenant_id)?;
        match &self.shared.registry {
            Some(registry) if registry.view(feature_view).is_none() => {
                let known: Vec<_> = registry.views().map(|view| view.name.as_str()).collect();
                Err(Error::invalid_argument(format!(
                    "feature view `{feature_view}` is not declared; declared are {}",
                    known.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }
}

fn refuse_system_tenant(tenant_id: &str) -> Result<()> {
    match tenant_id == SYSTEM_TENANT {
        true => Err(Error::invalid_argument(format!(
            "the tenant `{SYSTEM_TENANT}` is reserved for what the software itself keeps"
        ))),
        false => Ok(()),
    }
}

impl fmt::Debug for UnifiedFeatureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedFeatureStore").field("store", &self.store).finish_non_exhaustive()
    }
}
