//! The suite over the wrappers, each over a store in memory.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{Clock, OnlineStoreBackend};
use store_testkit::{BackendFactory, MapStore, async_trait, conformance_of};
use store_unified::{CacheSettings, Cached, Observed, Pattern, Quota, Quotas};

type Backend = Arc<dyn OnlineStoreBackend>;

/// A name, and what is put around the store.
struct Composition(&'static str, fn(Backend, Arc<dyn Clock>) -> Backend);

#[async_trait]
impl BackendFactory for Composition {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Backend, String> {
        Ok((self.1)(Arc::new(MapStore::new(clock.clone())), clock))
    }
}

/// Quotas that the suite stays below.
fn quotas(store: Backend, _: Arc<dyn Clock>) -> Backend {
    let plenty = NonZeroU32::new(1_000_000_000);
    let quota = Quota { reads_per_s: plenty, writes_per_s: plenty, rows_per_s: plenty, ..Quota::default() };
    Arc::new(Quotas::new(store, vec![(Pattern::any(), quota)]))
}

fn cached(store: Backend, clock: Arc<dyn Clock>) -> Backend {
    let settings = CacheSettings { ttl: Some(Duration::from_secs(3600)), ..CacheSettings::default() };
    Arc::new(Cached::new(store, clock, settings))
}

/// So small that it is always full.
fn small_cache(store: Backend, clock: Arc<dyn Clock>) -> Backend {
    let settings =
        CacheSettings { max_bytes: 4_000, ttl: Some(Duration::from_secs(3600)), views: Vec::new() };
    Arc::new(Cached::new(store, clock, settings))
}

fn observed(store: Backend, _: Arc<dyn Clock>) -> Backend {
    Arc::new(Observed::new(store, "main"))
}

fn main() -> ExitCode {
    let compositions = [
        Composition("quotas", quotas),
        Composition("cached", cached),
        Composition("small_cache", small_cache),
        Composition("observed", observed),
    ];
    conformance_of(compositions.into_iter().map(|one| Box::new(one) as Box<dyn BackendFactory>).collect())
}
