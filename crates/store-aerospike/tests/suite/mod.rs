//! The conformance suite on the server that the kit gets.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, StoreUrl};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_testkit::servers::Server;
use store_testkit::{BackendFactory, Data};

struct OnServer {
    how: OnceLock<String>,
    configure: fn(&mut AerospikeConfig),
}

#[async_trait]
impl BackendFactory for OnServer {
    fn name(&self) -> &'static str {
        "aerospike"
    }

    fn server(&self) -> String {
        self.how.get().cloned().unwrap_or_default()
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let server = Server::aerospike().await?;
        self.how.get_or_init(|| server.how().to_owned());
        self.open_over(server.url(), clock).await
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Shared(Server::aerospike().await?.url().to_owned()))
    }

    async fn open_over(&self, data: &str, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let config = StoreUrl::parse(data).and_then(|url| AerospikeConfig::from_url(&url));
        let mut config = config.map_err(|error| error.to_string())?;
        (self.configure)(&mut config);
        let store = AerospikeOnlineStore::connect(config).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }
}

/// Runs the suite with the settings that `configure` changes.
pub(crate) fn run(configure: fn(&mut AerospikeConfig)) -> ExitCode {
    store_testkit::conformance(OnServer { how: OnceLock::new(), configure })
}
