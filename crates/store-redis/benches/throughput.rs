//! Throughput on Redis against plain `MGET` and pipelined `SET … PX` of the same bytes over the same client,
//! against a hash with a field for each feature, and on a cluster; memory for each record of both layouts.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on may stop")]

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{EntityKey, FeatureWrite, Features, OnlineStore, Ttl};
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo};
use store_redis::RedisOnlineStore;
use store_testkit::bench::{BenchOptions, BenchResult, RawStore, compare, report, throughput};
use store_testkit::servers::{RedisCluster, RedisOptions, Server};

const TTL_MS: u64 = 86_400_000;

/// An application that stores opaque bytes itself.
struct Plain(MultiplexedConnection);

#[async_trait]
impl RawStore for Plain {
    async fn get(&self, keys: &[String]) -> Vec<Vec<u8>> {
        redis::cmd("MGET").arg(keys).query_async(&mut self.0.clone()).await.expect("a read")
    }

    async fn put(&self, rows: &[(String, Bytes)]) {
        let mut pipeline = redis::pipe();
        for (key, value) in rows {
            pipeline.cmd("SET").arg(key).arg(&value[..]).arg("PX").arg(TTL_MS).ignore();
        }
        pipeline.exec_async(&mut self.0.clone()).await.expect("a write");
    }
}

/// An application that stores each feature in a field of a hash: 50 fields of 9 bytes, which is a tag and a
/// float.
struct Hash(MultiplexedConnection);

fn field(number: usize) -> String {
    format!("feature_{number:02}")
}

#[async_trait]
impl RawStore for Hash {
    async fn get(&self, keys: &[String]) -> Vec<Vec<u8>> {
        let mut pipeline = redis::pipe();
        for key in keys {
            let read = pipeline.cmd("HMGET").arg(format!("hash:{key}"));
            for number in 0..50 {
                read.arg(field(number));
            }
        }
        let rows: Vec<Vec<Vec<u8>>> = pipeline.query_async(&mut self.0.clone()).await.expect("a read");
        rows.into_iter().map(|values| values.concat()).collect()
    }

    async fn put(&self, rows: &[(String, Bytes)]) {
        let mut pipeline = redis::pipe();
        for (key, _) in rows {
            let key = format!("hash:{key}");
            let write = pipeline.cmd("HSET").arg(&key);
            for number in 0..50u64 {
                let mut value = [5; 9];
                value[1..].copy_from_slice(&(number as f64 * 0.618).to_be_bytes());
                write.arg(field(number as usize)).arg(&value[..]);
            }
            pipeline.cmd("PEXPIRE").arg(&key).arg(TTL_MS);
        }
        pipeline.exec_async(&mut self.0.clone()).await.expect("a write");
    }
}

async fn client(server: &Server) -> Result<MultiplexedConnection, Box<dyn Error>> {
    let sockets = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let client = redis::Client::open(server.url().into_connection_info()?.set_tcp_settings(sockets))?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

async fn store(url: &str) -> Result<OnlineStore, feature_core::Error> {
    Ok(OnlineStore::new(Arc::new(RedisOnlineStore::open(url).await?)))
}

fn features() -> Features {
    (0..50).map(|number| (field(number), number as f64 * 0.618)).collect()
}

/// Writes 50 features of each entity, for a day.
async fn fill(store: &OnlineStore, entities: &[EntityKey]) -> Result<(), feature_core::Error> {
    for entities in entities.chunks(1_000) {
        let write = |entity: &EntityKey| {
            FeatureWrite::new(entity.clone(), features()).with_ttl(Ttl::from_secs(TTL_MS / 1_000))
        };
        store.batch_write("bench", "wide", entities.iter().map(write)).await?.into_result()?;
    }
    Ok(())
}

/// What so many records add to a server's memory, in bytes for each.
async fn memory(server: &Server, entities: &[EntityKey], hash: bool) -> Result<f64, Box<dyn Error>> {
    let used = async || -> Result<f64, Box<dyn Error>> {
        let info = server.command(&["INFO", "memory"]).await?;
        let line = info.text().lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(line.unwrap_or_default().trim().parse()?)
    };
    server.command(&["FLUSHALL", "SYNC"]).await?;
    let before = used().await?;
    if hash {
        let keys = entities.iter().map(|entity| (format!("feast:bench:wide:{entity}"), Bytes::new()));
        let raw = Hash(client(server).await?);
        for rows in keys.collect::<Vec<_>>().chunks(1_000) {
            raw.put(rows).await;
        }
    } else {
        fill(&store(server.url()).await?, entities).await?;
    }
    Ok((used().await? - before) / entities.len() as f64)
}

/// Batches of 100 spread over three nodes, against batches of 100 that one of them has.
async fn cluster(options: &BenchOptions) -> Result<BenchResult, Box<dyn Error>> {
    let cluster = RedisCluster::start(3, 0).await?;
    let store = store(&cluster.url()).await?;
    let entities = entities(6_000)?;
    fill(&store, &entities).await?;
    // The first node has the first third of the slots.
    let on_first = |entity: &&EntityKey| {
        let key = format!("feast:bench:wide:{entity}");
        crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % 16_384 < 16_384 / 3
    };
    let first: Vec<EntityKey> = entities.iter().filter(on_first).cloned().collect();
    let read = |entities: &[EntityKey], call: usize| -> BoxFuture<'_, ()> {
        let start = call * 100 % (entities.len() - 100);
        let (store, entities) = (store.clone(), entities[start..start + 100].to_vec());
        Box::pin(async move {
            let rows = store.batch_read("bench", "wide", &entities, None).await;
            assert!(rows.is_ok_and(|rows| rows.iter().all(|row| matches!(row, Ok(Some(_))))));
        })
    };
    let name = "batch_read_100x50";
    let result = compare(options, name, 100, |call| read(&entities, call), |call| read(&first, call)).await;
    cluster.stop().await;
    Ok(result)
}

fn entities(count: u64) -> Result<Vec<EntityKey>, feature_core::Error> {
    (0..count).map(|number| EntityKey::new("customer_id", number)).collect()
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let ours = store(server.url()).await?;
    let results = throughput(&options, &ours, &Plain(client(&server).await?)).await?;
    report(&options, "redis, against plain MGET and SET", &results)?;

    let batches = BenchOptions { filter: Some("100x50".to_owned()), json: None, ..options.clone() };
    if options.filter.is_none() || options.wants("100x50") {
        // The same writes again would be too late to count.
        server.command(&["FLUSHALL", "SYNC"]).await?;
        let results = throughput(&batches, &ours, &Hash(client(&server).await?)).await?;
        report(&batches, "redis, against HMGET and HSET of a field for each feature", &results)?;
    }
    if options.wants("cluster") {
        report(&batches, "redis cluster, three nodes against one of them", &[cluster(&options).await?])?;
    }
    if options.wants("memory") {
        let entities = entities(20_000)?;
        let record = memory(&server, &entities, false).await?;
        let hash = memory(&server, &entities, true).await?;
        println!(
            "memory of a record of 50 features: {record:.0} bytes, {hash:.0} as a hash ({:.2})",
            record / hash
        );
    }
    server.stop().await;
    Ok(())
}
