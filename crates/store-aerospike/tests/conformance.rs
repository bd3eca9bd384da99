//! The conformance suite, on a real server.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_testkit::BackendFactory;
use store_testkit::servers::Server;

#[derive(Default)]
struct OnServer {
    how: OnceLock<String>,
}

#[async_trait]
impl BackendFactory for OnServer {
    fn name(&self) -> &'static str {
        "aerospike"
    }

    fn server(&self) -> String {
        self.how.get().cloned().unwrap_or_default()
    }

    async fn open(&self, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let server = Server::aerospike().await?;
        self.how.get_or_init(|| server.how().to_owned());
        let config = StoreUrl::parse(server.url()).and_then(|url| AerospikeConfig::from_url(&url));
        let config = config.map_err(|error| error.to_string())?;
        let store = AerospikeOnlineStore::connect(config).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(OnServer::default())
}
