//! Compositions of the wrappers of the unified store, over stores that the test opens.
//!
//! A wrapper that has nothing to do is no test of it. So these have: every third call fails, that it is tried
//! again, and a read that is not answered at once is hedged.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{Clock, Error, ErrorKind, OnlineStoreBackend};
use store_testkit::{Call, Fault, FaultyBackend, Operation};
use store_unified::{
    CacheSettings, CircuitSettings, Destination, FallbackSettings, HedgeSettings, LimitSettings,
    MirrorSettings, Pattern, Quota, RetrySettings, RouteRule, StoreRule, TenantRule, UnifiedFeatureStore,
};

/// Any store.
pub(crate) type Store = Arc<dyn OnlineStoreBackend>;

/// The store of which every third call about rows fails without having had an effect.
pub(crate) fn failing(store: Store) -> Store {
    let script = |call: Call| match (call.operation, call.number % 3) {
        (Operation::Get | Operation::Put | Operation::Delete, 0) => {
            Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused"))
        }
        _ => Fault::None,
    };
    Arc::new(FaultyBackend::new(store, script))
}

pub(crate) const LIMIT: LimitSettings = LimitSettings { max_in_flight: 4, max_queued: 100_000 };

/// Sends every read twice, as long as the first is not answered at once.
pub(crate) const HEDGE: HedgeSettings = HedgeSettings { after: Duration::ZERO, max_extra: 1.0 };

pub(crate) const RETRY: RetrySettings = RetrySettings {
    max_retries: 50,
    min_delay: Duration::from_micros(100),
    max_delay: Duration::from_millis(1),
    max_extra: 1.0,
};

pub(crate) fn circuit() -> CircuitSettings {
    // Cases give calls up, which says nothing of the store.
    CircuitSettings { slow: Duration::from_secs(60), ..CircuitSettings::default() }
}

pub(crate) fn cache() -> CacheSettings {
    CacheSettings { ttl: Some(Duration::from_secs(3_600)), ..CacheSettings::default() }
}

/// The view that most cases are about, of half of the tenants.
pub(crate) fn half() -> impl Iterator<Item = (Pattern, Pattern)> {
    (0..8).map(|digit| (Pattern::Prefix(format!("t{digit}")), Pattern::Name("customer_features".to_owned())))
}

/// All together, as the unified store stacks it: half of the tenants have their main view in the first store,
/// with the second as its mirror and fallback; all else is in the third.
pub(crate) fn all_together(stores: [Store; 3], clock: Arc<dyn Clock>) -> Result<Store, Error> {
    let mirror = MirrorSettings { to: "second".to_owned(), required: true };
    let fallback = FallbackSettings { after: Duration::from_secs(10) };
    let to = Destination::new("first").with_mirror(mirror).with_fallback("second", fallback);
    let generous = Quota { rows_per_s: 1_000_000_000.try_into().ok(), ..Quota::default() };
    let tenants = TenantRule { tenant: Pattern::any(), class: "default".to_owned(), quota: generous };
    let mut builder = UnifiedFeatureStore::builder()
        .default_destination(Destination::new("third"))
        .tenants(tenants)
        .cache(cache())
        .clock(clock);
    for (name, store) in ["first", "second", "third"].into_iter().zip(stores) {
        builder = builder.store(StoreRule {
            retry: Some(RETRY),
            hedge: Some(HEDGE),
            circuit: Some(circuit()),
            limit: Some(LIMIT),
            ..StoreRule::new(name, failing(store))
        });
    }
    for (tenant, view) in half() {
        builder = builder.route(RouteRule { tenant, view, to: to.clone() });
    }
    Ok(Arc::clone(builder.build()?.online().backend()))
}
