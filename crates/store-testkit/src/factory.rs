//! What the kit needs to know of a backend.

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend};

/// Data that outlive the instance that wrote them: where they lie, such that any process finds them by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Several instances may work on them at the same time, as clients of a server do.
    Shared(String),
    /// An instance has them to itself until it is closed or its process ends, as with a locked file.
    Exclusive(String),
    /// They end with their instance, or the factory cannot find them again: what is not tried then, and why.
    Private(String),
}

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

    /// Data for the cases that open the same data more than once; new ones for each call, or those of a server
    /// that all share. Unless a factory has this and [`open_over`](Self::open_over), those cases are shown as
    /// not tried.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Private("the factory does not say where its data are (`BackendFactory::data`)".to_owned()))
    }

    /// Opens an instance over the data that lie there: the text of a [`Data`]. May be called in another process.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn open_over(
        &self,
        data: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        drop(clock);
        Err(format!("the factory cannot open {data} (`BackendFactory::open_over`)"))
    }
}
