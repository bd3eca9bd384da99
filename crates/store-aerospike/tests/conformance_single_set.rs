//! The conformance suite, with the records of all views in one set.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore, SetLayout};
use store_testkit::BackendFactory;
use store_testkit::servers::Server;

#[derive(Default)]
struct InOneSet {
    how: OnceLock<String>,
}

#[async_trait]
impl BackendFactory for InOneSet {
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
        let mut config = config.map_err(|error| error.to_string())?;
        config.layout = SetLayout::Single("features".to_owned());
        let store = AerospikeOnlineStore::connect(config).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(InOneSet::default())
}
