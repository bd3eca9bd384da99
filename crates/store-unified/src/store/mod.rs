//! The handle that an application holds.

mod build;
mod rules;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    BatchRows, Clock, EntityKey, Error, FeatureRow, FeatureWrite, Features, Health, OnlineStore,
    PurgeProgress, PurgeReport, RecordKey, Result, Scope, Timestamp, Ttl, ViewKey, WriteOutcome, WriteReport,
};
use futures::stream::BoxStream;
use tracing::Instrument;

pub use build::UnifiedFeatureStoreBuilder;
pub use rules::{Decision, Destination, RouteRule, StoreRule, TenantRule};

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
        let begun = self.begin(RequestKind::Read, request.tenant(), request.what(), request.entities().len());
        let end = |begun: Request<'_>, table: &FeatureTable| {
            begun.read(std::iter::once_with(|| table.outcomes()).flatten(), self.now());
        };
        counted(begun, self.table(request), end).await
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
        let request = self.begin(RequestKind::Read, tenant_id, feature_view, entity_keys.len());
        let read = self.store.batch_read(tenant_id, feature_view, entity_keys, feature_names);
        let time = |row: &Option<FeatureRow>| row.as_ref().map(|row| row.timestamp);
        let end = |request: Request<'_>, rows: &BatchRows| {
            request.read(rows.iter().map(|row| row.as_ref().map(time)), self.now());
        };
        counted(request, read, end).await
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
        let request = self.begin(RequestKind::Write, tenant_id, feature_view, writes.size_hint().0);
        counted(request, self.store.batch_write(tenant_id, feature_view, writes), Request::write).await
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
        let request = self.begin(RequestKind::Delete, tenant_id, feature_view, entity_keys.len());
        let delete = self.store.delete(tenant_id, feature_view, entity_keys);
        counted(request, delete, |request, rows| request.delete(rows)).await
    }

    /// Streams the rows of a scope from every store that has some; see [`OnlineStore::scan`]. What the
    /// software itself keeps is not among them.
    pub fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, FeatureRow)>> {
        self.store.scan(scope)
    }

    /// Removes all records of a view of a tenant, or of a tenant in all its stores; see
    /// [`OnlineStore::purge_with_progress`].
    ///
    /// # Errors
    /// As [`OnlineStore::purge_with_progress`].
    pub async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
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

    /// The handle under this one, for code that works with any store. It refuses the same names, but its
    /// requests are not counted.
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
}

/// Carries out a request, and counts how it ended.
async fn counted<'a, T>(
    request: Request<'a>,
    work: impl Future<Output = Result<T>>,
    end: impl FnOnce(Request<'a>, &T),
) -> Result<T> {
    let answer = work.instrument(request.span()).await;
    match &answer {
        Ok(answer) => end(request, answer),
        Err(error) => request.fail(error),
    }
    answer
}

impl fmt::Debug for UnifiedFeatureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedFeatureStore").field("store", &self.store).finish_non_exhaustive()
    }
}
