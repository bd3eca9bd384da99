//! The conformance suite on servers of its own.

use std::any::Any;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};
use store_redis::RedisOnlineStore;
use store_testkit::{BackendFactory, Data};
use tokio::sync::OnceCell;

/// The URL of a server, how it was got, and what keeps it running.
type Started = (String, String, Box<dyn Any + Send + Sync>);

struct Own<S> {
    name: &'static str,
    start: S,
    started: OnceCell<Result<Started, String>>,
}

impl<S, F> Own<S>
where
    S: Fn() -> F,
    F: Future<Output = Result<Started, String>>,
{
    async fn url(&self) -> Result<&str, String> {
        let started = self.started.get_or_init(&self.start).await.as_ref().map_err(String::clone)?;
        Ok(&started.0)
    }
}

#[async_trait]
impl<S, F> BackendFactory for Own<S>
where
    S: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Started, String>> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn server(&self) -> String {
        self.started.get().and_then(|started| started.as_ref().ok()).map_or_else(String::new, |s| s.1.clone())
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        self.open_over(self.url().await?, clock).await
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Shared(self.url().await?.to_owned()))
    }

    async fn open_over(&self, data: &str, _: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        Ok(Arc::new(RedisOnlineStore::open(data).await.map_err(|e| e.to_string())?))
    }
}

/// Runs the suite over servers that `start` starts when the first case runs; `name` is what
/// `FSTORE_REQUIRE` calls them.
pub(crate) fn run<S, F>(name: &'static str, start: S) -> ExitCode
where
    S: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Started, String>> + Send + 'static,
{
    store_testkit::conformance(Own { name, start, started: OnceCell::new() })
}
