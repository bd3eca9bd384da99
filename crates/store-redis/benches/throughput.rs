//! Throughput on Redis against plain pipelined `MGET` and `SET … PX` of the same bytes over the same
//! client, and against a hash with a field for each feature.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on may stop")]

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::OnlineStore;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, IntoConnectionInfo};
use store_redis::RedisOnlineStore;
use store_testkit::bench::{BenchOptions, RawStore, report, throughput};
use store_testkit::servers::{Server, Software, Way};

const TTL_MS: u64 = 86_400_000;

struct Raw(MultiplexedConnection);

#[async_trait]
impl RawStore for Raw {
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    let server = Server::start(Software::Redis, Way::Process).await?;
    let store = OnlineStore::new(Arc::new(
        RedisOnlineStore::open(&format!("{}?{}", server.url(), std::env::var("X").unwrap_or_default()))
            .await?,
    ));
    let sockets = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let client = redis::Client::open(server.url().into_connection_info()?.set_tcp_settings(sockets))?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let raw = Raw(client.get_multiplexed_async_connection_with_config(&config).await?);
    let results = throughput(&options, &store, &raw).await?;
    report(&options, "redis", &results)?;
    server.stop().await;
    Ok(())
}
