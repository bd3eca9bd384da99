//! The suite, over stores that are opened by URL.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use feature_store::{Clock, Connector, OnlineStoreBackend};
use sqlite_store::SqliteScheme;
use store_testkit::{BackendFactory, Data, async_trait, conformance};

struct Factory(tempfile::TempDir, AtomicU64);

impl Factory {
    fn new_file(&self) -> String {
        let file = self.0.path().join(format!("{}.db", self.1.fetch_add(1, Ordering::Relaxed)));
        format!("sqlite:{}", file.display())
    }
}

#[async_trait]
impl BackendFactory for Factory {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        self.open_over(&self.new_file(), clock).await
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Shared(self.new_file()))
    }

    async fn open_over(
        &self,
        data: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let connector = Connector::new().scheme(SqliteScheme).clock(clock);
        connector.connect(data).await.map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    conformance(Factory(tempfile::tempdir().expect("a folder"), AtomicU64::new(0)))
}
