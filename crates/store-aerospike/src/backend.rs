//! The store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordKey,
    RecordPut, Result, Scope, StoreUrl, VersionedRecord,
};
use futures::stream::BoxStream;

use crate::absence::Absence;
use crate::batch::{Sender, all};
use crate::config::AerospikeConfig;
use crate::connect::Connection;
use crate::error::{BACKEND, closed, from_client};
use crate::filter::Filters;
use crate::health::{self, Facts};
use crate::key::Keys;
use crate::{connect, read, scan, write};

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
    pub(crate) client: Connection,
    pub(crate) config: AerospikeConfig,
    pub(crate) keys: Keys,
    filters: Filters,
    facts: Option<Facts>,
    pub(crate) absence: Absence,
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

    /// Connects to a cluster. Takes no longer than the settings' connect timeout, or five times that if no
    /// server need be reached.
    ///
    /// # Errors
    /// `InvalidArgument` for impossible settings; `Unavailable` when no server can be reached in time;
    /// `NotConfigured` when the namespace does not exist; `Unauthenticated` and `PermissionDenied`.
    pub async fn connect(config: AerospikeConfig) -> Result<Self> {
        let (client, facts) = connect::connect(&config).await?;
        let (facts, why) = facts.map_or_else(|why| (None, Some(why)), |facts| (Some(facts), None));
        let (is_absent, absence) = (why.is_some(), Absence::new(why));
        let keys = Keys::new(&config.namespace, &config.layout);
        let filters = Filters::new()?;
        let closed = AtomicBool::new(false);
        let shared = Arc::new(Shared { client, config, keys, filters, facts, absence, closed });
        if is_absent {
            tokio::spawn(Absence::end(Arc::downgrade(&shared)));
        }
        Ok(Self(shared))
    }
}

impl Shared {
    pub(crate) fn open(&self) -> Result<()> {
        if self.is_closed() { Err(closed()) } else { self.absence.is_over() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn sender(&self, call: CallContext) -> Sender<'_> {
        Sender { client: &self.client, config: &self.config, call }
    }
}

#[async_trait]
impl OnlineStoreBackend for AerospikeOnlineStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.max_record_bytes = self.0.facts.map(Facts::max_record_bytes);
        capabilities.max_key_bytes = Some(MAX_KEY_BYTES);
        capabilities.max_ttl = Some(MAX_TTL);
        capabilities.max_batch_rows = Some(self.0.config.batch_rows);
        capabilities.reclaim_granularity = Duration::from_secs(1);
        capabilities.durable = self.0.facts.is_some_and(Facts::durable);
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match self.0.open() {
            Ok(()) => read::get(&self.0.sender(call), &self.0.keys, keys).await,
            Err(error) => all(keys.len(), &error),
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        match self.0.open() {
            Ok(()) => write::put(&self.0.sender(call), &self.0.keys, &self.0.filters, &puts).await,
            Err(error) => all(puts.len(), &error),
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match self.0.open() {
            Ok(()) => write::delete(&self.0.sender(call), &self.0.keys, keys).await,
            Err(error) => all(keys.len(), &error),
        }
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        scan::scan(Arc::clone(&self.0), scope.clone())
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.0.open()?;
        scan::purge(&self.0, scope, progress).await
    }

    async fn check(&self) -> Result<Health> {
        self.0.open()?;
        health::check(&self.0).await
    }

    async fn close(&self) -> Result<()> {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.0.client.close().await.map_err(|error| from_client(&error, &self.0.config.namespace))
    }
}
