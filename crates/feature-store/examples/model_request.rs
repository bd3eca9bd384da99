//! What a model asks for: features of two views, for several entities, in one call.
#![allow(clippy::print_stdout, reason = "an example checks what it shows")]

use feature_store::unified::{FeatureColumn, Registry, StoreRule};
use feature_store::{Connector, EntityKey, FeatureRequest, Result, UnifiedFeatureStore};

const DECLARED: &str = "
feature_views:
  - name: customers
    entities: [customer_id]
    features: {orders: int64, country: string}
    ttl: 7d
  - name: devices
    entities: [device_id]
    features: {logins: int64, country: string}
feature_services:
  - name: fraud
    features: ['customers:orders', 'customers:country', 'devices:*']
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let backend = Connector::new().connect("embedded::memory:").await?;
    let store = UnifiedFeatureStore::builder()
        .store(StoreRule::new("main", backend))
        .registry(Registry::from_yaml(DECLARED)?)
        .build()?;

    for (id, orders) in [(7, 42_i64), (8, 3)] {
        let customer = EntityKey::new("customer_id", id)?;
        store.write_features("acme", "customers", &customer, [("orders", orders)], None, None).await?;
    }
    let device = EntityKey::new("device_id", "a1")?;
    store.write_features("acme", "devices", &device, [("logins", 5_i64)], None, None).await?;

    // A row of the request has the join keys of all views; each view takes its own. Two visits from one
    // device: its record is read once.
    let visit =
        |customer: i64| EntityKey::builder().with("customer_id", customer).with("device_id", "a1").build();
    let table = store.read(&FeatureRequest::service("acme", "fraud", [visit(7)?, visit(8)?])).await?;

    // A column for each feature, named after its view where two views have a feature of that name.
    let names: Vec<&str> = table.columns().map(FeatureColumn::name).collect();
    assert_eq!(names, ["orders", "customers__country", "devices__country", "logins"]);
    let rows: Vec<_> = table.rows().collect();
    assert_eq!(rows[0].get("orders").as_deref(), Some(&42_i64.into()));
    assert_eq!(rows[1].get("logins").as_deref(), Some(&5_i64.into()));
    assert_eq!(
        table.column("customers__country").map(|column| column.statuses()[0].name()),
        Some("not_found")
    );
    for row in table.rows() {
        let cells: Vec<String> =
            row.cells().map(|cell| format!("{} = {:?}", cell.name, cell.value)).collect();
        println!("{}: {}", row.entity(), cells.join(", "));
    }
    store.close().await
}

#[test]
fn it_runs() -> Result<()> {
    main()
}
