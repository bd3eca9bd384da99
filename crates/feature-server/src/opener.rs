//! Opens what a settings file describes, again and again.

use std::sync::{Arc, Mutex, PoisonError};

use feature_core::{Clock, OnlineStoreBackend, Result, StoreUrl};
use store_unified::{Settings, StoreEntry, UnifiedFeatureStore};

type Backend = Arc<dyn OnlineStoreBackend>;

/// Connects to the stores of settings. A store whose URL was there before is not connected to again, so that
/// settings can change while requests are served.
#[derive(Debug, Default)]
pub struct Opener(Mutex<Vec<(StoreUrl, Backend)>>);

impl Opener {
    /// The handle over the stores that the settings describe.
    ///
    /// # Errors
    /// As `connect`, for the first store that cannot be had; what was open stays open.
    pub async fn open(
        &self,
        settings: &Settings,
        connect: impl AsyncFn(&StoreUrl) -> Result<Backend>,
        clock: impl Clock,
    ) -> Result<UnifiedFeatureStore> {
        // All of them first: what is opened by `Settings::open` is closed again when the next cannot be had.
        for StoreEntry { url, .. } in &settings.stores {
            if self.known(url).is_none() {
                let backend = connect(url).await?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push((url.clone(), backend));
            }
        }
        let backend = async |entry: &StoreEntry| match self.known(&entry.url) {
            Some(backend) => Ok(backend),
            None => connect(&entry.url).await,
        };
        settings.open(backend, clock).await
    }

    /// Closes every store that was ever opened.
    ///
    /// # Errors
    /// What the first store reports that cannot be closed; the others are closed all the same.
    pub async fn close(&self) -> Result<()> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut closed = Ok(());
        for (_, backend) in all {
            closed = closed.and(backend.close().await);
        }
        closed
    }

    fn known(&self, url: &StoreUrl) -> Option<Backend> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(own, _)| own == url).map(|(_, backend)| Arc::clone(backend))
    }
}
