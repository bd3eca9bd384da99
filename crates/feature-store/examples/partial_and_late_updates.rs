//! Pipelines write parts of an entity's features, late, twice and in any order. Each feature keeps the value
//! of the newest event time.
#![allow(clippy::expect_used, reason = "an example checks what it shows")]

use std::time::Duration;

use feature_store::{
    Connector, EntityKey, FeatureWrite, Features, ManualClock, Result, Timestamp, Ttl, WriteOutcome,
};

const TENANT: &str = "acme";
const VIEW: &str = "customers";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let noon: Timestamp = "2026-01-01T12:00:00Z".parse()?;
    let eleven: Timestamp = "2026-01-01T11:00:00Z".parse()?;
    let ten: Timestamp = "2026-01-01T10:00:00Z".parse()?;
    // The clock of this example stands still until it is moved.
    let clock = ManualClock::at(noon);
    let store = Connector::new().clock(clock.clone()).open("embedded::memory:").await?;
    let customer = EntityKey::new("customer_id", 7)?;
    let write = async |features: Features, at: Timestamp| {
        store.write_features(TENANT, VIEW, &customer, features, Some(at), None).await
    };
    let read = async || store.read_features(TENANT, VIEW, &customer, None).await;

    // Two pipelines know different features of the customer. Neither loses the other's.
    write(Features::new().with("orders", 42_i64).with("country", "DE"), noon).await?;
    write(Features::new().with("visits", 7_i64), eleven).await?;
    let row = read().await?.expect("a record");
    assert_eq!(row.len(), 3);
    assert_eq!(row.event_time("visits"), Some(eleven));

    // A late write counts only for what it is newer for: it brings `segment`, not the old `orders`.
    let late = Features::new().with("orders", 41_i64).with("segment", "gold");
    assert_eq!(write(late, ten).await?, WriteOutcome::Applied);
    let row = read().await?.expect("a record");
    assert_eq!(row.get("orders"), Some(&42_i64.into()));
    assert_eq!(row.get("segment"), Some(&"gold".into()));

    // One that is newer for nothing says so, and so it does no harm to repeat a write.
    assert_eq!(write(Features::new().with("orders", 40_i64), ten).await?, WriteOutcome::Superseded);

    // To replace all features, or to remove them, is a write like any other: what is newer stays.
    let replace =
        FeatureWrite { timestamp: Some(eleven), ..FeatureWrite::new(customer.clone(), Features::new()) };
    store.batch_write(TENANT, VIEW, [replace.replacing()]).await?.into_result()?;
    let row = read().await?.expect("a record");
    let left: Vec<&str> = row.iter().map(|(name, ..)| name).collect();
    assert_eq!(left, ["country", "orders"]);

    // What has expired is gone, to the microsecond.
    let hour = Some(Ttl::from_secs(3600));
    store.write_features(TENANT, VIEW, &customer, [("orders", 43_i64)], None, hour).await?;
    clock.advance(Duration::from_micros(3_600_000_000 - 1));
    assert!(read().await?.is_some());
    clock.advance(Duration::from_micros(1));
    assert!(read().await?.is_none());
    store.close().await
}

#[test]
fn it_runs() -> Result<()> {
    main()
}
