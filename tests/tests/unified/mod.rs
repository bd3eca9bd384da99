//! Compositions of the wrappers of the unified store, over stores that the test opens.
//!
//! A wrapper that has nothing to do is no test of it. So these have: reads come late, that they are hedged or
//! read from the fallback; every third call fails, that it is tried again.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, ErrorKind, OnlineStoreBackend};
use store_testkit::{Fault, FaultyBackend, Operation};
use store_unified::{
    Circuit, CircuitSettings, Fallback, FallbackSettings, HedgeSettings, Hedged, LimitSettings, Limited,
    Pattern, Quota, Quotas, RetrySettings, Retrying, Route, Routed,
};

/// Any store.
pub(crate) type Store = Arc<dyn OnlineStoreBackend>;

/// What stands for late: enough for another answer to come first.
const LATE: Duration = Duration::from_millis(20);

/// The store with reads that come late.
pub(crate) fn late(store: Store) -> Store {
    let script = |call: store_testkit::Call| match call.operation {
        Operation::Get => Fault::Delay(LATE),
        _ => Fault::None,
    };
    Arc::new(FaultyBackend::new(store, script))
}

/// The store of which every third call about rows fails without having had an effect.
pub(crate) fn failing(store: Store) -> Store {
    let script = |call: store_testkit::Call| match (call.operation, call.number % 3) {
        (Operation::Get | Operation::Put | Operation::Delete, 0) => {
            Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused"))
        }
        _ => Fault::None,
    };
    Arc::new(FaultyBackend::new(store, script))
}

pub(crate) fn limited(store: Store) -> Store {
    let settings = LimitSettings { max_in_flight: 4, max_queued: 100_000 };
    Arc::new(Limited::new(store, "first", settings))
}

pub(crate) fn circuit(store: Store) -> Store {
    // Cases give calls up, which says nothing of the store.
    let settings = CircuitSettings { slow: Duration::from_secs(60), ..CircuitSettings::default() };
    Arc::new(Circuit::new(store, "first", settings))
}

/// Sends every read twice, as long as the first is not answered at once.
pub(crate) fn hedged(store: Store) -> Store {
    Arc::new(Hedged::new(store, "first", HedgeSettings { after: Duration::ZERO, max_extra: 1.0 }))
}

pub(crate) fn retrying(store: Store) -> Store {
    let wait = Duration::from_micros(100);
    let settings = RetrySettings { max_retries: 50, min_delay: wait, max_delay: wait * 10, max_extra: 1.0 };
    Arc::new(Retrying::new(store, "first", settings))
}

/// Reads from the second what the first does not answer after a while.
pub(crate) fn fallback(first: Store, second: Store, after: Duration) -> Store {
    Arc::new(Fallback::new(first, second, "first", FallbackSettings { after }))
}

/// One view of half of the tenants in the first, that of the others in the second, all else in the third.
pub(crate) fn routed(stores: [Store; 3]) -> Result<Store, Error> {
    let view = Pattern::Name("customer_features".to_owned());
    let tenant = |digit| Pattern::Prefix(format!("t{digit}"));
    let half = (0..8).map(|digit| Route { tenant: tenant(digit), view: view.clone(), place: 0 });
    let other = Route { tenant: Pattern::any(), view: view.clone(), place: 1 };
    let names = ["first", "second", "third"].map(str::to_owned).into_iter().zip(stores.clone());
    let routed = Routed::new(stores.into(), names.collect(), half.chain([other]).collect(), 2)?;
    Ok(Arc::new(routed))
}

/// Everything that can stand between a caller and a store, as the unified store stacks it.
pub(crate) fn stack(store: Store) -> Store {
    limited(circuit(hedged(retrying(failing(late(store))))))
}

/// All together: tenants, routes, and a fallback that has what the first has, read after this time.
pub(crate) fn all_together(stores: [Store; 3], after: Duration) -> Result<Store, Error> {
    let with_fallback = |store: Store| fallback(stack(Arc::clone(&store)), limited(circuit(store)), after);
    let generous = Quota { rows_per_s: 1_000_000_000.try_into().ok(), ..Quota::default() };
    let routed = routed(stores.map(with_fallback))?;
    Ok(Arc::new(Quotas::new(routed, vec![(Pattern::any(), generous)])))
}
