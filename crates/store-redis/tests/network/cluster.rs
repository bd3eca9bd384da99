//! A cluster of three primaries with a replica each, each node at a place of its own.

use std::time::Duration;

use feature_core::ErrorKind;
use store_testkit::load::LoadPlan;
use store_testkit::servers::{Network, RedisCluster, RedisOptions};

use super::{AGREEMENT, Outcome, Setting, becomes, client, loses, verify};

/// Where the clients are: beside the first primary, and beside the others.
const NEAR: usize = 6;
const FAR: usize = 7;
/// The replica of the first primary.
const REPLICA: usize = 3;

async fn start(network: &Network, setting: Setting) -> Result<(RedisCluster, String), String> {
    let cluster = RedisCluster::start_on(network, 3, 1, &RedisOptions::default()).await?;
    let wait = if setting == Setting::Wait { "?wait_replicas=1&connections=8" } else { "" };
    let url = format!("{}{wait}", cluster.url());
    Ok((cluster, url))
}

/// A primary is cut off with the clients beside it, while its replica takes over.
pub(crate) async fn partition(setting: Setting) -> Outcome {
    let network = Network::new(8)?;
    let (cluster, url) = start(&network, setting).await?;
    // Two rows in three go to nodes that are out of reach: a call must not wait for them long.
    let plan = LoadPlan { batch: 1, deadline: Duration::from_millis(300), ..LoadPlan::default() };
    let near = client(&network, NEAR, &url, plan).await?;
    let far = client(&network, FAR, &url, LoadPlan::default()).await?;
    for side in [&near, &far] {
        side.load().wait_for_success(AGREEMENT).await?;
    }
    network.cut(&[0, NEAR], &[1, 2, 3, 4, 5, FAR])?;
    becomes(&cluster.nodes()[REPLICA], "role:master").await?;
    if setting != Setting::Wait {
        far.load().wait_for_success(AGREEMENT).await?;
    }
    let near = near.stop().await;
    network.heal()?;
    cluster.wait_until_whole(AGREEMENT).await?;
    far.load().wait_for_success(AGREEMENT).await?;
    let far = far.stop().await;
    verify(&near, "Cluster, cut off with a primary", setting).await?;
    verify(&far, "Cluster, beside the others", setting).await?;
    cluster.stop().await;
    Ok(())
}

/// What a primary sends to its replica is lost on the way, and then it is killed while it is written to.
pub(crate) async fn killed_behind(setting: Setting) -> Outcome {
    let network = Network::new(7)?;
    let (cluster, url) = start(&network, setting).await?;
    let near = client(&network, NEAR, &url, LoadPlan::default()).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    network.lose(&[0], &[REPLICA], 100)?;
    match setting {
        Setting::Wait => near.load().wait_for_error(&[ErrorKind::Unavailable], AGREEMENT).await?,
        Setting::Default | Setting::MinReplicas => near.load().wait_for_success(AGREEMENT).await?,
    }
    cluster.nodes()[0].kill().await?;
    // Nothing newer may cover what is lost.
    let near = near.stop().await;
    becomes(&cluster.nodes()[REPLICA], "role:master").await?;
    // Not before: what a program has sent, its machine goes on sending when it is dead.
    network.heal()?;
    cluster.nodes()[0].restart().await?;
    cluster.wait_until_whole(AGREEMENT).await?;
    let lost = verify(&near, "Cluster, one-way loss to a replica, then a kill", setting).await?;
    cluster.stop().await;
    loses(lost, setting)
}
