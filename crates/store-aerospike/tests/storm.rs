//! A million writes at shuffled times from eight writers, and merges of features beside them: every value
//! is the newest, and no feature is missing.

#![allow(clippy::print_stdout, reason = "what the storm was like is worth knowing")]
#![allow(clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::process::ExitCode;

use common::{TENANT, TestResult, open};
use store_testkit::ServerTests;
use store_testkit::servers::{AerospikeCluster, AerospikeOptions, Server};
use store_testkit::storm::{StormPlan, storm};

fn main() -> ExitCode {
    ServerTests::new("aerospike", "asd")
        .test("after_a_million_shuffled_writes_every_feature_is_the_newest", a_million)
        .test("so_it_is_on_a_cluster_of_three", on_a_cluster)
        .run()
}

async fn a_million() -> TestResult {
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let report = storm(&open(server.url()).await?, TENANT, StormPlan::default()).await?;
    println!("{report}");
    Ok(())
}

async fn on_a_cluster() -> TestResult {
    let cluster = AerospikeCluster::start(3).await?;
    let plan = StormPlan { writes: 100_000, merges: 20_000, entities: 5_000, ..StormPlan::default() };
    let report = storm(&open(&cluster.url()).await?, TENANT, plan).await?;
    println!("{report}");
    Ok(())
}
