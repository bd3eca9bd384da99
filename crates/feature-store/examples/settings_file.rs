//! A settings file with two stores, and a route that says which tenants' records go where.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example checks what it shows")]

use std::error::Error;

use feature_store::EntityKey;

/// As it would stand in `fstore.yaml`. `${NAME}` comes from the environment.
const SETTINGS: &str = "
stores:
  main: embedded:main.redb
  eu: { url: 'embedded:eu.redb', circuit: {} }
routes:
  - { tenant: 'eu-*', view: '*', store: eu }
default: { store: main }
feature_views:
  - { name: customers, entities: [customer_id], features: { orders: int64 }, ttl: 7d }
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = SETTINGS.replace("main.redb", &path("main.redb")).replace("eu.redb", &path("eu.redb"));
    std::fs::write(path("fstore.yaml"), settings)?;

    let store = feature_store::open_settings(path("fstore.yaml")).await?;
    let customer = EntityKey::new("customer_id", 7)?;
    for (tenant, expected) in [("eu-shop", "eu"), ("us-shop", "main")] {
        let decision = store.route(tenant, "customers")?;
        assert_eq!(decision.to.store, expected);
        store.write_features(tenant, "customers", &customer, [("orders", 1_i64)], None, None).await?;
        println!("{tenant}: {expected}");
    }
    let undeclared =
        store.write_features("eu-shop", "customer", &customer, [("orders", 1_i64)], None, None).await;
    println!("{}", undeclared.expect_err("the file does not declare it"));
    store.close().await?;
    drop(store);

    // Each record is in its own store.
    for (file, tenant) in [("eu.redb", "eu-shop"), ("main.redb", "us-shop")] {
        let store = feature_store::open(&format!("embedded:{}", path(file))).await?;
        for other in ["eu-shop", "us-shop"] {
            let row = store.read_features(other, "customers", &customer, None).await?;
            assert_eq!(row.is_some(), other == tenant);
        }
        store.close().await?;
    }
    Ok(())
}

#[test]
fn it_runs() -> Result<(), Box<dyn Error>> {
    main()
}
