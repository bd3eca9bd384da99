//! The conformance suite over compositions of the unified store, on embedded stores in memory.

#[path = "unified/plain.rs"]
mod plain;
mod unified;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{Clock, Error, OnlineStoreBackend};
use plain::Plain;
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::{BackendFactory, Call, Fault, FaultyBackend, Operation};
use store_unified::{
    Cached, Circuit, Fallback, FallbackSettings, Hedged, Limited, MigrationSettings, MirrorSettings,
    Mirrored, Retrying, Route, Routed,
};
use unified::{HEDGE, LIMIT, RETRY, Store, all_together, cache, circuit, failing, half};

/// What stands for late: enough for another answer to come first.
const LATE: Duration = Duration::from_millis(20);

/// The store with reads that come late.
fn late(store: Store) -> Store {
    let script = |call: Call| match call.operation {
        Operation::Get => Fault::Delay(LATE),
        _ => Fault::None,
    };
    Arc::new(FaultyBackend::new(store, script))
}

/// Makes a composition of three stores.
type Compose = fn([Store; 3], Arc<dyn Clock>) -> Result<Store, Error>;

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
        let open = || -> Result<Store, Error> {
            Ok(Arc::new(EmbeddedOnlineStore::connect(EmbeddedConfig::default(), Arc::clone(&clock))?))
        };
        let compose = || (self.1)([open()?, open()?, open()?], Arc::clone(&clock));
        Ok(Arc::new(Plain(compose().map_err(|error| error.to_string())?)))
    }
}

/// One view of half of the tenants in the first, all else in the second.
fn routed([first, second, _]: [Store; 3], _: Arc<dyn Clock>) -> Result<Store, Error> {
    let routes = half().map(|(tenant, view)| Route { tenant, view, place: 0 }).collect();
    let names = ["first", "second"].map(str::to_owned);
    let stores = vec![first, second];
    let named = names.into_iter().zip(stores.clone()).collect();
    Ok(Arc::new(Routed::new(stores, named, routes, 1)?))
}

fn mirrored([first, second, _]: [Store; 3], clock: Arc<dyn Clock>) -> Result<Store, Error> {
    let (name, other) = ("first".to_owned(), "second".to_owned());
    let mirror = MirrorSettings { to: other.clone(), required: true };
    let settings =
        MigrationSettings { longest_write: Duration::from_secs(60), ..MigrationSettings::default() };
    Ok(Arc::new(Mirrored::new((name, first), vec![(other, second)], Some(mirror), clock, settings)?))
}

/// Every read comes from the second, which has what the first has.
fn fallback([store, ..]: [Store; 3], _: Arc<dyn Clock>) -> Result<Store, Error> {
    let settings = FallbackSettings { after: Duration::ZERO };
    Ok(Arc::new(Fallback::new(late(Arc::clone(&store)), store, "first", settings)))
}

fn main() -> ExitCode {
    let compositions: [(&str, Compose); 9] = [
        ("routed", routed),
        ("mirrored", mirrored),
        ("cached", |[store, ..], clock| Ok(Arc::new(Cached::new(store, clock, cache())))),
        ("limited", |[store, ..], _| Ok(Arc::new(Limited::new(store, "first", LIMIT)))),
        ("circuit", |[store, ..], _| Ok(Arc::new(Circuit::new(store, "first", circuit())))),
        ("hedged", |[store, ..], _| Ok(Arc::new(Hedged::new(late(store), "first", HEDGE)))),
        ("retrying", |[store, ..], _| Ok(Arc::new(Retrying::new(failing(store), "first", RETRY)))),
        ("fallback", fallback),
        ("all_together", all_together),
    ];
    let factory = |(name, compose)| -> Box<dyn BackendFactory> { Box::new(Composition(name, compose)) };
    store_testkit::conformance_of(compositions.into_iter().map(factory).collect())
}
