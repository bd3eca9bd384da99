//! The conformance suite, on a file.

#![allow(clippy::expect_used, reason = "without a directory there is nothing to test")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::{BackendFactory, Data};
use tempfile::TempDir;

struct OnFile {
    directory: TempDir,
    opened: AtomicU64,
}

impl OnFile {
    fn new_file(&self) -> String {
        let name = format!("{}.redb", self.opened.fetch_add(1, Ordering::Relaxed));
        self.directory.path().join(name).display().to_string()
    }
}

#[async_trait]
impl BackendFactory for OnFile {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn server(&self) -> String {
        "none needed, a temporary file".to_owned()
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        self.open_over(&self.new_file(), clock).await
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Exclusive(self.new_file()))
    }

    async fn open_over(
        &self,
        data: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let store = EmbeddedOnlineStore::connect(EmbeddedConfig::file(data), clock);
        Ok(Arc::new(store.map_err(|error| error.to_string())?))
    }
}

fn main() -> ExitCode {
    let directory = tempfile::tempdir().expect("a temporary directory");
    store_testkit::conformance(OnFile { directory, opened: AtomicU64::new(0) })
}
