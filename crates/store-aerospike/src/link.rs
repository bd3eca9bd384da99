//! The connection to the servers, which may come later than the store.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use aerospike::Client;
use feature_core::{Error, ErrorKind, Result};

use crate::config::AerospikeConfig;
use crate::connect::{Connection, connect};
use crate::error::BACKEND;
use crate::health::Facts;

/// A connection, or why there is none yet.
pub(crate) struct Link {
    connected: OnceLock<(Connection, Facts)>,
    why: Mutex<Option<Error>>,
}

impl Link {
    /// Connects. Where the settings put up with that no server can be reached, there is no connection yet.
    pub(crate) async fn new(config: &AerospikeConfig) -> Result<Self> {
        let link = Self { connected: OnceLock::new(), why: Mutex::new(None) };
        match link.connect(config).await {
            Err(error) if !(config.connect_lazily && error.is_retryable()) => Err(error),
            _ => Ok(link),
        }
    }

    /// Connects, if there is no connection.
    pub(crate) async fn connect(&self, config: &AerospikeConfig) -> Result<()> {
        if self.connected.get().is_none() {
            let connected = connect(config).await.inspect_err(|error| *self.why() = Some(error.clone()))?;
            let _ = self.connected.set(connected);
        }
        Ok(())
    }

    pub(crate) fn client(&self) -> Result<&Client> {
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

    fn why(&self) -> MutexGuard<'_, Option<Error>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
