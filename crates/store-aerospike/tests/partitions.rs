//! Three servers with every record on two of them, on a network that fails: who is cut off, what is lost on the
//! way, and what of the acknowledged writes the cluster keeps, as docs/aerospike.md says.
//!
//! Each member is in a network namespace of its own, for which the tests need `ip`, `nft` and the rights of
//! root; else they are ignored, unless `FSTORE_REQUIRE` names `partitions`. `FSTORE_PARTITION_ROUNDS` runs each
//! of them so many times.

#![allow(clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{TestResult, holds, open};
use feature_core::ErrorKind;
use store_testkit::ServerTests;
use store_testkit::load::{LoadPlan, RemoteLoad, RemoteReport};
use store_testkit::servers::{AerospikeCluster, AerospikeOptions, Network};

/// How long the servers may take to agree, on a machine that is busy with others.
const AGREEMENT: Duration = Duration::from_secs(180);
/// Where the clients are: beside the first server, and beside the others.
const NEAR: usize = 3;
const FAR: usize = 4;

/// What a server that is out of reach may be reported as.
const GONE: [ErrorKind; 2] = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded];

fn main() -> ExitCode {
    ServerTests::new("aerospike", "asd")
        .rounds("FSTORE_PARTITION_ROUNDS")
        .test("a_server_killed_while_it_is_written_to_takes_nothing_acknowledged_with_it", killed)
        .test("random_loss_costs_nothing_that_was_acknowledged", lossy)
        .test("a_server_cut_off_with_its_clients_loses_to_newer_generations", partition)
        .test("a_server_that_is_not_heard_mixes_up_nothing", not_heard)
        .run()
}

async fn start(network: &Network) -> TestResult<(AerospikeCluster, String)> {
    let cluster = AerospikeCluster::start_on(network, 3, &AerospikeOptions::default()).await?;
    let url = cluster.url();
    Ok((cluster, url))
}

async fn client(network: &Network, member: usize, url: &str) -> TestResult<RemoteLoad> {
    let url = url.to_owned();
    let open = async move { open(&url).await };
    let plan = LoadPlan { deadline: Duration::from_secs(2), ..LoadPlan::default() };
    Ok(RemoteLoad::start(network.client(member)?, open, &format!("client-{member}"), plan).await?)
}

/// Reads all back, says how much was lost, and returns that. No fault excuses a value that was never written
/// there, or was refused without a doubt.
#[expect(clippy::print_stdout, reason = "what was lost is for whoever reads the run")]
async fn verify(ended: &RemoteReport, what: &str) -> TestResult<usize> {
    let verification = ended.verify().await?;
    println!("{what}: {}", ended.summary(&verification));
    ended.report().nothing_wrong()?;
    holds(verification.wrong.is_empty(), || {
        format!("no fault excuses this: {:?}\n{}", verification.wrong, ended.report())
    })?;
    Ok(verification.lost.len())
}

fn nothing(lost: usize) -> TestResult {
    holds(lost == 0, || format!("{lost} acknowledged values are lost"))
}

async fn killed() -> TestResult {
    let network = Network::new(4)?;
    let (cluster, url) = start(&network).await?;
    let near = client(&network, NEAR, &url).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    cluster.nodes()[0].kill().await?;
    near.load().wait_for_error(&GONE, AGREEMENT).await?;
    // Nothing newer may cover what is lost.
    let near = near.stop().await;
    let lost = verify(&near, "a server is killed, the others have taken over").await?;
    nothing(lost)?;
    cluster.nodes()[0].restart().await?;
    cluster.wait_until_whole(AGREEMENT).await?;
    nothing(verify(&near, "a server is killed, and back").await?)?;
    cluster.stop().await;
    Ok(())
}

async fn lossy() -> TestResult {
    let network = Network::new(4)?;
    let (cluster, url) = start(&network).await?;
    let near = client(&network, NEAR, &url).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    // Little enough for the servers not to take each other for dead.
    network.lose(&[0, 1, 2, NEAR], &[0, 1, 2, NEAR], 2)?;
    for _ in 0..3 {
        near.load().wait_for_success(AGREEMENT).await?;
    }
    network.heal()?;
    cluster.wait_until_whole(AGREEMENT).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    nothing(verify(&near.stop().await, "a fiftieth of all packets lost").await?)?;
    cluster.stop().await;
    Ok(())
}

async fn partition() -> TestResult {
    let network = Network::new(5)?;
    let (cluster, url) = start(&network).await?;
    let near = client(&network, NEAR, &url).await?;
    let far = client(&network, FAR, &url).await?;
    for side in [&near, &far] {
        side.load().wait_for_success(AGREEMENT).await?;
    }
    network.cut(&[0, NEAR], &[1, 2, FAR])?;
    // Both parts go on by themselves.
    near.load().wait_for_error(&GONE, AGREEMENT).await?;
    for side in [&near, &far] {
        side.load().wait_for_success(AGREEMENT).await?;
    }
    let near = near.stop().await;
    network.heal()?;
    cluster.wait_until_whole(AGREEMENT).await?;
    far.load().wait_for_success(AGREEMENT).await?;
    let far = far.stop().await;
    verify(&near, "cut off with one server").await?;
    verify(&far, "beside the two others").await?;
    cluster.stop().await;
    Ok(())
}

/// The others hear nothing of a server that hears them, and then it is killed.
async fn not_heard() -> TestResult {
    let network = Network::new(4)?;
    let (cluster, url) = start(&network).await?;
    let near = client(&network, NEAR, &url).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    network.lose(&[0], &[1, 2], 100)?;
    // Most often a write fails before the others go on without it, but not always.
    tokio::select! {
        failed = near.load().wait_for_error(&GONE, AGREEMENT) => failed?,
        alone = cluster.wait_until_alone(1..3, AGREEMENT) => alone?,
    }
    cluster.nodes()[0].kill().await?;
    let near = near.stop().await;
    network.heal()?;
    cluster.nodes()[0].restart().await?;
    cluster.wait_until_whole(AGREEMENT).await?;
    verify(&near, "one-way loss from a server, then a kill").await?;
    cluster.stop().await;
    Ok(())
}
