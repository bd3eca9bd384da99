//! The conformance suite over compositions of the unified store, on embedded stores in memory.

mod unified;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{Clock, Error, OnlineStoreBackend};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::BackendFactory;
use unified::{Store, all_together, circuit, failing, fallback, hedged, late, limited, retrying, routed};

/// Makes a composition of stores, of which it opens as many as it needs.
type Compose = fn(&dyn Fn() -> Result<Store, Error>) -> Result<Store, Error>;

struct Composition(&'static str, Compose);

#[async_trait]
impl BackendFactory for Composition {
    fn name(&self) -> &'static str {
        self.0
    }

    fn server(&self) -> String {
        "none needed, embedded in memory".to_owned()
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let embedded = || -> Result<Store, Error> {
            Ok(Arc::new(EmbeddedOnlineStore::connect(EmbeddedConfig::default(), Arc::clone(&clock))?))
        };
        (self.1)(&embedded).map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    let compositions: [(&str, Compose); 7] = [
        ("routed", |open| routed([open()?, open()?, open()?])),
        ("limited", |open| Ok(limited(open()?))),
        ("circuit", |open| Ok(circuit(open()?))),
        ("hedged", |open| Ok(hedged(late(open()?)))),
        ("retrying", |open| Ok(retrying(failing(open()?)))),
        ("fallback", |open| {
            let store = open()?;
            Ok(fallback(late(Arc::clone(&store)), store, Duration::ZERO))
        }),
        ("all_together", |open| all_together([open()?, open()?, open()?], Duration::ZERO)),
    ];
    let factory = |(name, compose)| -> Box<dyn BackendFactory> { Box::new(Composition(name, compose)) };
    store_testkit::conformance_of(compositions.into_iter().map(factory).collect())
}
