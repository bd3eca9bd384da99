//! The store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordKey,
    RecordPut, Result, Scope, StoreUrl, VersionedRecord,
};
use futures::stream::BoxStream;

use crate::cluster::Cluster;
use crate::config::AerospikeConfig;
use crate::error::BACKEND;
use crate::filter::Filters;
use crate::info::Facts;
use crate::key::{Keys, MAX_KEY_BYTES};
use crate::write::MAX_TTL;
use crate::{health, read, scan, write};

/// A store in a namespace of an Aerospike cluster.
///
/// Reads and writes are one request to each server that holds some of the records. Dropping the store
/// releases its connections; [`close`](OnlineStoreBackend::close) does so for others that use it, too.
#[derive(Debug)]
pub struct AerospikeOnlineStore {
    cluster: Arc<Cluster>,
    keys: Keys,
    filters: Filters,
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
        let cluster = Cluster::open(config).await?;
        let keys = Keys::new(&cluster.config().namespace, &cluster.config().layout);
        Ok(Self { cluster, keys, filters: Filters::new()? })
    }
}

#[async_trait]
impl OnlineStoreBackend for AerospikeOnlineStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.max_record_bytes = self.cluster.facts().map(Facts::max_record_bytes);
        capabilities.max_key_bytes = Some(MAX_KEY_BYTES);
        capabilities.max_ttl = Some(MAX_TTL);
        capabilities.max_batch_rows = Some(self.cluster.config().batch_rows);
        capabilities.reclaim_granularity = Duration::from_secs(1);
        capabilities.durable = self.cluster.facts().is_some_and(Facts::durable);
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match self.cluster.sender(call, false) {
            Ok(sender) => read::get(&sender, &self.keys, keys).await,
            Err(error) => error.for_rows(keys.len()),
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        match self.cluster.sender(call, true) {
            Ok(sender) => write::put(&sender, &self.keys, &self.filters, &puts).await,
            Err(error) => error.for_rows(puts.len()),
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match self.cluster.sender(call, true) {
            Ok(sender) => write::delete(&sender, &self.keys, keys).await,
            Err(error) => error.for_rows(keys.len()),
        }
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        scan::scan(Arc::clone(&self.cluster), self.keys.clone(), scope.clone())
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.cluster.client()?;
        scan::purge(&self.cluster, &self.keys, scope, progress).await
    }

    async fn check(&self) -> Result<Health> {
        health::check(&self.cluster).await
    }

    async fn close(&self) -> Result<()> {
        self.cluster.close().await
    }
}
