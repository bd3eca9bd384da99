//! What connects to the stores of a kind of URL.

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Clock, OnlineStoreBackend, Result, StoreUrl};

/// A kind of store URL, and what connects to the stores it names.
///
/// An application registers its own with [`Connector::scheme`](crate::Connector::scheme); its stores then
/// open by URL like any other, from a settings file too. The example `own_backend` shows one.
#[async_trait]
pub trait Scheme: Send + Sync + 'static {
    /// What comes before the colon: lowercase letters, digits, `+`, `-` and `.`, a letter first.
    fn name(&self) -> &str;

    /// A URL as a user might write it, for the message that lists what is known.
    fn example(&self) -> &str;

    /// Checks a URL as far as that is possible without connecting.
    ///
    /// # Errors
    /// `InvalidArgument` that says what is wrong and does not show the URL.
    fn check(&self, url: &StoreUrl) -> Result<()>;

    /// Connects to the store of a URL.
    ///
    /// # Errors
    /// As [`check`](Self::check); what connecting reports.
    async fn connect(&self, url: &StoreUrl, options: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>>;
}

/// What else there is to say about how to connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The clock of the handle, for stores that reclaim expired records themselves.
    pub clock: Arc<dyn Clock>,
    /// Whether a store that does not exist is made. A server's store always exists, if empty.
    pub create_missing: bool,
}
