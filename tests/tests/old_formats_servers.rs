//! The same on servers: what a Redis or Aerospike server was given by earlier versions is read today.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod formats;
#[expect(dead_code, reason = "this program uses some of it")]
mod migration;

use std::process::ExitCode;

use feature_core::{Scope, StoreUrl};
use formats::{Files, Outcome, Store, is_read_and_goes_on, later_format_is_refused_and_kept};
use store_testkit::servers::{self, AerospikeOptions, RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("what_a_redis_server_has_is_read_and_goes_on", redis)
        .test("what_an_aerospike_server_has_is_read_and_goes_on", aerospike)
        .run()
}

async fn open(server: &Server) -> Outcome<Store> {
    Ok(migration::connect(&StoreUrl::parse(server.url())?).await?)
}

async fn redis() -> Outcome {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let store = open(&server).await?;
    for files in Files::of_every_format()? {
        formats::redis::load(&server, &files).await?;
        is_read_and_goes_on(&store, &files.expected()?).await?;
        store.purge(&Scope::Store, &feature_core::PurgeProgress::default()).await?;
    }
    later_format_is_refused_and_kept(&store).await
}

async fn aerospike() -> Outcome {
    servers::program("asd").map_err(|why| TestFailure::unavailable(why).of("aerospike"))?;
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let store = open(&server).await?;
    for files in Files::of_every_format()? {
        formats::aerospike::load(&server, &files).await?;
        is_read_and_goes_on(&store, &files.expected()?).await?;
        store.purge(&Scope::Store, &feature_core::PurgeProgress::default()).await?;
    }
    later_format_is_refused_and_kept(&store).await
}
