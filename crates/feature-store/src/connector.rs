//! From a URL to a store.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use feature_core::{
    Clock, Error, OnlineStore, OnlineStoreBackend, OnlineStoreBuilder, Result, StoreUrl, SystemClock,
};

use crate::catalog::Catalog;
use crate::scheme::{ConnectOptions, Scheme};
use crate::schemes;

/// Opens stores by their URLs: with a clock, with schemes of one's own, and only stores that exist if so
/// wished. Cheap to clone. The crate's documentation has an example.
#[derive(Clone)]
pub struct Connector {
    schemes: Vec<Arc<dyn Scheme>>,
    options: ConnectOptions,
}

impl Default for Connector {
    fn default() -> Self {
        let options = ConnectOptions { clock: Arc::new(SystemClock), create_missing: true };
        Self { schemes: schemes::compiled(), options }
    }
}

impl Connector {
    /// Knows the schemes that are compiled in, takes the system's clock, and makes embedded stores that do
    /// not exist.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a scheme, in place of one of the same name.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Scheme) -> Self {
        self.schemes.retain(|known| known.name() != scheme.name());
        self.schemes.push(Arc::new(scheme));
        self
    }

    /// Takes "now" from this clock, in the stores and in the handles over them.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.options.clock = Arc::new(clock);
        self
    }

    /// Whether an embedded store that does not exist is made (the default) or an error.
    #[must_use]
    pub fn create_missing(mut self, create_missing: bool) -> Self {
        self.options.create_missing = create_missing;
        self
    }

    /// Takes a URL apart and checks it, without connecting.
    ///
    /// # Errors
    /// `InvalidArgument` that says what is wrong, and shows no password and no parameter's value.
    pub fn parse(&self, url: &str) -> Result<StoreUrl> {
        // What has neither a scheme nor a password can be shown, and is most likely a path.
        if !url.contains([':', '@']) && !url.is_empty() {
            let path = Path::new(url).display();
            let message = format!("`{path}` is not a store URL; for a file say embedded:{path}");
            return Err(Error::invalid_argument(message));
        }
        let url = StoreUrl::parse(url)?;
        self.check(&url)?;
        Ok(url)
    }

    /// Checks a URL as far as that is possible without connecting.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn check(&self, url: &StoreUrl) -> Result<()> {
        schemes::find(&self.schemes, url.scheme())?.check(url)
    }

    /// Connects to the backend of a URL, for what is to be put together by hand.
    ///
    /// # Errors
    /// As [`parse`](Self::parse) and [`connect_to`](Self::connect_to).
    pub async fn connect(&self, url: &str) -> Result<Arc<dyn OnlineStoreBackend>> {
        self.connect_to(&self.parse(url)?).await
    }

    /// The same, with a URL that has been taken apart.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong URL, for an embedded store that does not exist and must not be made,
    /// and for a file that is something else; what connecting reports.
    pub async fn connect_to(&self, url: &StoreUrl) -> Result<Arc<dyn OnlineStoreBackend>> {
        schemes::find(&self.schemes, url.scheme())?.connect(url, &self.options).await
    }

    /// Connects to an embedded store, for what only such a store can do, such as
    /// [`compact`](store_embedded::EmbeddedOnlineStore::compact).
    ///
    /// # Errors
    /// As [`connect_to`](Self::connect_to); `InvalidArgument` for another scheme.
    #[cfg(feature = "embedded")]
    pub async fn connect_embedded(&self, url: &StoreUrl) -> Result<store_embedded::EmbeddedOnlineStore> {
        schemes::embedded::open(url, &self.options).await
    }

    /// Opens the store of a URL, with the default settings and no declared views.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn open(&self, url: &str) -> Result<OnlineStore> {
        self.builder(url).await?.build()
    }

    /// Opens the store of a URL with the views that are declared in the store itself; see [`Catalog`].
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`Catalog::all`].
    pub async fn open_declared(&self, url: &str) -> Result<OnlineStore> {
        let backend = self.connect(url).await?;
        let declared = async {
            let views = self.catalog(Arc::clone(&backend))?.all().await?;
            self.builder_over(Arc::clone(&backend)).views(views.into_values()).build()
        };
        let store = declared.await;
        if store.is_err() {
            // Why it could not be opened is what the caller wants to know.
            let _ = backend.close().await;
        }
        store
    }

    /// Connects to the store of a URL and gives the builder of a handle over it, for settings and views.
    /// The clock is set.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn builder(&self, url: &str) -> Result<OnlineStoreBuilder> {
        Ok(self.builder_over(self.connect(url).await?))
    }

    /// The views that are declared in the store under a backend.
    ///
    /// # Errors
    /// As [`Catalog::new`].
    pub fn catalog(&self, backend: Arc<dyn OnlineStoreBackend>) -> Result<Catalog> {
        Catalog::new(backend, Arc::clone(&self.options.clock))
    }

    fn builder_over(&self, backend: Arc<dyn OnlineStoreBackend>) -> OnlineStoreBuilder {
        OnlineStore::builder(backend).clock(Arc::clone(&self.options.clock))
    }

    /// How stores are connected to.
    #[cfg(feature = "unified")]
    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.options
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schemes.iter().map(|scheme| scheme.name()).collect();
        f.debug_struct("Connector").field("schemes", &names).field("options", &self.options).finish()
    }
}
