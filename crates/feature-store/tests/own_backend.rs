//! The example of a backend keeps every promise.

use std::process::ExitCode;
use std::sync::Arc;

use feature_store::{Clock, Connector, OnlineStoreBackend};
use store_testkit::{BackendFactory, async_trait, conformance};

#[allow(dead_code, reason = "it has a `main`")]
#[path = "../examples/own_backend.rs"]
mod own_backend;

struct Factory;

#[async_trait]
impl BackendFactory for Factory {
    fn name(&self) -> &'static str {
        "map"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let connector = Connector::new().scheme(own_backend::MapScheme).clock(clock);
        connector.connect("map:").await.map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    conformance(Factory)
}
