//! The conformance suite, on a server that the kit gets.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};
use store_redis::RedisOnlineStore;
use store_testkit::servers::Server;
use store_testkit::{BackendFactory, Data};

#[derive(Default)]
struct Redis(OnceLock<String>);

#[async_trait]
impl BackendFactory for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn server(&self) -> String {
        self.0.get().cloned().unwrap_or_default()
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let server = Server::redis().await?;
        self.0.get_or_init(|| server.how().to_owned());
        self.open_over(server.url(), clock).await
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Shared(Server::redis().await?.url().to_owned()))
    }

    async fn open_over(&self, data: &str, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        Ok(Arc::new(RedisOnlineStore::open(data).await.map_err(|e| e.to_string())?))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(Redis::default())
}
