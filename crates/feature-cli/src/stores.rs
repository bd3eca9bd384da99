//! From a store's URL to its backend.

use std::path::Path;
use std::sync::Arc;

use feature_core::{Clock, Error, OnlineStoreBackend, StoreUrl};
use futures::future::BoxFuture;
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_redis::{RedisConfig, RedisOnlineStore};

use crate::exit::{Failure, Result};

/// Whether a store that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is made, for what is about to be written.
    Create,
    /// It is an error: there is nothing to read, and most likely the name is wrong.
    Refuse,
}

type Backend = Arc<dyn OnlineStoreBackend>;
type Connect = for<'a> fn(&'a StoreUrl, Missing, Arc<dyn Clock>) -> BoxFuture<'a, Result<Backend>>;

/// A kind of store URL.
struct Scheme {
    name: &'static str,
    example: &'static str,
    /// Whether a URL is right, as far as that can be told without connecting.
    check: fn(&StoreUrl) -> Result<(), Error>,
    connect: Connect,
}

const fn redis(name: &'static str, example: &'static str) -> Scheme {
    let check = |url: &StoreUrl| RedisConfig::from_url(url).map(drop);
    Scheme { name, example, check, connect: connect_redis }
}

/// The known schemes.
const SCHEMES: &[Scheme] = &[
    Scheme {
        name: "embedded",
        example: "embedded:features.redb",
        check: |url| EmbeddedConfig::from_url(url).map(drop),
        connect: |url, missing, clock| {
            Box::pin(async move { Ok(Arc::new(embedded(url, missing, clock)?) as _) })
        },
    },
    Scheme {
        name: "aerospike",
        example: "aerospike://localhost:3000/features",
        check: |url| AerospikeConfig::from_url(url).map(drop),
        connect: connect_aerospike,
    },
    redis("redis", "redis://localhost:6379"),
    redis("rediss", "rediss://user:password@host:6379"),
    redis("redis-cluster", "redis-cluster://host:6379,host2:6379"),
    redis("redis-sentinel", "redis-sentinel://host:26379,host2:26379?service_name=main"),
];

/// Connects to the store of this URL.
pub(crate) async fn connect(url: &str, missing: Missing, clock: Arc<dyn Clock>) -> Result<Backend> {
    connect_to(&parse(url)?, missing, clock).await
}

/// The same, with a URL that is taken apart.
pub(crate) async fn connect_to(url: &StoreUrl, missing: Missing, clock: Arc<dyn Clock>) -> Result<Backend> {
    let scheme = scheme_of(url).map_err(|e| Failure::Usage(e.message().to_owned()))?;
    (scheme.connect)(url, missing, clock).await
}

/// Whether a URL is right, as far as that can be told without connecting. The error does not show it.
pub(crate) fn check(url: &StoreUrl) -> Result<(), Error> {
    (scheme_of(url)?.check)(url)
}

fn scheme_of(url: &StoreUrl) -> Result<&'static Scheme, Error> {
    SCHEMES.iter().find(|scheme| scheme.name == url.scheme()).ok_or_else(|| {
        Error::invalid_argument(format!(
            "unknown store scheme `{}`; known are {}",
            url.scheme(),
            examples(SCHEMES.iter().map(|scheme| scheme.example))
        ))
    })
}

/// Opens the embedded store of this URL.
pub(crate) fn connect_embedded(url: &str, clock: Arc<dyn Clock>) -> Result<EmbeddedOnlineStore> {
    let url = parse(url)?;
    if url.scheme() != "embedded" {
        let message = format!("only an embedded store can be compacted, `{}` is not one", url.scheme());
        return Err(Failure::Usage(message));
    }
    embedded(&url, Missing::Refuse, clock)
}

fn embedded(url: &StoreUrl, missing: Missing, clock: Arc<dyn Clock>) -> Result<EmbeddedOnlineStore> {
    let config = EmbeddedConfig::from_url(url).map_err(|e| Failure::Usage(e.message().to_owned()))?;
    match &config.path {
        Some(path) if missing == Missing::Refuse && !path.exists() => Err(Failure::Other(format!(
            "there is no store at {}; `fstore ingest`, `put` or `apply` makes one",
            path.display()
        ))),
        _ => Ok(EmbeddedOnlineStore::connect(config, clock)?),
    }
}

/// A server has its records or it has not: there is nothing to make.
fn connect_aerospike<'a>(url: &'a StoreUrl, _: Missing, _: Arc<dyn Clock>) -> BoxFuture<'a, Result<Backend>> {
    Box::pin(async move {
        let config = AerospikeConfig::from_url(url).map_err(|e| Failure::Usage(e.message().to_owned()))?;
        Ok(Arc::new(AerospikeOnlineStore::connect(config).await?) as _)
    })
}

/// The same.
fn connect_redis<'a>(url: &'a StoreUrl, _: Missing, _: Arc<dyn Clock>) -> BoxFuture<'a, Result<Backend>> {
    Box::pin(async move {
        let config = RedisConfig::from_url(url).map_err(|e| Failure::Usage(e.message().to_owned()))?;
        Ok(Arc::new(RedisOnlineStore::connect(config).await?) as _)
    })
}

fn parse(text: &str) -> Result<StoreUrl> {
    // What has neither a scheme nor a password can be shown, and is most likely a path.
    if !text.contains([':', '@']) && !text.is_empty() {
        let path = Path::new(text).display();
        return Err(Failure::Usage(format!("`{path}` is not a store URL; for a file say embedded:{path}")));
    }
    StoreUrl::parse(text).map_err(|e| Failure::Usage(e.message().to_owned()))
}

fn examples(examples: impl Iterator<Item = &'static str>) -> String {
    examples.collect::<Vec<_>>().join(", ")
}
