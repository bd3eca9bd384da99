//! `embedded:`

use std::sync::Arc;

use async_trait::async_trait;
use feature_core::{Error, ErrorKind, OnlineStoreBackend, Result, StoreUrl};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};

use crate::scheme::{ConnectOptions, Scheme};

pub(super) struct Embedded;

#[async_trait]
impl Scheme for Embedded {
    fn name(&self) -> &str {
        "embedded"
    }

    fn example(&self) -> &str {
        "embedded:features.redb"
    }

    fn check(&self, url: &StoreUrl) -> Result<()> {
        EmbeddedConfig::from_url(url).map(drop)
    }

    async fn connect(&self, url: &StoreUrl, options: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>> {
        Ok(Arc::new(open(url, options).await?))
    }
}

/// Opens the store of a URL, on a thread that may block: after a crash the whole file is read.
pub(crate) async fn open(url: &StoreUrl, options: &ConnectOptions) -> Result<EmbeddedOnlineStore> {
    let config = EmbeddedConfig::from_url(url)?;
    let ConnectOptions { clock, create_missing } = options.clone();
    let open = move || match &config.path {
        Some(path) if !create_missing && matches!(path.try_exists(), Ok(false)) => {
            Err(Error::invalid_argument(format!(
                "there is no store at {}; `fstore put`, `ingest` or `apply` makes one, and so does opening it \
                 with `create_missing`",
                path.display()
            )))
        }
        _ => EmbeddedOnlineStore::connect(config, clock),
    };
    tokio::task::spawn_blocking(open).await.unwrap_or_else(|failed| {
        let message = format!("the thread that opens the store has ended: {failed}");
        Err(Error::new(ErrorKind::Internal, message))
    })
}
