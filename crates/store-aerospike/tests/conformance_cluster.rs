//! The conformance suite, on a cluster of three servers with every record on two of them.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_testkit::servers::AerospikeCluster;
use store_testkit::{BackendFactory, Data};
use tokio::sync::OnceCell;

#[derive(Default)]
struct OnCluster {
    cluster: OnceCell<Result<AerospikeCluster, String>>,
}

impl OnCluster {
    async fn url(&self) -> Result<String, String> {
        Ok(self.cluster.get_or_init(|| AerospikeCluster::start(3)).await.as_ref()?.url())
    }
}

#[async_trait]
impl BackendFactory for OnCluster {
    fn name(&self) -> &'static str {
        "aerospike"
    }

    fn server(&self) -> String {
        match self.cluster.get() {
            Some(Ok(cluster)) => cluster.how(),
            _ => String::new(),
        }
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        self.open_over(&self.url().await?, clock).await
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Shared(self.url().await?))
    }

    async fn open_over(&self, data: &str, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let config = StoreUrl::parse(data).and_then(|url| AerospikeConfig::from_url(&url));
        let config = config.map_err(|error| error.to_string())?;
        let store = AerospikeOnlineStore::connect(config).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(OnCluster::default())
}
