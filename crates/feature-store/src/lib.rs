#![cfg_attr(docsrs, feature(doc_cfg))]
// The examples of the README need these two features.
#![cfg_attr(any(not(doctest), all(feature = "embedded", feature = "unified")), doc = include_str!("../README.md"))]

mod catalog;
mod connector;
mod scheme;
mod schemes;
#[cfg(feature = "unified")]
mod settings;

pub use catalog::Catalog;
pub use connector::Connector;
pub use scheme::{ConnectOptions, Scheme};

#[doc(inline)]
pub use feature_core::*;

#[cfg(feature = "aerospike")]
#[doc(inline)]
pub use store_aerospike as aerospike;
#[cfg(feature = "embedded")]
#[doc(inline)]
pub use store_embedded as embedded;
#[cfg(feature = "redis")]
#[doc(inline)]
pub use store_redis as redis;
#[cfg(feature = "unified")]
#[doc(inline)]
pub use store_unified as unified;
#[cfg(feature = "unified")]
#[doc(no_inline)]
pub use store_unified::{FeatureRequest, FeatureTable, UnifiedFeatureStore};

pub use async_trait::async_trait;
pub use {bytes, futures};

/// Opens the store of a URL, with the system's clock, the default settings and no declared views; an
/// embedded store that does not exist is made. [`Connector`] has the other ways.
///
/// # Errors
/// `InvalidArgument` for a wrong URL and for a scheme that is not compiled in; what connecting reports.
pub async fn open(url: &str) -> Result<OnlineStore> {
    Connector::new().open(url).await
}

/// Opens the stores that a settings file (YAML or TOML) describes, as one.
///
/// # Errors
/// `InvalidArgument` with every mistake in the file; what connecting to the first store reports that cannot
/// be had.
#[cfg(feature = "unified")]
pub async fn open_settings(file: impl AsRef<std::path::Path>) -> Result<UnifiedFeatureStore> {
    Connector::new().open_settings(file).await
}
