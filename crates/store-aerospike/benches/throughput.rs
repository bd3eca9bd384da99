//! Throughput on Aerospike against plain reads and writes of blobs of the same bytes over the same client,
//! and against the layouts with a bin for each feature and with one map of features.
//!
//! The server is the one of `FSTORE_TEST_AEROSPIKE_URL`, or an `asd` of the `PATH`.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on may stop")]

use std::env;
use std::error::Error;
use std::sync::Arc;

use aerospike::{
    BatchOperation, BatchPolicy, BatchReadPolicy, BatchWritePolicy, Bin, Bins, Client, ClientPolicy,
    Expiration, Key, ReadPolicy, Record, Value, operations,
};
use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{EntityKey, OnlineStore, StoreUrl};
use futures::future::{BoxFuture, join_all};
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use store_testkit::bench::{BenchOptions, BenchResult, RawStore, compare, report, throughput};
use store_testkit::servers::{Server, Software, Way};

const TTL_SECONDS: u32 = 86_400;
const BATCH: usize = 100;
/// How many reads each of the tasks in flight makes, one after the other.
const READS: usize = 20;
/// How many entities the other layouts are measured with.
const ENTITIES: usize = 2_000;

#[derive(Clone)]
struct Raw {
    client: Client,
    namespace: Arc<str>,
}

impl Raw {
    fn key(&self, set: &str, key: &str) -> Key {
        Key::new(&*self.namespace, set, Value::from(key)).expect("a key")
    }

    async fn batch(&self, mut operations: Vec<BatchOperation>) -> Vec<Record> {
        let mut policy = BatchPolicy::default();
        policy.base_policy.total_timeout = 5_000;
        self.client.batch(&policy, &mut operations).await.expect("a batch");
        operations.iter_mut().map(|row| row.take_record().expect("a row")).collect()
    }

    async fn read(&self, set: &str, keys: &[String]) -> Vec<Record> {
        let policy = BatchReadPolicy::default();
        let read = |key: &String| BatchOperation::read(&policy, self.key(set, key), Bins::All);
        self.batch(keys.iter().map(read).collect()).await
    }

    async fn write(&self, set: &str, rows: impl Iterator<Item = (String, Vec<Bin>)>) {
        let policy =
            BatchWritePolicy { expiration: Expiration::Seconds(TTL_SECONDS), ..BatchWritePolicy::default() };
        let write = |(key, bins): (String, Vec<Bin>)| {
            let puts: Vec<_> = bins.iter().map(operations::put).collect();
            BatchOperation::write(&policy, self.key(set, &key), puts)
        };
        self.batch(rows.map(write).collect()).await;
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let mut policy = ReadPolicy::default();
        policy.base_policy.total_timeout = 5_000;
        blob(self.client.get(&policy, &self.key("raw", key), Bins::All).await.expect("a read"))
    }
}

fn blob(mut record: Record) -> Vec<u8> {
    let value = record.bins.swap_remove("v").expect("the bin");
    Vec::try_from(value).expect("a blob")
}

#[async_trait]
impl RawStore for Raw {
    async fn get(&self, keys: &[String]) -> Vec<Vec<u8>> {
        match keys {
            [key] => vec![self.get(key).await],
            keys => self.read("raw", keys).await.into_iter().map(blob).collect(),
        }
    }

    async fn put(&self, rows: &[(String, Bytes)]) {
        let blob = |(key, value): &'_ (String, Bytes)| (key.clone(), Value::Blob(value.to_vec()));
        let rows: Vec<_> = rows.iter().map(blob).collect();
        self.write("raw", rows.into_iter().map(|(key, value)| (key, vec![Bin::new("v", value)]))).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    let way = if env::var_os("FSTORE_TEST_AEROSPIKE_URL").is_some() { Way::Address } else { Way::Process };
    let server = Server::start(Software::Aerospike, way).await?;
    let config = AerospikeConfig::from_url(&StoreUrl::parse(server.url())?)?;
    let hosts: Vec<String> = config.hosts.iter().map(|(name, port)| format!("{name}:{port}")).collect();
    let policy = ClientPolicy {
        min_conns_per_node: config.min_connections,
        max_conns_per_node: config.max_connections,
        ..ClientPolicy::default()
    };
    let client = Client::new(&policy, &hosts.join(",")).await?;
    let raw = Raw { client, namespace: config.namespace.as_str().into() };
    let store = OnlineStore::new(Arc::new(AerospikeOnlineStore::connect(config).await?));

    let mut results = throughput(&options, &store, &raw).await?;
    for in_flight in [16, 64] {
        results.push(single_reads(&options, &store, &raw, in_flight).await);
    }
    for (layout, name) in
        [(Layout::Bins, "batch_read_100x50_to_bins"), (Layout::Map, "batch_read_100x50_to_map")]
    {
        results.push(other_layout(&options, &store, &raw, layout, name).await);
    }
    report(&options, "aerospike", &results)?;
    store.close().await?;
    raw.client.close().await?;
    server.stop().await;
    Ok(())
}

/// The entities that [`throughput`] has written.
fn entity(number: usize) -> EntityKey {
    EntityKey::new("customer_id", (number % ENTITIES) as u64).expect("an entity key")
}

/// Reads of single records by many tasks at once.
async fn single_reads(
    options: &BenchOptions,
    store: &OnlineStore,
    raw: &Raw,
    in_flight: usize,
) -> BenchResult {
    let numbers = move |call: usize, task: usize| {
        let first = (call.wrapping_mul(in_flight) + task).wrapping_mul(7_919);
        (0..READS).map(move |read| first.wrapping_add(read * 31))
    };
    let ours = |call| -> BoxFuture<'_, ()> {
        let task = move |task| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in numbers(call, task) {
                    let row = store.read_features("bench", "wide", &entity(number), None).await;
                    assert!(matches!(row, Ok(Some(_))), "{row:?}");
                }
            })
        };
        Box::pin(async move {
            join_all((0..in_flight).map(task)).await.into_iter().for_each(|task| task.expect("a task"));
        })
    };
    let plain = |call| -> BoxFuture<'_, ()> {
        let task = move |task| {
            let raw = raw.clone();
            tokio::spawn(async move {
                for number in numbers(call, task) {
                    assert!(!raw.get(&format!("raw:bench:wide:{}", entity(number))).await.is_empty());
                }
            })
        };
        Box::pin(async move {
            join_all((0..in_flight).map(task)).await.into_iter().for_each(|task| task.expect("a task"));
        })
    };
    compare(options, &format!("read_1x50_{in_flight}_in_flight"), in_flight * READS, ours, plain).await
}

/// How others keep features.
#[derive(Clone, Copy)]
enum Layout {
    Bins,
    Map,
}

impl Layout {
    fn set(self) -> &'static str {
        match self {
            Self::Bins => "raw_bins",
            Self::Map => "raw_map",
        }
    }

    fn bins(self, seed: usize) -> Vec<Bin> {
        let name = |feature| format!("feature_{feature:02}");
        let value = |feature| Value::from((seed * 31 + feature) as f64 * 0.618_033_988_75);
        match self {
            Self::Bins => (0..50).map(|feature| Bin::new(name(feature), value(feature))).collect(),
            Self::Map => {
                let pairs = (0..50).map(|feature| (Value::from(name(feature)), value(feature)));
                vec![Bin::new("features", Value::SortedMap(pairs.collect()))]
            }
        }
    }
}

/// Our batch reads against those of another layout, with values ready to be used on both sides.
async fn other_layout(
    options: &BenchOptions,
    store: &OnlineStore,
    raw: &Raw,
    layout: Layout,
    name: &str,
) -> BenchResult {
    let keys: Vec<String> = (0..ENTITIES).map(|number| format!("customer_id={number}")).collect();
    for (chunk, keys) in keys.chunks(BATCH).enumerate() {
        let row = |(at, key): (usize, &String)| (key.clone(), layout.bins(chunk * BATCH + at));
        raw.write(layout.set(), keys.iter().enumerate().map(row)).await;
    }
    let start = |call: usize| call.wrapping_mul(7_919) * BATCH % (ENTITIES - BATCH);
    let entities: Vec<EntityKey> = (0..ENTITIES).map(entity).collect();
    let (keys, entities) = (&keys, &entities);
    let ours = |call| -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let entities = &entities[start(call)..][..BATCH];
            let rows = store.batch_read("bench", "wide", entities, None).await;
            assert!(rows.is_ok_and(|rows| rows.iter().all(|row| matches!(row, Ok(Some(_))))));
        })
    };
    let theirs = |call| -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let rows = raw.read(layout.set(), &keys[start(call)..][..BATCH]).await;
            assert!(rows.iter().all(|row| !row.bins.is_empty()));
        })
    };
    compare(options, name, BATCH, ours, theirs).await
}
