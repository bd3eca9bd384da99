use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use feature_core::{
    Error, ErrorKind, FeatureStatus, FeatureValue, FeatureView, Features, ManualClock, OnlineStoreBackend,
    RecordKey, Timestamp, ValueType, ViewKey,
};
use proptest::prelude::*;
use serde_json::json;
use store_testkit::{Fault, FaultyBackend, MapStore, Operation};

use super::*;
use crate::registry::Force;

const TENANT: &str = "acme";

fn now() -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000)
}

fn clock() -> ManualClock {
    ManualClock::at(now())
}

fn map_store() -> Arc<dyn OnlineStoreBackend> {
    Arc::new(MapStore::new(Arc::new(clock())))
}

fn store(backend: Arc<dyn OnlineStoreBackend>, registry: &Registry) -> OnlineStore {
    OnlineStore::builder(backend).clock(clock()).views(registry.views().cloned()).build().unwrap()
}

fn id(value: i64) -> EntityKey {
    EntityKey::new("id", value).unwrap()
}

fn refs(texts: &[&str]) -> Vec<FeatureRef> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn registry() -> Registry {
    Registry::from_yaml(
        "
feature_views:
- {name: customers, entities: [id], features: {orders: int64, country: string}, max_age: 1h}
- {name: devices, entities: [device, id], features: {logins: int64, country: string}}
feature_services:
- {name: fraud, features: [devices:logins, customers:country, 'customers:orders', devices:country]}",
    )
    .unwrap()
}

fn visit(customer: i64, device: &str) -> EntityKey {
    EntityKey::builder().with("id", customer).with("device", device).with("unused", 1).build().unwrap()
}

fn values(table: &FeatureTable, column: usize) -> Vec<FeatureValue> {
    table.columns().nth(column).unwrap().values().map(Cow::into_owned).collect()
}

async fn write(store: &OnlineStore, view: &str, entity: &str, features: Features, age_s: i64) {
    let at = now().saturating_sub(Duration::from_secs(age_s.unsigned_abs()));
    let entity = EntityKey::parse(entity).unwrap();
    store.write_features(TENANT, view, &entity, features, Some(at), None).await.unwrap();
}

#[tokio::test]
async fn a_service_gives_a_table_in_its_order() {
    let registry = registry();
    let store = store(map_store(), &registry);
    write(&store, "customers", "id=1", Features::new().with("orders", 3i64).with("country", "DE"), 60).await;
    write(&store, "customers", "id=2", Features::new().with("orders", 4i64), 7200).await;
    write(&store, "devices", "device=a|id=1", Features::new().with("country", FeatureValue::Null), 5).await;

    let rows = [visit(1, "a"), visit(2, "a"), visit(1, "b"), visit(1, "a")];
    let request = FeatureRequest::service(TENANT, "fraud", rows.clone());
    let table = request.read(&store, &registry).await.unwrap();
    assert_eq!(table.entities(), rows);
    let names: Vec<_> = table.columns().map(FeatureColumn::name).collect();
    assert_eq!(names, ["logins", "customers__country", "orders", "devices__country"]);
    let json = serde_json::to_value(&table).unwrap();
    let ago = |secs| now().saturating_sub(Duration::from_secs(secs)).to_string();
    assert_eq!(json["entities"][2], json!({"id": "1", "device": "b", "unused": "1"}));
    assert_eq!(
        json["columns"][2],
        json!({
            "name": "orders",
            "feature": "customers:orders",
            "type": "int64",
            "values": [3, null, 3, 3],
            "statuses": ["present", "outside_max_age", "present", "present"],
            "event_times": [ago(60), ago(7200), ago(60), ago(60)],
        })
    );
    let statuses = |name: &str| {
        table.column(name).unwrap().statuses().iter().map(|status| status.name()).collect::<Vec<_>>()
    };
    assert_eq!(statuses("logins"), ["not_found"; 4]);
    assert_eq!(statuses("customers__country"), ["present", "not_found", "present", "present"]);
    assert_eq!(statuses("devices__country"), ["null", "not_found", "not_found", "null"]);
    assert_eq!(json.as_object().unwrap().len(), 2, "no errors, nothing from a fallback");

    let row = table.rows().nth(2).unwrap();
    assert_eq!((row.entity(), row.get("orders").as_deref()), (&rows[2], Some(&3i64.into())));
    assert_eq!(row.get("devices__country"), None);
    assert_eq!(row.cells().map(|cell| cell.name).collect::<Vec<_>>(), names);

    let request = request.max_age(Duration::from_secs(30));
    let table = request.read(&store, &registry).await.unwrap();
    assert_eq!(table.column("orders").unwrap().statuses()[0], CellStatus::OutsideMaxAge);
    assert_eq!(table.column("devices__country").unwrap().statuses()[0], CellStatus::Null);
}

#[tokio::test]
async fn five_views_of_a_hundred_entities_are_one_call() {
    let features: BTreeMap<String, ValueType> =
        (0..10).map(|feature| (format!("f{feature}"), ValueType::Float64)).collect();
    let view = |number: usize| FeatureView {
        name: format!("v{number}"),
        description: String::new(),
        // Two of them are of all customers of a country, so that their entities repeat.
        entities: vec![if number < 3 { "id" } else { "country" }.to_owned()],
        features: features.clone(),
        ttl: None,
        max_age: None,
    };
    let registry = Registry::builder().views((0..5).map(view)).build().unwrap();
    let backend = Arc::new(FaultyBackend::counting(map_store()));
    let store = store(Arc::<FaultyBackend>::clone(&backend), &registry);
    let all: Vec<_> = (0..5).map(|number| FeatureRef::all(format!("v{number}"))).collect();
    let row = |n: i64| EntityKey::builder().with("id", n).with("country", n % 7).build().unwrap();
    let table =
        FeatureRequest::features(TENANT, all, (0..100).map(row)).read(&store, &registry).await.unwrap();
    assert_eq!((table.columns().len(), table.len()), (50, 100));
    assert_eq!(table.columns().nth(37).unwrap().name(), "v3__f7");
    let calls = backend.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].operation, calls[0].rows), (Operation::Get, 3 * 100 + 2 * 7));
}

#[tokio::test]
async fn everything_wrong_with_a_request_is_said_at_once() {
    let registry = registry();
    let store = store(map_store(), &registry);
    let refused = async |request: FeatureRequest| {
        let error = request.read(&store, &registry).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.message().to_owned()
    };
    let request = FeatureRequest::service(TENANT, "fraud", [visit(1, "a"), id(7), id(8)]);
    assert_eq!(
        refused(request).await,
        "the request cannot be served: row 1 (`id=7`) lacks `device`, which feature view `devices` needs; \
         row 2 (`id=8`) lacks `device`, which feature view `devices` needs"
    );
    let message = refused(FeatureRequest::service(TENANT, "fraud", (0..100).map(id))).await;
    assert!(message.contains("row 19 ") && message.ends_with("; and so on, 80 more"), "{message}");
    let wanted = refs(&["customer:orders", "customers:order", "devices:*", "devices:logins"]);
    let message = refused(FeatureRequest::features(TENANT, wanted, [id(1)])).await;
    for part in ["did you mean `customers`?", "did you mean `orders`?", "`devices:logins` is named twice"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(refused(FeatureRequest::service(TENANT, "fruad", [id(1)])).await.contains("`fraud`?"));
    assert!(refused(FeatureRequest::features(TENANT, [], [id(1)])).await.contains("no feature"));
    assert!(refused(FeatureRequest::service("", "fraud", [])).await.contains("tenant"));
}

#[tokio::test]
async fn what_is_stored_under_a_narrower_type_is_widened() {
    let views = |types: &str| {
        let text = format!("feature_views: [{{name: v, entities: [id], features: {types}}}]");
        Registry::from_yaml(&text).unwrap()
    };
    let old = views("{a: int32, b: float32, c: string, d: int64}");
    let backend = map_store();
    let features = Features::new().with("a", 7).with("b", 0.5f32).with("c", "x").with("d", (1i64 << 53) + 1);
    write(&store(Arc::clone(&backend), &old), "v", "id=1", features, 1).await;

    let widened = old.evolve(&views("{a: float64, b: float64, c: string, d: int64}"), Force::No).unwrap();
    let other = widened.evolve(&views("{a: int64, b: float64, c: bool, d: float64}"), Force::Yes).unwrap();
    let read = async |registry: &Registry| {
        let request = FeatureRequest::features(TENANT, refs(&["v:*"]), [id(2), id(1)]);
        request.read(&store(Arc::clone(&backend), registry), registry).await.unwrap()
    };
    let table = read(&widened).await;
    assert_eq!(values(&table, 0), [FeatureValue::Null, 7.0.into()]);
    assert_eq!(values(&table, 1)[1], 0.5.into());
    assert!(table.errors().is_empty());

    let table = read(&other).await;
    assert_eq!(values(&table, 0)[1], 7i64.into());
    assert_eq!(table.columns().nth(2).unwrap().statuses(), [CellStatus::NotFound, CellStatus::Failed]);
    assert_eq!(values(&table, 2)[1], FeatureValue::Null);
    let errors: Vec<_> = table
        .errors()
        .iter()
        .map(|error| (error.row, &*error.view, error.feature.as_deref().unwrap(), error.error.message()))
        .collect();
    let told = |feature, declared, stored| {
        format!(
            "`v:{feature}` is declared {declared}, and what is stored is {stored}: write it again, or declare \
             it as it is stored"
        )
    };
    assert_eq!(
        errors,
        [(1, "v", "c", &*told("c", "bool", "string")), (1, "v", "d", &*told("d", "float64", "int64"))]
    );
}

#[tokio::test]
async fn rows_that_fail_or_come_from_a_fallback_are_told() {
    let registry = registry();
    let lost = Error::new(ErrorKind::Unavailable, "connection refused");
    // The first record read is that of device a.
    let backend = FaultyBackend::new(map_store(), move |call| match call.operation {
        Operation::Get => Fault::FailRow(0, lost.clone()),
        _ => Fault::None,
    });
    let store = store(Arc::new(backend), &registry);
    write(&store, "customers", "id=1", Features::new().with("orders", 3i64), 60).await;
    let request = FeatureRequest::service(TENANT, "fraud", [visit(1, "a"), visit(1, "b"), visit(1, "a")]);
    let mut table = request.read(&store, &registry).await.unwrap();
    let failed = [CellStatus::Failed, CellStatus::NotFound, CellStatus::Failed];
    assert_eq!(table.column("logins").unwrap().statuses(), failed);
    assert_eq!(table.column("devices__country").unwrap().statuses(), failed);
    assert_eq!(table.column("orders").unwrap().statuses(), [CellStatus::Present; 3]);
    let errors: Vec<_> =
        table.errors().iter().map(|e| (e.row, &*e.view, e.feature.as_ref(), e.error.kind())).collect();
    assert_eq!(
        errors,
        [(0, "devices", None, ErrorKind::Unavailable), (2, "devices", None, ErrorKind::Unavailable)]
    );

    let key = |view: &str, entity: &str| {
        RecordKey::new(ViewKey::new(TENANT, view).unwrap(), EntityKey::parse(entity).unwrap())
    };
    assert_eq!(table.from_fallback().count(), 0);
    let others = [RecordKey::new(ViewKey::new("other", "customers").unwrap(), id(1))];
    let served = [key("devices", "device=b|id=1"), key("customers", "id=1"), key("customers", "id=2")];
    table.mark_fallback(&served.into_iter().chain(others).collect::<HashSet<_>>());
    let marked: Vec<_> = table.from_fallback().collect();
    assert_eq!(marked, [("devices", &[1][..]), ("customers", &[0, 1, 2])]);
    let json = serde_json::to_value(&table).unwrap();
    assert_eq!(json["from_fallback"][0], json!({"view": "devices", "rows": [1]}));
    assert_eq!(json["errors"][0]["kind"], "Unavailable");
    assert_eq!(json["columns"][0]["statuses"], json!(["failed", "not_found", "failed"]));
}

/// What a write of the property does: view, entity, age in seconds, and a value for some features.
type Write = (usize, (i64, i64), i64, Vec<Option<FeatureValue>>);

/// Three views over overlapping join keys and names.
const VIEWS: &str = "
feature_views:
- {name: a, entities: [x], features: {p: int64, q: string, r: float64}, max_age: 50s}
- {name: b, entities: [y, x], features: {p: int64, q: string, r: float64}}
- {name: c, entities: [y], features: {p: int64, q: string, r: float64}, max_age: 90s}";

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let value = |index: usize| {
        let value = match index {
            0 => any::<i64>().prop_map(FeatureValue::from).boxed(),
            1 => "[a-z]{0,3}".prop_map(FeatureValue::from).boxed(),
            _ => any::<f64>().prop_map(FeatureValue::from).boxed(),
        };
        proptest::option::of(prop_oneof![4 => value, 1 => Just(FeatureValue::Null)])
    };
    let values = (value(0), value(1), value(2)).prop_map(|(p, q, r)| vec![p, q, r]);
    proptest::collection::vec((0..3usize, (0..3i64, 0..3i64), 0..100i64, values), 0..20)
}

fn entity(view: usize, (x, y): (i64, i64)) -> EntityKey {
    let builder = EntityKey::builder();
    match view {
        0 => builder.with("x", x),
        1 => builder.with("x", x).with("y", y),
        _ => builder.with("y", y),
    }
    .build()
    .unwrap()
}

proptest! {
    #[test]
    fn a_table_is_what_single_reads_give(
        writes in writes(),
        wanted in Just((0..9).collect::<Vec<usize>>()).prop_shuffle(),
        take in 1..10usize,
        rows in proptest::collection::vec((0..4i64, 0..4i64), 0..12),
        max_age in proptest::option::of(0..100u64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let registry = Registry::from_yaml(VIEWS).unwrap();
            let views = ["a", "b", "c"];
            let features = ["p", "q", "r"];
            let store = store(map_store(), &registry);
            for (view, at, age, values) in writes {
                let named = features.iter().zip(values).filter_map(|(name, value)| Some((*name, value?)));
                let named: Features = named.collect();
                if !named.is_empty() {
                    write(&store, views[view], entity(view, at).canonical(), named, age).await;
                }
            }
            let wanted: Vec<(usize, &str)> =
                wanted.into_iter().take(take).map(|n| (n % 3, features[n / 3])).collect();
            let references = wanted.iter().map(|(view, name)| FeatureRef::new(views[*view], *name));
            let mut request =
                FeatureRequest::features(TENANT, references, rows.iter().map(|at| entity(1, *at)));
            let mut single = store.clone();
            if let Some(max_age) = max_age.map(Duration::from_secs) {
                request = request.max_age(max_age);
                single = single.with_max_age(max_age);
            }
            let table = request.read(&store, &registry).await.unwrap();
            assert_eq!(table.columns().len(), wanted.len());
            for (row, at) in rows.iter().enumerate() {
                assert_eq!(table.entities()[row], entity(1, *at));
                for (column, (view, name)) in table.columns().zip(&wanted) {
                    let key = entity(*view, *at);
                    let one = single.read_features(TENANT, views[*view], &key, Some(&[name])).await.unwrap();
                    let status = one.as_ref().map_or(FeatureStatus::NotFound, |one| one.status(name));
                    assert_eq!(column.statuses()[row], status.into());
                    let value = one.as_ref().and_then(|one| one.get(name)).cloned();
                    assert_eq!(*column.values().nth(row).unwrap(), value.unwrap_or(FeatureValue::Null));
                    let time = one.as_ref().and_then(|one| one.event_time(name));
                    assert_eq!(column.event_times().nth(row).unwrap(), time);
                }
            }
        });
    }
}
