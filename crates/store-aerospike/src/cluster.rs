//! The cluster: its settings, and a connection to it, which may come later than the store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use aerospike::Client;
use feature_core::{CallContext, Error, ErrorKind, Result};

use crate::batch::Sender;
use crate::config::AerospikeConfig;
use crate::connect::{Connection, connect};
use crate::error::{BACKEND, closed, from_client};
use crate::info::Facts;

/// How often servers are tried that could not be reached when the store was opened.
const CONNECT_EVERY: Duration = Duration::from_millis(500);

/// A cluster that is connected, is not yet, or was closed.
pub(crate) struct Cluster {
    config: AerospikeConfig,
    connected: OnceLock<(Connection, Facts)>,
    /// Why there is no connection.
    why: Mutex<Option<Error>>,
    closed: AtomicBool,
}

impl Cluster {
    fn new(config: AerospikeConfig) -> Self {
        let (connected, why) = (OnceLock::new(), Mutex::new(None));
        Self { config, connected, why, closed: AtomicBool::new(false) }
    }

    /// Connects. Where the settings allow that no server can be reached, goes on trying in the background.
    pub(crate) async fn open(config: AerospikeConfig) -> Result<Arc<Self>> {
        let cluster = Arc::new(Self::new(config));
        match cluster.connect().await {
            Ok(()) => {}
            Err(error) if cluster.config.connect_lazily && error.is_retryable() => {
                tokio::spawn(connect_later(Arc::downgrade(&cluster)));
            }
            Err(error) => return Err(error),
        }
        Ok(cluster)
    }

    async fn connect(&self) -> Result<()> {
        let connected = connect(&self.config).await.inspect_err(|error| *self.why() = Some(error.clone()))?;
        let _ = self.connected.set(connected);
        Ok(())
    }

    pub(crate) fn config(&self) -> &AerospikeConfig {
        &self.config
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        if self.is_closed() { Err(closed()) } else { self.connection() }
    }

    fn connection(&self) -> Result<&Client> {
        let absent = || Error::new(ErrorKind::Unavailable, "not connected yet").with_backend(BACKEND);
        self.connected
            .get()
            .map(|(client, _)| &**client)
            .ok_or_else(|| self.why().clone().unwrap_or_else(absent))
    }

    /// What does not change while a store is open, once it is known.
    pub(crate) fn facts(&self) -> Option<Facts> {
        self.connected.get().map(|(_, facts)| *facts)
    }

    /// For calls that change something, or for those that do not.
    pub(crate) fn sender(&self, call: CallContext, writes: bool) -> Result<Sender<'_>> {
        Ok(Sender { client: self.client()?, config: &self.config, call, writes })
    }

    pub(crate) async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.connection() {
            Ok(client) => client.close().await.map_err(|e| from_client(&e, &self.config.namespace)),
            Err(_) => Ok(()),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn why(&self) -> MutexGuard<'_, Option<Error>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries to connect until that is done, or the store is dropped or closed.
async fn connect_later(cluster: Weak<Cluster>) {
    loop {
        tokio::time::sleep(CONNECT_EVERY).await;
        let Some(cluster) = cluster.upgrade().filter(|cluster| !cluster.is_closed()) else { return };
        if cluster.connect().await.is_ok() {
            return;
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_shows_its_settings_but_no_password() {
        let url = "aerospike://app:hunter2@as-1".parse().unwrap();
        let text = format!("{:?}", Cluster::new(AerospikeConfig::from_url(&url).unwrap()));
        assert!(text.starts_with("Cluster") && text.contains("as-1"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
