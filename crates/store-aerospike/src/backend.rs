//! The store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aerospike::Client;
use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordKey,
    RecordPut, Result, Scope, StoreUrl, VersionedRecord,
};
use futures::stream::BoxStream;

use crate::batch::{Sender, all};
use crate::config::AerospikeConfig;
use crate::error::{BACKEND, closed, from_client};
use crate::filter::Filters;
use crate::health::{self, Facts};
use crate::key::Keys;
use crate::link::Link;
use crate::{read, scan, write};

/// Longest canonical text of a record's key, in bytes: it is stored with the record.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// Longest time to live that the server takes.
pub const MAX_TTL: Duration = Duration::from_secs(3_650 * 86_400);

/// A store in a namespace of an Aerospike cluster.
///
/// Reads and writes are one request to each server that holds some of the records. Dropping the store
/// releases its connections; [`close`](OnlineStoreBackend::close) does so for others that use it, too.
#[derive(Debug)]
pub struct AerospikeOnlineStore(Arc<Shared>);

/// What calls share, and what outlives the store in a scan.
pub(crate) struct Shared {
    link: Link,
    pub(crate) config: AerospikeConfig,
    pub(crate) keys: Keys,
    filters: Filters,
    closed: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aerospike").field("config", &self.config).finish_non_exhaustive()
    }
}

impl AerospikeOnlineStore {
    /// Connects to the cluster of a URL, as [`AerospikeConfig::from_url`] reads it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn open(url: &str) -> Result<Self> {
        Self::connect(AerospikeConfig::from_url(&StoreUrl::parse(url)?)?).await
    }

    /// Connects to a cluster. Takes no longer than the settings' connect timeout.
    ///
    /// # Errors
    /// `InvalidArgument` for impossible settings; `Unavailable` when no server can be reached in time, unless
    /// it may be reached later; `NotConfigured` when the namespace does not exist; `Unauthenticated` and
    /// `PermissionDenied`.
    pub async fn connect(config: AerospikeConfig) -> Result<Self> {
        let link = Link::new(&config).await?;
        let keys = Keys::new(&config.namespace, &config.layout);
        let filters = Filters::new()?;
        let is_connected = link.client().is_ok();
        let shared = Arc::new(Shared { link, config, keys, filters, closed: AtomicBool::new(false) });
        if !is_connected {
            tokio::spawn(connect_later(Arc::downgrade(&shared)));
        }
        Ok(Self(shared))
    }
}

impl Shared {
    pub(crate) fn client(&self) -> Result<&Client> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { self.link.client() }
    }

    pub(crate) fn sender(&self, call: CallContext) -> Result<Sender<'_>> {
        Ok(Sender { client: self.client()?, config: &self.config, call })
    }
}

/// How often servers are tried that could not be reached when the store was opened.
const CONNECT_EVERY: Duration = Duration::from_millis(500);

/// Tries to connect until that is done, or the store is dropped or closed.
async fn connect_later(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(CONNECT_EVERY).await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.closed.load(Ordering::Acquire)) else {
            return;
        };
        if shared.link.connect(&shared.config).await.is_ok() {
            return;
        }
    }
}

#[async_trait]
impl OnlineStoreBackend for AerospikeOnlineStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.max_record_bytes = self.0.link.facts().map(Facts::max_record_bytes);
        capabilities.max_key_bytes = Some(MAX_KEY_BYTES);
        capabilities.max_ttl = Some(MAX_TTL);
        capabilities.max_batch_rows = Some(self.0.config.batch_rows);
        capabilities.reclaim_granularity = Duration::from_secs(1);
        capabilities.durable = self.0.link.facts().is_some_and(Facts::durable);
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match self.0.sender(call) {
            Ok(sender) => read::get(&sender, &self.0.keys, keys).await,
            Err(error) => all(keys.len(), &error),
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        match self.0.sender(call) {
            Ok(sender) => write::put(&sender, &self.0.keys, &self.0.filters, &puts).await,
            Err(error) => all(puts.len(), &error),
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match self.0.sender(call) {
            Ok(sender) => write::delete(&sender, &self.0.keys, keys).await,
            Err(error) => all(keys.len(), &error),
        }
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        scan::scan(Arc::clone(&self.0), scope.clone())
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.0.client()?;
        scan::purge(&self.0, scope, progress).await
    }

    async fn check(&self) -> Result<Health> {
        health::check(&self.0).await
    }

    async fn close(&self) -> Result<()> {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.0.link.client() {
            Ok(client) => client.close().await.map_err(|e| from_client(&e, &self.0.config.namespace)),
            Err(_) => Ok(()),
        }
    }
}
