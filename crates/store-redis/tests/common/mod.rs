//! What the tests of faults share.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::sync::Arc;

use feature_core::{EntityKey, OnlineStore, Result};
use store_redis::RedisOnlineStore;

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
