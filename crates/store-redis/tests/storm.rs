//! Eight writers and a million writes in shuffled order, and merges of disjoint features among them: every
//! final value is the newest, and none is missing.

use std::process::ExitCode;
use std::sync::Arc;

use feature_core::OnlineStore;
use store_redis::RedisOnlineStore;
use store_testkit::servers::{RedisCluster, RedisOptions, Server};
use store_testkit::storm::{StormPlan, storm};
use store_testkit::{ServerTests, TestFailure};

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("after_a_million_shuffled_writes_every_feature_of_a_server_is_the_newest", server)
        .test("after_a_million_shuffled_writes_every_feature_of_a_cluster_is_the_newest", cluster)
        .run()
}

async fn server() -> Result<(), TestFailure> {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    pass(server.url()).await
}

async fn cluster() -> Result<(), TestFailure> {
    let cluster = RedisCluster::start(3, 0).await?;
    let outcome = pass(&cluster.url()).await;
    cluster.stop().await;
    outcome
}

#[expect(clippy::print_stdout, reason = "how much of a storm it was is for whoever reads the run")]
async fn pass(url: &str) -> Result<(), TestFailure> {
    let store = OnlineStore::new(Arc::new(RedisOnlineStore::open(url).await?));
    let report = storm(&store, "acme", StormPlan::default()).await?;
    println!("{report}");
    Ok(())
}
