//! `aerospike:`

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{OnlineStoreBackend, Result, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};

use crate::scheme::{ConnectOptions, Scheme};

pub(super) struct Aerospike;

#[async_trait]
impl Scheme for Aerospike {
    fn name(&self) -> &str {
        "aerospike"
    }

    fn example(&self) -> &str {
        "aerospike://localhost:3000/features"
    }

    fn check(&self, url: &StoreUrl) -> Result<()> {
        AerospikeConfig::from_url(url).map(drop)
    }

    async fn connect(&self, url: &StoreUrl, _: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>> {
        Ok(Arc::new(AerospikeOnlineStore::connect(AerospikeConfig::from_url(url)?).await?))
    }
}
