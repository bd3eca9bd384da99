//! The conformance suite over all wrappers of the unified store together, on Redis and Aerospike.

mod unified;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_redis::RedisOnlineStore;
use store_testkit::BackendFactory;
use store_testkit::servers::Server;
use unified::{Store, all_together};

#[derive(Default)]
struct OnServers(OnceLock<String>);

#[async_trait]
impl BackendFactory for OnServers {
    fn name(&self) -> &'static str {
        "all_together"
    }

    fn requires(&self) -> Vec<&'static str> {
        vec!["redis", "aerospike"]
    }

    fn server(&self) -> String {
        self.0.get().cloned().unwrap_or_default()
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let (redis, aerospike) = (Server::redis().await?, Server::aerospike().await?);
        self.0.get_or_init(|| format!("{}; {}", redis.how(), aerospike.how()));
        let text = |error: feature_core::Error| error.to_string();
        let config = StoreUrl::parse(aerospike.url()).and_then(|url| AerospikeConfig::from_url(&url));
        let stores: [Store; 3] = [
            Arc::new(RedisOnlineStore::open(redis.url()).await.map_err(text)?),
            Arc::new(AerospikeOnlineStore::connect(config.map_err(text)?).await.map_err(text)?),
            Arc::new(
                EmbeddedOnlineStore::connect(EmbeddedConfig::default(), Arc::clone(&clock)).map_err(text)?,
            ),
        ];
        all_together(stores, clock).map_err(text)
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(OnServers::default())
}
