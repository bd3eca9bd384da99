//! What the unified store costs, and how it serves when a store stands still, stalls, or is crowded.
//!
//! Throughput is compared with the plain handle in the same run. The rest are shares and percentiles of
//! latencies, with and without the remedy in the same run.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark reports, and ends where it cannot")]

mod latency;

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use arrow_buffer::NullBuffer;
use feature_core::{
    EntityKey, FeatureView, FeatureWrite, Features, OnlineStore, OnlineStoreBackend, Result, ViewRead,
};
use latency::{crowded, stalls, stopped};
use store_embedded::EmbeddedOnlineStore;
use store_testkit::bench::{BenchOptions, BenchResult, compare, report};
use store_unified::{
    CellStatus, ColumnSlice, FeatureColumn, FeatureRequest, FeatureService, FeatureTable, Registry,
    StoreRule, UnifiedFeatureStore,
};

const TENANT: &str = "bench";
const ENTITIES: usize = 5_000;
const BATCH: usize = 100;
const VIEWS: usize = 5;

fn main() {
    let Some(options) = BenchOptions::from_args() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let results = overhead(&options).await.expect("the store works");
        if !results.is_empty() {
            report(&options, "unified, against the plain handle", &results).expect("the file is written");
        }
        if options.wants("stalls") {
            stalls(options.quick).await.expect("the store works");
        }
        for (name, outcome) in [
            ("stopped", if options.wants("stopped") { stopped(options.quick).await } else { Ok(()) }),
            ("crowded", if options.wants("crowded") { crowded(options.quick).await } else { Ok(()) }),
        ] {
            if let Err(why) = outcome {
                println!("{name}: not measured: {why}");
            }
        }
    });
}

fn entities() -> Result<Vec<EntityKey>> {
    (0..ENTITIES).map(|n| EntityKey::new("customer_id", n as u64)).collect()
}

fn features(view: usize, n: usize, seed: usize) -> Features {
    (0..n).map(|i| (format!("v{view}_feature_{i:02}"), (seed * 31 + i) as f64)).collect()
}

/// One view of 50 features, and five of ten each.
async fn fill(store: &OnlineStore, entities: &[EntityKey]) -> Result<()> {
    for (number, entities) in entities.chunks(1_000).enumerate() {
        let writes = |view: usize, n: usize| {
            let row = move |(i, key): (usize, &EntityKey)| {
                FeatureWrite::new(key.clone(), features(view, n, number * 1_000 + i))
            };
            entities.iter().enumerate().map(row).collect::<Vec<_>>()
        };
        store.batch_write(TENANT, "wide", writes(0, 50)).await?.into_result()?;
        for view in 0..VIEWS {
            store.batch_write(TENANT, &format!("view_{view}"), writes(view, 10)).await?.into_result()?;
        }
    }
    Ok(())
}

fn registry() -> Result<Registry> {
    let view = |name: String, features: Features| FeatureView {
        name,
        description: String::new(),
        entities: vec!["customer_id".to_owned()],
        features: features
            .iter()
            .map(|(name, _)| (name.to_owned(), feature_core::ValueType::Float64))
            .collect(),
        ttl: None,
        max_age: None,
    };
    let all = (0..VIEWS).map(|number| view(format!("view_{number}"), features(number, 10, 0)));
    let service = (0..VIEWS).map(|number| format!("view_{number}:*").parse());
    Registry::builder()
        .views(all)
        .view(view("wide".to_owned(), features(0, 50, 0)))
        .service(FeatureService::new("all", service.collect::<Result<Vec<_>>>()?))
        .build()
}

/// As who hands a table on does it: the floats of each column are copied once.
fn record_batch(table: &FeatureTable) -> RecordBatch {
    fn named(column: FeatureColumn<'_>) -> (&str, ArrayRef) {
        let ColumnSlice::Floats(floats) = column.as_slice() else { unreachable!("all are declared float64") };
        let present = |status: &CellStatus| *status == CellStatus::Present;
        let nulls = (!column.statuses().iter().all(present))
            .then(|| column.statuses().iter().map(present).collect::<NullBuffer>());
        let array: ArrayRef = Arc::new(Float64Array::new(floats.to_vec().into(), nulls));
        (column.name(), array)
    }
    RecordBatch::try_from_iter(table.columns().map(named)).expect("columns of one length")
}

async fn overhead(options: &BenchOptions) -> Result<Vec<BenchResult>> {
    let backend: Arc<dyn OnlineStoreBackend> = Arc::new(EmbeddedOnlineStore::in_memory()?);
    let plain = OnlineStore::new(Arc::clone(&backend));
    let entities = entities()?;
    fill(&plain, &entities).await?;
    let unified = |observed| {
        UnifiedFeatureStore::builder()
            .store(StoreRule::new("main", Arc::clone(&backend)))
            .registry(registry()?)
            .observed(observed)
            .build()
    };
    let start = |call: usize| call.wrapping_mul(7_919) * BATCH % (entities.len() - BATCH);
    let mut results = Vec::new();
    for (name, observed) in [("batch_read_100x50", false), ("batch_read_100x50_observed", true)] {
        if options.wants(name) {
            let unified = unified(observed)?;
            let (unified, plain, entities) = (&unified, &plain, &entities);
            let ours = |call| -> futures::future::BoxFuture<'_, ()> {
                let keys = &entities[start(call)..start(call) + BATCH];
                Box::pin(async move {
                    let rows = unified.batch_read(TENANT, "wide", keys, None).await;
                    assert!(rows.is_ok_and(|rows| rows.iter().all(|row| matches!(row, Ok(Some(_))))));
                })
            };
            let raw = |call| -> futures::future::BoxFuture<'_, ()> {
                let keys = &entities[start(call)..start(call) + BATCH];
                Box::pin(async move {
                    let rows = plain.batch_read(TENANT, "wide", keys, None).await;
                    assert!(rows.is_ok_and(|rows| rows.iter().all(|row| matches!(row, Ok(Some(_))))));
                })
            };
            results.push(compare(options, name, BATCH, ours, raw).await);
        }
    }
    for (name, arrow) in [("request_100x5views_x10", false), ("request_100x5views_x10_to_arrow", true)] {
        if !options.wants(name) {
            continue;
        }
        let unified = unified(false)?;
        let names: Vec<String> = (0..VIEWS).map(|number| format!("view_{number}")).collect();
        let (unified, plain, entities, names) = (&unified, &plain, &entities, &names);
        let ours = |call| -> futures::future::BoxFuture<'_, ()> {
            let keys = entities[start(call)..start(call) + BATCH].to_vec();
            let request = FeatureRequest::service(TENANT, "all", keys);
            Box::pin(async move {
                let table = unified.read(&request).await.expect("the store works");
                assert!(table.columns().len() == 50 && table.errors().is_empty());
                if arrow {
                    assert_eq!(record_batch(&table).num_rows(), BATCH);
                }
            })
        };
        let raw = |call| -> futures::future::BoxFuture<'_, ()> {
            let entity_keys = &entities[start(call)..start(call) + BATCH];
            Box::pin(async move {
                let read = |view| ViewRead { feature_view: view, entity_keys, feature_names: None };
                let reads: Vec<_> = names.iter().map(|name| read(name)).collect();
                assert!(plain.read_views(TENANT, &reads).await.is_ok());
            })
        };
        results.push(compare(options, name, BATCH * VIEWS, ours, raw).await);
    }
    Ok(results)
}
