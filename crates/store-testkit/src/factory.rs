//! What the kit needs to know of a backend.

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};

/// Opens the backend under test.
#[async_trait]
pub trait BackendFactory: Send + Sync + 'static {
    /// The backend's name, as in `FSTORE_REQUIRE` and in the summary line: `embedded`, `redis`, …
    fn name(&self) -> &'static str;

    /// The backends that the environment may demand by `FSTORE_REQUIRE`, so that it is a failure, rather than
    /// ignored, if this one is not available. A composition of several stores names each.
    fn requires(&self) -> Vec<&'static str> {
        vec![self.name()]
    }

    /// Where the server comes from, without secrets. Asked when the cases have run.
    fn server(&self) -> String {
        "none needed".to_owned()
    }

    /// Opens the backend. Called once for every case and more; instances may share a server or a file.
    /// A backend that reclaims by a clock of its own process takes this one.
    ///
    /// # Errors
    /// Why the backend is not available here: no server, a missing setting.
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String>;
}
