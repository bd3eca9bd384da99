//! The conformance suite, on a server that the kit gets.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};
use store_redis::RedisOnlineStore;
use store_testkit::BackendFactory;
use store_testkit::servers::Server;

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

    async fn open(&self, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let server = Server::redis().await?;
        self.0.get_or_init(|| server.how().to_owned());
        Ok(Arc::new(RedisOnlineStore::open(server.url()).await.map_err(|e| e.to_string())?))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(Redis::default())
}
