//! Opens a store, writes features of a customer, reads them back.
//!
//! `cargo run --package feature-store --example quick_start --all-features`
#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example checks what it shows")]

use feature_store::{EntityKey, Features, Result, Ttl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Or "embedded:features.redb", "redis://localhost:6379", "aerospike://localhost:3000/features".
    let store = feature_store::open("embedded::memory:").await?;

    let customer = EntityKey::new("customer_id", "cust-123")?;
    let features = Features::new().with("orders", 42_i64).with("country", "DE").with("avg_order_value", 89.5);
    let week = Some(Ttl::from_secs(7 * 86_400));
    store.write_features("acme-corp", "customers", &customer, features, None, week).await?;

    // Only what is asked for is decoded. What was never written has no value, which is not an error.
    let names = ["orders", "avg_order_value", "visits"];
    let row = store.read_features("acme-corp", "customers", &customer, Some(&names)).await?;
    let row = row.expect("it has just been written");
    assert_eq!(row.get("orders"), Some(&42_i64.into()));
    assert_eq!(row.get("visits"), None);
    for (name, status, value) in row.iter() {
        println!("{name}: {value:?} ({status:?})");
    }

    // Many entities are one round trip. The rows come in the order asked; nobody knows the second.
    let customers = [customer, EntityKey::new("customer_id", "cust-999")?];
    let rows = store.batch_read("acme-corp", "customers", &customers, None).await?;
    let found: Vec<bool> = rows.iter().map(|row| matches!(row, Ok(Some(_)))).collect();
    assert_eq!(found, [true, false]);

    store.delete("acme-corp", "customers", &customers).await?;
    store.close().await
}

#[test]
fn it_runs() -> Result<()> {
    main()
}
