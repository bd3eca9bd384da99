//! `sqlite:features.db`

use std::path::PathBuf;
use std::sync::Arc;

use feature_store::{
    ConnectOptions, Error, ErrorKind, OnlineStoreBackend, Result, Scheme, StoreUrl, async_trait,
};

use crate::SqliteStore;

/// Opens stores by URLs such as `sqlite:features.db`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqliteScheme;

fn path(url: &StoreUrl) -> Result<PathBuf> {
    if !url.hosts().is_empty()
        || url.username().is_some()
        || url.password().is_some()
        || url.path().is_empty()
    {
        return Err(Error::invalid_argument(
            "a SQLite store is a file on this machine: write sqlite:features.db",
        ));
    }
    url.params().finish()?;
    Ok(PathBuf::from(url.path()))
}

#[async_trait]
impl Scheme for SqliteScheme {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn example(&self) -> &str {
        "sqlite:features.db"
    }

    fn check(&self, url: &StoreUrl) -> Result<()> {
        path(url).map(drop)
    }

    async fn connect(&self, url: &StoreUrl, options: &ConnectOptions) -> Result<Arc<dyn OnlineStoreBackend>> {
        let (path, ConnectOptions { clock, create_missing, .. }) = (path(url)?, options.clone());
        let open = move || match !create_missing && !path.exists() {
            true => Err(Error::invalid_argument(format!("there is no store at {}", path.display()))),
            false => SqliteStore::open(&path, clock),
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|ended| Error::new(ErrorKind::Internal, ended.to_string()))?;
        Ok(Arc::new(opened?))
    }
}
