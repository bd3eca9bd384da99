//! The suite, over stores that are opened by URL.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use feature_store::{Clock, Connector, OnlineStoreBackend};
use sqlite_store::SqliteScheme;
use store_testkit::{BackendFactory, async_trait, conformance};

struct Factory(tempfile::TempDir, AtomicU64);

#[async_trait]
impl BackendFactory for Factory {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let file = self.0.path().join(format!("{}.db", self.1.fetch_add(1, Ordering::Relaxed)));
        let connector = Connector::new().scheme(SqliteScheme).clock(clock);
        connector.connect(&format!("sqlite:{}", file.display())).await.map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    conformance(Factory(tempfile::tempdir().expect("a folder"), AtomicU64::new(0)))
}
