//! The whole suite, on the store of the guide.

use std::process::ExitCode;
use std::sync::Arc;

use feature_core::{Clock, OnlineStoreBackend};
use store_testkit::{BackendFactory, MapStore, async_trait, conformance};

struct Factory;

#[async_trait]
impl BackendFactory for Factory {
    fn name(&self) -> &'static str {
        "map"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        Ok(Arc::new(MapStore::new(clock)))
    }
}

fn main() -> ExitCode {
    conformance(Factory)
}
