//! From settings to the handle.

use std::sync::Arc;

use feature_core::{Clock, Error, OnlineStoreBackend};

use super::{Settings, StoreEntry};
use crate::store::{StoreRule, UnifiedFeatureStore, UnifiedFeatureStoreBuilder};

impl Settings {
    /// Connects to every store, one after the other, and puts the handle together. If one of them cannot be
    /// opened, the others are closed again.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use feature_core::{Error, SystemClock};
    /// # use store_unified::{SettingsFormat, SettingsReader};
    /// # use store_testkit::MapStore;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let reader = SettingsReader::new(SettingsFormat::Toml);
    /// let settings = reader.read("stores.main = 'memory:'")?;
    /// let store = settings
    ///     .open(async |entry| match entry.url.scheme() {
    ///         "memory" => Ok(Arc::new(MapStore::new(Arc::new(SystemClock))) as _),
    ///         scheme => Err(Error::invalid_argument(format!("unknown store scheme `{scheme}`"))),
    ///     }, SystemClock)
    ///     .await?;
    /// assert_eq!(store.route("acme", "customers")?.to.store, "main");
    /// # Ok::<_, Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As `connect`, for the first store that cannot be opened; `InvalidArgument` when the settings were
    /// changed so that they no longer make sense.
    pub async fn open<E: From<Error>>(
        &self,
        connect: impl AsyncFn(&StoreEntry) -> Result<Arc<dyn OnlineStoreBackend>, E>,
        clock: impl Clock,
    ) -> Result<UnifiedFeatureStore, E> {
        let mut rules = Vec::with_capacity(self.stores.len());
        let mut failure = None;
        for entry in &self.stores {
            match connect(entry).await {
                Ok(backend) => rules.push(entry.rule(backend)),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let backends: Vec<_> = rules.iter().map(|rule| Arc::clone(&rule.backend)).collect();
        let opened = match failure {
            None => self.builder(rules).clock(clock).build().map_err(E::from),
            Some(error) => Err(error),
        };
        if opened.is_err() {
            for backend in backends {
                // Why it could not be opened is what the caller wants to know.
                let _ = backend.close().await;
            }
        }
        opened
    }

    fn builder(&self, stores: Vec<StoreRule>) -> UnifiedFeatureStoreBuilder {
        let builder = UnifiedFeatureStore::builder()
            .default_destination(self.default.clone())
            .settings(self.calls.clone())
            .migration(self.migration);
        let builder = self.cache.iter().cloned().fold(builder, UnifiedFeatureStoreBuilder::cache);
        let builder = stores.into_iter().fold(builder, UnifiedFeatureStoreBuilder::store);
        let builder = self.routes.iter().cloned().fold(builder, UnifiedFeatureStoreBuilder::route);
        let builder = self.tenants.iter().cloned().fold(builder, UnifiedFeatureStoreBuilder::tenants);
        self.registry.iter().cloned().fold(builder, UnifiedFeatureStoreBuilder::registry)
    }
}

impl StoreEntry {
    /// The store as the builder knows it.
    fn rule(&self, backend: Arc<dyn OnlineStoreBackend>) -> StoreRule {
        let Self { retry, hedge, circuit, limit, .. } = *self;
        StoreRule { retry, hedge, circuit, limit, ..StoreRule::new(&self.name, backend) }
    }
}
