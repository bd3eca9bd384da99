//! The conformance suite, in memory.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::{BackendFactory, Data};

struct InMemory;

#[async_trait]
impl BackendFactory for InMemory {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn server(&self) -> String {
        "none needed, in memory".to_owned()
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Private("records in memory end with their instance".to_owned()))
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let store = EmbeddedOnlineStore::connect(EmbeddedConfig::default(), clock);
        Ok(Arc::new(store.map_err(|error| error.to_string())?))
    }
}

fn main() -> ExitCode {
    store_testkit::conformance(InMemory)
}
