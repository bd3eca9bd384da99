//! The handle over several stores: what it refuses, where it sends things, and what it says of the answer.
#![allow(clippy::unwrap_used, reason = "every function here is a test's")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use feature_core::{
    EntityKey, Error, ErrorKind, FeatureWrite, OnlineStore, OnlineStoreBackend, PurgeProgress, SYSTEM_TENANT,
    Scope, SystemClock,
};
use futures::TryStreamExt;
use metrics_util::CompositeKey;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use store_testkit::{Fault, FaultyBackend, MapStore, Operation};
use store_unified::{
    CacheSettings, CellStatus, CircuitSettings, Destination, FallbackSettings, FeatureRequest, Quota,
    Registry, RouteRule, StoreRule, TenantRule, UnifiedFeatureStore,
};

const VIEWS: &str = "
feature_views:
- {name: customers, entities: [customer], features: {orders: int64, country: string}}
- {name: merchants, entities: [merchant], features: {risk: float64, country: string}}
feature_services:
- {name: fraud, features: ['customers:*', 'merchants:*']}";

fn map() -> Arc<dyn OnlineStoreBackend> {
    Arc::new(MapStore::new(Arc::new(SystemClock)))
}

/// A store that is down while the switch is on.
fn switched(inner: Arc<dyn OnlineStoreBackend>) -> (Arc<FaultyBackend>, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&down);
    let script = move |_| match switch.load(Ordering::Relaxed) {
        true => Fault::Fail(Error::new(ErrorKind::Unavailable, "down")),
        false => Fault::None,
    };
    (Arc::new(FaultyBackend::new(inner, script)), down)
}

fn route(tenant: &str, view: &str, to: Destination) -> RouteRule {
    RouteRule { tenant: tenant.parse().unwrap(), view: view.parse().unwrap(), to }
}

fn id(name: &str, value: &str) -> EntityKey {
    EntityKey::new(name, value).unwrap()
}

#[test]
fn everything_that_is_wrong_with_the_rules_is_in_one_error() {
    let own_fallback = Destination::new("a").with_fallback("a", FallbackSettings::default());
    let no_fallback = Destination::new("a").with_fallback("d", FallbackSettings::default());
    let error = UnifiedFeatureStore::builder()
        .store(StoreRule::new("a", map()))
        .store(StoreRule::new("a", map()))
        .store(StoreRule::new("", map()))
        .route(route("acme", "*", Destination::new("c")))
        .route(route("*", "customers", own_fallback))
        .route(route("*", "*", no_fallback))
        .build()
        .unwrap_err();
    for part in [
        "store `a` is named twice",
        "a store has an empty name",
        "several stores: say which is the default",
        "route acme:*: there is no store `c`",
        "route *:customers: store `a` is its own fallback",
        "route *:*: there is no store `d`",
    ] {
        assert!(error.message().contains(part), "{part} in {error}");
    }
    let error = UnifiedFeatureStore::builder().build().unwrap_err();
    assert_eq!(error.message(), "there is no store");
}

#[tokio::test]
async fn only_declared_views_and_never_the_reserved_tenant() {
    let store = UnifiedFeatureStore::builder().store(StoreRule::new("a", map())).build().unwrap();
    let key = id("customer", "1");
    assert!(store.write_features("acme", "any", &key, [("x", 1)], None, None).await.is_ok());
    let refused = store.write_features(SYSTEM_TENANT, "any", &key, [("x", 1)], None, None).await;
    assert!(refused.unwrap_err().message().contains("reserved"));
    let scope = Scope::tenant(SYSTEM_TENANT).unwrap();
    assert!(store.purge(&scope, &PurgeProgress::default()).await.is_err());
    // What the software itself has put there is not data.
    let direct = OnlineStore::new(Arc::clone(store.online().backend()));
    direct.write_features(SYSTEM_TENANT, "any", &key, [("x", 1)], None, None).await.unwrap();
    assert_eq!(store.scan(&Scope::Store).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let request = FeatureRequest::features("acme", ["any:x".parse().unwrap()], [key.clone()]);
    assert!(store.read(&request).await.unwrap_err().message().contains("registry"));

    let registry = Registry::from_yaml(VIEWS).unwrap();
    let store =
        UnifiedFeatureStore::builder().store(StoreRule::new("a", map())).registry(registry).build().unwrap();
    let refused = store.write_features("acme", "any", &key, [("x", 1)], None, None).await.unwrap_err();
    assert!(refused.message().contains("not declared; declared are customers, merchants"), "{refused}");
    let refused = store.write_features("acme", "customers", &key, [("orders", "many")], None, None).await;
    assert!(refused.unwrap_err().message().contains("`orders` is int64"));
    // The handle under it takes no other names.
    for (tenant, view, why) in [(SYSTEM_TENANT, "customers", "reserved"), ("acme", "any", "not declared")] {
        let online = store.online();
        let written = online.write_features(tenant, view, &key, [("orders", 1)], None, None).await.err();
        let read = online.batch_read(tenant, view, std::slice::from_ref(&key), None).await.err();
        let deleted = online.delete(tenant, view, std::slice::from_ref(&key)).await.err();
        for error in [written, read, deleted] {
            assert!(error.unwrap().message().contains(why));
        }
    }
    let system = Scope::view(SYSTEM_TENANT, "customers").unwrap();
    assert!(store.online().purge(&system).await.unwrap_err().message().contains("reserved"));
}

#[tokio::test]
async fn a_request_over_two_stores_says_which_rows_the_fallback_has_served() {
    let (first, down) = switched(map());
    let second = map();
    let fallback = Destination::new("first").with_fallback("second", FallbackSettings::default());
    let store = UnifiedFeatureStore::builder()
        .store(StoreRule::new("first", first.clone()))
        .store(StoreRule::new("second", second.clone()))
        .store(StoreRule::new("third", map()))
        .route(route("acme", "customers", fallback))
        .default_destination(Destination::new("third"))
        .registry(Registry::from_yaml(VIEWS).unwrap())
        .build()
        .unwrap();
    let decision = store.route("acme", "customers").unwrap();
    assert_eq!((decision.rule, &*decision.to.store), (Some(0), "first"));
    assert_eq!(
        (store.route("acme", "merchants").unwrap().rule, store.route("b", "customers").unwrap().rule),
        (None, None)
    );

    let customers = [("1", 10), ("2", 20)]
        .map(|(customer, orders)| FeatureWrite::new(id("customer", customer), [("orders", orders)]));
    assert_eq!(store.batch_write("acme", "customers", customers.clone()).await.unwrap().applied(), 2);
    // The second store is kept by something else, and has one of them.
    let kept = OnlineStore::new(second);
    kept.batch_write("acme", "customers", customers.into_iter().take(1)).await.unwrap();
    let merchant = FeatureWrite::new(id("merchant", "m"), [("risk", 0.5)]);
    assert_eq!(store.batch_write("acme", "merchants", [merchant]).await.unwrap().applied(), 1);

    let entity = |customer: &str| {
        EntityKey::builder().with("customer", customer).with("merchant", "m").build().unwrap()
    };
    let request = FeatureRequest::service("acme", "fraud", ["1", "2"].map(entity));
    let orders = |table: &store_unified::FeatureTable| table.column("orders").unwrap().statuses().to_vec();

    let table = store.read(&request).await.unwrap();
    assert_eq!(table.from_fallback().count(), 0);
    assert_eq!(orders(&table), [CellStatus::Present; 2]);

    down.store(true, Ordering::Relaxed);
    let table = store.read(&request).await.unwrap();
    // That there is nothing was the fallback's word, too.
    assert_eq!(table.from_fallback().collect::<Vec<_>>(), [("customers", &[0, 1][..])]);
    assert_eq!(orders(&table), [CellStatus::Present, CellStatus::NotFound]);
    assert_eq!(table.column("risk").unwrap().statuses(), [CellStatus::Present; 2]);
    let written =
        store.write_features("acme", "customers", &id("customer", "1"), [("orders", 11)], None, None).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Unavailable);

    down.store(false, Ordering::Relaxed);
    assert_eq!(store.read(&request).await.unwrap().from_fallback().count(), 0);
}

#[tokio::test]
async fn a_store_has_one_circuit_whatever_route_leads_to_it() {
    let (first, down) = switched(map());
    let second = map();
    let circuit = CircuitSettings { in_a_row: 3, ..CircuitSettings::default() };
    let with_fallback = Destination::new("first").with_fallback("second", FallbackSettings::default());
    let store = UnifiedFeatureStore::builder()
        .store(StoreRule { circuit: Some(circuit), ..StoreRule::new("first", first.clone()) })
        .store(StoreRule::new("second", second))
        .route(route("acme", "*", with_fallback))
        .default_destination(Destination::new("first"))
        .build()
        .unwrap();
    down.store(true, Ordering::Relaxed);
    let key = id("customer", "1");
    for _ in 0..5 {
        assert_eq!(store.read_features("acme", "v", &key, None).await.unwrap(), None);
        assert!(store.read_features("other", "v", &key, None).await.is_err());
    }
    assert_eq!(first.count(Operation::Get), 3);
    assert!(store.check().await.unwrap().warnings[0].starts_with("first does not answer"));
}

#[tokio::test]
async fn what_a_fallback_gives_is_marked_through_the_cache_and_not_kept_in_it() {
    let (first, down) = switched(map());
    let second = map();
    let fallback = Destination::new("first").with_fallback("second", FallbackSettings::default());
    let store = UnifiedFeatureStore::builder()
        .store(StoreRule::new("first", first.clone()))
        .store(StoreRule::new("second", second))
        .default_destination(fallback)
        .cache(CacheSettings { ttl: Some(Duration::from_secs(60)), ..CacheSettings::default() })
        .registry(Registry::from_yaml(VIEWS).unwrap())
        .build()
        .unwrap();
    let keys = [id("customer", "1"), id("customer", "2")];
    let write = FeatureWrite::new(keys[0].clone(), [("orders", 10)]);
    assert_eq!(store.batch_write("acme", "customers", [write]).await.unwrap().applied(), 1);
    let request = FeatureRequest::features("acme", ["customers:orders".parse().unwrap()], keys);
    down.store(true, Ordering::Relaxed);
    // Two at once, of which one joins the other's read.
    for table in futures::future::join_all([store.read(&request), store.read(&request)]).await {
        let table = table.unwrap();
        assert_eq!(table.from_fallback().collect::<Vec<_>>(), [("customers", &[0, 1][..])]);
        assert_eq!(table.column("orders").unwrap().statuses(), [CellStatus::NotFound; 2]);
    }
    down.store(false, Ordering::Relaxed);
    let mut reads = Vec::new();
    for _ in 0..2 {
        let table = store.read(&request).await.unwrap();
        assert_eq!(table.from_fallback().count(), 0);
        assert_eq!(table.column("orders").unwrap().statuses(), [CellStatus::Present, CellStatus::NotFound]);
        reads.push(first.count(Operation::Get));
    }
    assert_eq!(reads[0], reads[1], "the second is the cache's");
}

#[test]
fn requests_are_counted_by_class_of_tenant_and_stores_by_name_unless_that_is_off() {
    for observed in [true, false] {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let gold = TenantRule {
                tenant: "acme-*".parse().unwrap(),
                class: "gold".to_owned(),
                quota: Quota::default(),
            };
            let store = UnifiedFeatureStore::builder()
                .store(StoreRule::new("main", map()))
                .tenants(gold)
                .registry(Registry::from_yaml(VIEWS).unwrap())
                .observed(observed)
                .build()
                .unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let key = id("customer", "1");
                store
                    .write_features("acme-eu", "customers", &key, [("orders", 1)], None, None)
                    .await
                    .unwrap();
                store.read_features("acme-eu", "customers", &key, None).await.unwrap();
                store.read_features("other", "customers", &key, None).await.unwrap();
                // So are those of code that takes any handle, and a model's request is one, not two.
                let any_handle = async |store: &OnlineStore| {
                    store.read_features("other", "customers", &key, None).await.unwrap();
                    store.delete("other", "customers", std::slice::from_ref(&key)).await.unwrap();
                };
                any_handle(&store).await;
                let wanted = ["customers:orders".parse().unwrap()];
                store.read(&FeatureRequest::features("acme-eu", wanted, [key.clone()])).await.unwrap();
            });
        });
        let counters = snapshotter.snapshot().into_vec();
        let counted = |name: &str, labels: &[(&str, &str)]| -> u64 {
            let count = |(key, _, _, value): &(CompositeKey, _, _, DebugValue)| {
                let has = |(name, value): &(&str, &str)| {
                    key.key().labels().any(|label| label.key() == *name && label.value() == *value)
                };
                match value {
                    DebugValue::Counter(n) if key.key().name() == name && labels.iter().all(has) => *n,
                    _ => 0,
                }
            };
            counters.iter().map(count).sum()
        };
        let times = |n: u64| if observed { n } else { 0 };
        let requests = |class, operation| {
            let labels = [("class", class), ("operation", operation), ("status", "ok")];
            counted("fstore_requests_total", &labels)
        };
        assert_eq!([requests("gold", "read"), requests("gold", "write")], [times(2), times(1)]);
        assert_eq!([requests("default", "read"), requests("default", "delete")], [times(2), times(1)]);
        assert_eq!(counted("fstore_store_calls_total", &[("store", "main"), ("operation", "get")]), times(4));
    }
}

#[tokio::test]
async fn a_request_of_five_views_is_one_call_on_the_store() {
    let view = |number: usize| {
        let features: Vec<String> = (0..10).map(|feature| format!("f{feature}: int64")).collect();
        format!("- {{name: v{number}, entities: [id], features: {{{}}}}}\n", features.join(", "))
    };
    let views: String = (0..5).map(view).collect();
    let service = "- {name: all, features: ['v0:*', 'v1:*', 'v2:*', 'v3:*', 'v4:*']}";
    let registry =
        Registry::from_yaml(&format!("feature_views:\n{views}feature_services:\n{service}")).unwrap();
    let counting = Arc::new(FaultyBackend::counting(map()));
    let store = UnifiedFeatureStore::builder()
        .store(StoreRule::new("main", counting.clone()))
        .registry(registry)
        .build()
        .unwrap();
    let entities: Vec<EntityKey> = (0..100).map(|n| id("id", &n.to_string())).collect();
    for number in 0..5 {
        let writes = entities.iter().map(|entity| FeatureWrite::new(entity.clone(), [("f0", number)]));
        let report = store.batch_write("acme", &format!("v{number}"), writes).await.unwrap();
        assert_eq!(report.applied(), 100);
    }
    let table = store.read(&FeatureRequest::service("acme", "all", entities)).await.unwrap();
    assert_eq!((table.len(), table.columns().len()), (100, 50));
    assert_eq!(table.column("v4__f0").unwrap().values().nth(99).as_deref(), Some(&4i64.into()));
    assert_eq!(counting.count(Operation::Get), 1);
}
