//! `redis:` and its kin.

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{OnlineStoreBackend, Result, StoreUrl};
use store_redis::{RedisConfig, RedisOnlineStore};

use crate::scheme::{ConnectOptions, Scheme};

pub(super) struct Redis {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
}

#[async_trait]
impl Scheme for Redis {
    fn name(&self) -> &str {
        self.name
    }

    fn example(&self) -> &str {
        self.example
    }

    fn check(&self, url: &StoreUrl) -> Result<()> {
        RedisConfig::from_url(url).map(drop)
    }

    async fn connect(&self, url: &StoreUrl, _: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>> {
        Ok(Arc::new(RedisOnlineStore::connect(RedisConfig::from_url(url)?).await?))
    }
}
