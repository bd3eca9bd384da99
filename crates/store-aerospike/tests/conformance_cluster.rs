//! The conformance suite, on a cluster of three servers with every record on two of them.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_testkit::BackendFactory;
use store_testkit::servers::AerospikeCluster;
use tokio::sync::OnceCell;

#[derive(Default)]
struct OnCluster {
    cluster: OnceCell<Result<AerospikeCluster, String>>,
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

    async fn open(&self, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let cluster = self.cluster.get_or_init(|| AerospikeCluster::start(3)).await.as_ref()?;
        let config = StoreUrl::parse(&cluster.url()).and_then(|url| AerospikeConfig::from_url(&url));
        let config = config.map_err(|error| error.to_string())?;
        let store = AerospikeOnlineStore::connect(config).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(OnCluster::default())
}
