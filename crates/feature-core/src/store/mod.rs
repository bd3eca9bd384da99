//! The handle that applications hold.

mod admin;
mod group;
mod observer;
mod read;
mod records;
mod report;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use observer::{RequestInfo, RequestObserver};
pub use read::ViewRead;
pub use report::{BatchRows, WriteOutcome, WriteReport};
pub use write::{FeatureWrite, WriteMode};

use crate::backend::{CallContext, Capabilities, OnlineStoreBackend};
use crate::entity::EntityKey;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RecordKey, SYSTEM_TENANT, ViewKey};
use crate::record::KnownNames;
use crate::row::KnownLayouts;
use crate::time::{Clock, SystemClock, format_duration};
use crate::view::FeatureView;

/// What the handle does the same way on every backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// How long a read, write or delete may take before it fails with `DeadlineExceeded`. Default 5 s.
    pub deadline: Duration,
    /// How far in the future an event time may lie, so that one wrong clock cannot freeze a feature for
    /// ever. Default 1 hour.
    pub max_future_skew: Duration,
    /// How often a write that conflicts with others is merged again before it fails with `Conflict`. Default
    /// 64.
    pub max_conflict_retries: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            max_future_skew: Duration::from_secs(3600),
            max_conflict_retries: 64,
        }
    }
}

/// The online feature store: typed features of many tenants, over any backend. Cheap to clone; clones
/// share the backend.
///
/// Reads and writes cost one round trip for each server involved. A write is merged with what is stored
/// by event time (see [`merge`](crate::merge)); a read never serves what has expired or is older than its
/// max age. See the crate's documentation for an example.
#[derive(Clone)]
pub struct OnlineStore {
    shared: Arc<Shared>,
    observer: Option<Arc<dyn RequestObserver>>,
    deadline: Duration,
    max_age: Option<Duration>,
}

struct Shared {
    backend: Arc<dyn OnlineStoreBackend>,
    capabilities: Capabilities,
    clock: Arc<dyn Clock>,
    views: HashMap<String, FeatureView>,
    names: Names,
    settings: StoreSettings,
    /// What names records that were read have, and where.
    layouts: KnownLayouts,
    /// What names records that were written have.
    written: KnownNames,
}

/// Which names a handle takes.
#[derive(Clone, Copy, Debug, Default)]
struct Names {
    declared_views_only: bool,
    without_system_tenant: bool,
}

impl OnlineStore {
    /// A handle with the default settings, the system's clock, and no declared views.
    pub fn new(backend: Arc<dyn OnlineStoreBackend>) -> Self {
        Self::assemble(Self::builder(backend), HashMap::new())
    }

    /// A handle with custom settings, clock or views.
    pub fn builder(backend: Arc<dyn OnlineStoreBackend>) -> OnlineStoreBuilder {
        OnlineStoreBuilder {
            backend,
            clock: Arc::new(SystemClock),
            views: Vec::new(),
            names: Names::default(),
            observer: None,
            settings: StoreSettings::default(),
        }
    }

    fn assemble(builder: OnlineStoreBuilder, views: HashMap<String, FeatureView>) -> Self {
        let OnlineStoreBuilder { backend, clock, names, observer, settings, .. } = builder;
        let (capabilities, deadline) = (backend.capabilities(), settings.deadline);
        let (layouts, written) = (KnownLayouts::default(), KnownNames::default());
        let shared =
            Arc::new(Shared { backend, capabilities, clock, views, names, settings, layouts, written });
        Self { shared, observer, deadline, max_age: None }
    }

    /// The same store, whose requests nobody observes.
    #[must_use]
    pub fn unobserved(&self) -> Self {
        Self { observer: None, ..self.clone() }
    }

    /// The same store, each of whose calls may take this long.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same store, whose reads serve no feature older than this, by its event time; the max age of a
    /// declared view still holds where it is shorter.
    #[must_use]
    pub fn with_max_age(&self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self.clone() }
    }

    /// The backend under the handle.
    pub fn backend(&self) -> &Arc<dyn OnlineStoreBackend> {
        &self.shared.backend
    }

    /// The declaration of a view, if there is one.
    pub fn view(&self, name: &str) -> Option<&FeatureView> {
        self.shared.views.get(name)
    }

    fn call(&self) -> CallContext {
        CallContext::with_timeout(self.deadline)
    }

    /// Waits for a call on the backend, but not beyond its deadline; `None` when that has passed.
    async fn within<T>(&self, call: CallContext, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(call.deadline, work).await.ok()
    }

    fn out_of_time(&self, operation: &'static str) -> Error {
        let deadline = format_duration(self.deadline);
        self.error(operation, Error::new(ErrorKind::DeadlineExceeded, format!("no answer within {deadline}")))
    }

    /// The rows of an answer, or this error for each where it does not have one row for each key: there is then
    /// no telling which row belongs to which key. A change may have been made all the same.
    fn counted<T>(
        &self,
        operation: &'static str,
        answer: Vec<Result<T>>,
        keys: usize,
        is_change: bool,
    ) -> Vec<Result<T>> {
        if answer.len() == keys {
            return answer;
        }
        let message = "the backend did not answer with one row for each key; report it";
        let error = Error::new(ErrorKind::Internal, message).with_in_doubt(is_change);
        self.error(operation, error).for_rows(keys)
    }

    fn error(&self, operation: &'static str, error: Error) -> Error {
        error.with_operation(operation).with_backend(self.shared.capabilities.backend)
    }

    /// The view of a tenant, if the handle takes both.
    fn view_key(&self, tenant_id: &str, feature_view: &str) -> Result<ViewKey> {
        self.check_tenant(tenant_id)?;
        let key = ViewKey::new(tenant_id, feature_view)?;
        if self.shared.names.declared_views_only && self.view(feature_view).is_none() {
            let mut known: Vec<_> = self.shared.views.keys().map(String::as_str).collect();
            known.sort_unstable();
            return Err(Error::invalid_argument(format!(
                "feature view `{feature_view}` is not declared; declared are {}",
                known.join(", ")
            )));
        }
        Ok(key)
    }

    fn check_tenant(&self, tenant_id: &str) -> Result<()> {
        match self.is_withheld(tenant_id) {
            true => Err(Error::invalid_argument(format!(
                "the tenant `{SYSTEM_TENANT}` is reserved for what the software itself keeps"
            ))),
            false => Ok(()),
        }
    }

    fn is_withheld(&self, tenant_id: &str) -> bool {
        self.shared.names.without_system_tenant && tenant_id == SYSTEM_TENANT
    }

    /// The record's key, if the backend can hold it.
    fn key(&self, view: &ViewKey, entity: &EntityKey) -> Result<RecordKey> {
        let key = RecordKey::new(view.clone(), entity.clone());
        match self.shared.capabilities.max_key_bytes {
            Some(limit) if key.text_len() > limit => {
                let key_start: String = key.to_string().chars().take(80).collect();
                let error =
                    Error::limit_exceeded("the record's key", key.text_len() as u64, limit as u64, "bytes");
                Err(error.with_key(format!("{key_start}…")))
            }
            _ => Ok(key),
        }
    }

    /// How many rows one call on the backend may have.
    fn max_batch_rows(&self) -> usize {
        self.shared.capabilities.max_batch_rows.unwrap_or(usize::MAX).max(1)
    }
}

impl fmt::Debug for OnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineStore")
            .field("backend", &self.shared.backend)
            .field("deadline", &self.deadline)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// Builds an [`OnlineStore`]; problems are reported by [`build`](Self::build).
#[derive(Debug)]
pub struct OnlineStoreBuilder {
    backend: Arc<dyn OnlineStoreBackend>,
    clock: Arc<dyn Clock>,
    views: Vec<FeatureView>,
    names: Names,
    observer: Option<Arc<dyn RequestObserver>>,
    settings: StoreSettings,
}

impl OnlineStoreBuilder {
    /// Takes "now" from this clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Declares views: their writes are checked, their TTL and max age hold by default. A view that is
    /// not declared takes anything, unless it is [refused](Self::declared_views_only).
    #[must_use]
    pub fn views(mut self, views: impl IntoIterator<Item = FeatureView>) -> Self {
        self.views.extend(views);
        self
    }

    /// Refuses views that are not declared.
    #[must_use]
    pub fn declared_views_only(mut self) -> Self {
        self.names.declared_views_only = true;
        self
    }

    /// Refuses [the tenant that is reserved](SYSTEM_TENANT) for the software itself, and leaves its records
    /// out of scans.
    #[must_use]
    pub fn without_system_tenant(mut self) -> Self {
        self.names.without_system_tenant = true;
        self
    }

    /// Lets this watch the requests of the handle.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn RequestObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: StoreSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The handle.
    ///
    /// # Errors
    /// `InvalidArgument` for a view that is invalid or declared twice, or a deadline of zero.
    pub fn build(self) -> Result<OnlineStore> {
        if self.settings.deadline.is_zero() {
            return Err(Error::invalid_argument("the deadline is zero: no call could ever succeed"));
        }
        let mut views = HashMap::new();
        for view in &self.views {
            view.validate()?;
            let name = &view.name;
            if views.insert(name.clone(), view.clone()).is_some() {
                return Err(Error::invalid_argument(format!("feature view `{name}` is declared twice")));
            }
        }
        Ok(OnlineStore::assemble(self, views))
    }
}

/// Numbers distinct things in order of first appearance.
struct Distinct<K> {
    /// The first, as long as there is no other: many calls are about one thing, which needs no map.
    only: Option<K>,
    all: HashMap<K, usize, foldhash::fast::RandomState>,
}

impl<K: Eq + Hash> Distinct<K> {
    fn with_capacity(n: usize) -> Self {
        let n = if n > 1 { n } else { 0 };
        Self { only: None, all: HashMap::with_capacity_and_hasher(n, Default::default()) }
    }

    /// The thing's number: how many others have been seen before it.
    fn number(&mut self, thing: K) -> usize {
        if self.all.is_empty() {
            match self.only.take() {
                Some(only) if only != thing => {
                    self.all.insert(only, 0);
                }
                only => {
                    self.only = only.or(Some(thing));
                    return 0;
                }
            }
        }
        let next = self.all.len();
        *self.all.entry(thing).or_insert(next)
    }
}
