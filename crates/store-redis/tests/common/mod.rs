//! What the tests of faults share.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{EntityKey, OnlineStore, Result};
use store_redis::RedisOnlineStore;
use store_testkit::load::{LoadReport, Verification};

/// How long past its deadline a call may last: two cores run the servers, the load and other tests.
pub(crate) const SLACK: Duration = Duration::from_millis(750);
/// How long recovery may take.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);

/// The view that tests write to, besides those of the load.
pub(crate) const VIEW: &str = "customer_features";

/// A handle over the store of this URL.
pub(crate) async fn open(url: &str) -> Result<OnlineStore> {
    Ok(OnlineStore::new(Arc::new(RedisOnlineStore::open(url).await?)))
}

pub(crate) fn entity(number: usize) -> Result<EntityKey> {
    EntityKey::new("customer_id", number.to_string())
}

/// Writes one feature of one entity, now.
pub(crate) async fn write(store: &OnlineStore, number: usize, value: i64) -> Result<()> {
    store.write_features("acme", VIEW, &entity(number)?, [("orders", value)], None, None).await.map(drop)
}

/// Reads it back.
pub(crate) async fn read(store: &OnlineStore, number: usize) -> Result<Option<i64>> {
    let row = store.read_features("acme", VIEW, &entity(number)?, None).await?;
    Ok(row.and_then(|row| row.get("orders").and_then(feature_core::FeatureValue::as_i64)))
}

/// Says how many acknowledged writes a failover has lost, which asynchronous replication may.
#[allow(dead_code, reason = "not every test target has failovers")]
pub(crate) fn say_what_was_lost(fault: &str, report: &LoadReport, verification: &Verification) {
    println!(
        "{fault}: {} of {} acknowledged rows lost, {} stale reads",
        verification.lost.len(),
        report.writes().rows_ok,
        report.stale()
    );
}
