//! What the tests with servers of their own share.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::sync::Arc;

use feature_core::{EntityKey, Features, OnlineStore, StoreUrl, Timestamp};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_testkit::TestFailure;

pub(crate) type TestResult<T = ()> = Result<T, TestFailure>;

pub(crate) const TENANT: &str = "t";
pub(crate) const VIEW: &str = "v";

pub(crate) fn config(url: &str) -> TestResult<AerospikeConfig> {
    Ok(AerospikeConfig::from_url(&StoreUrl::parse(url)?)?)
}

pub(crate) async fn connect(config: AerospikeConfig) -> TestResult<OnlineStore> {
    Ok(OnlineStore::new(Arc::new(AerospikeOnlineStore::connect(config).await?)))
}

pub(crate) async fn open(url: &str) -> TestResult<OnlineStore> {
    connect(config(url)?).await
}

pub(crate) fn entity(id: i64) -> EntityKey {
    EntityKey::new("customer_id", id).expect("a valid entity key")
}

pub(crate) fn entities(count: i64) -> Vec<EntityKey> {
    (0..count).map(entity).collect()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

pub(crate) fn one(value: i64) -> Features {
    Features::from([("f", value)])
}

/// Fails with `message` unless it holds.
#[track_caller]
pub(crate) fn holds(holds: bool, message: impl FnOnce() -> String) -> TestResult {
    if holds { Ok(()) } else { Err(message().into()) }
}
