//! A primary, two replicas and their Sentinels, each pair at a place of its own.

use std::time::Duration;

use feature_core::ErrorKind;
use store_testkit::load::LoadPlan;
use store_testkit::servers::{Network, RedisOptions, RedisSentinel};
use tokio::time::{Instant, sleep};

use super::{AGREEMENT, Outcome, Setting, client, loses, verify};

/// Where the clients are: beside the primary of the start, and beside the others.
const NEAR: usize = 3;
const FAR: usize = 4;

async fn start(network: &Network, setting: Setting) -> Result<(RedisSentinel, String), String> {
    let options = match setting {
        Setting::MinReplicas => {
            RedisOptions::default().with(["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"])
        }
        Setting::Default | Setting::Wait => RedisOptions::default(),
    };
    let sentinel = RedisSentinel::start_on(network, &options).await?;
    let (hosts, service) = (sentinel.addresses().join(","), sentinel.service_name());
    // Each connection is held up while replicas are waited for.
    let wait = if setting == Setting::Wait { "&wait_replicas=2&connections=8" } else { "" };
    Ok((sentinel, format!("redis-sentinel://{hosts}?service_name={service}{wait}")))
}

/// Waits until the Sentinels beside the replicas name another primary.
async fn elected(sentinel: &RedisSentinel) -> Outcome {
    let before = sentinel.primary().port().map(|port| port.to_string());
    let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel.service_name()];
    let start = Instant::now();
    loop {
        let mut named = Vec::new();
        for one in &sentinel.sentinels()[1..] {
            named.push(one.command(&question).await?.items().get(1).map(|port| port.text().to_owned()));
        }
        if named.iter().all(|port| port.is_some() && *port != before) {
            return Ok(());
        }
        if start.elapsed() > AGREEMENT {
            return Err("the Sentinels name no new primary".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The primary is cut off with the clients beside it, while the others elect one of theirs.
pub(crate) async fn partition(setting: Setting) -> Outcome {
    let network = Network::new(5)?;
    let (sentinel, url) = start(&network, setting).await?;
    let near = client(&network, NEAR, &url, LoadPlan::default()).await?;
    let far = client(&network, FAR, &url, LoadPlan::default()).await?;
    for side in [&near, &far] {
        side.load().wait_for_success(AGREEMENT).await?;
    }
    network.cut(&[0, NEAR], &[1, 2, FAR])?;
    match setting {
        // It goes on acknowledging what it will have to forget.
        Setting::Default => near.load().wait_for_success(AGREEMENT).await?,
        Setting::MinReplicas | Setting::Wait => {
            near.load().wait_for_error(&[ErrorKind::Unavailable], AGREEMENT).await?;
        }
    }
    elected(&sentinel).await?;
    if setting != Setting::Wait {
        far.load().wait_for_success(AGREEMENT).await?;
    }
    let near = near.stop().await;
    network.heal()?;
    sentinel.wait_until_whole(AGREEMENT).await?;
    far.load().wait_for_success(AGREEMENT).await?;
    let far = far.stop().await;
    let lost = verify(&near, "Sentinel, cut off with the primary", setting).await?;
    verify(&far, "Sentinel, beside the others", setting).await?;
    sentinel.stop().await;
    loses(lost, setting)
}

/// What the primary sends to its replicas is lost on the way, and then it is killed while it is written to.
pub(crate) async fn killed_behind(setting: Setting) -> Outcome {
    let network = Network::new(4)?;
    let (sentinel, url) = start(&network, setting).await?;
    let near = client(&network, NEAR, &url, LoadPlan::default()).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    network.lose(&[0], &[1, 2], 100)?;
    match setting {
        Setting::Wait => near.load().wait_for_error(&[ErrorKind::Unavailable], AGREEMENT).await?,
        Setting::Default | Setting::MinReplicas => near.load().wait_for_success(AGREEMENT).await?,
    }
    sentinel.primary().kill().await?;
    // Nothing newer may cover what is lost.
    let near = near.stop().await;
    elected(&sentinel).await?;
    // Not before: what a program has sent, its machine goes on sending when it is dead.
    network.heal()?;
    sentinel.primary().restart().await?;
    sentinel.wait_until_whole(AGREEMENT).await?;
    let lost = verify(&near, "Sentinel, one-way loss to the replicas, then a kill", setting).await?;
    sentinel.stop().await;
    loses(lost, setting)
}

/// Everybody loses one packet in twenty, in both directions.
pub(crate) async fn lossy() -> Outcome {
    let network = Network::new(4)?;
    let (sentinel, url) = start(&network, Setting::Wait).await?;
    let plan = LoadPlan { deadline: Duration::from_secs(5), ..LoadPlan::default() };
    let near = client(&network, NEAR, &url, plan).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    network.lose(&[0, 1, 2, NEAR], &[0, 1, 2, NEAR], 5)?;
    for _ in 0..5 {
        near.load().wait_for_success(AGREEMENT).await?;
    }
    network.heal()?;
    sentinel.wait_until_whole(AGREEMENT).await?;
    near.load().wait_for_success(AGREEMENT).await?;
    verify(&near.stop().await, "Sentinel, a twentieth of all packets lost", Setting::Wait).await?;
    sentinel.stop().await;
    Ok(())
}

/// Every packet of the primary takes a while.
pub(crate) async fn delayed() -> Outcome {
    let network = Network::new(4)?;
    network.delay(0, Duration::from_millis(20))?;
    let (sentinel, url) = start(&network, Setting::Wait).await?;
    let near = client(&network, NEAR, &url, LoadPlan::default()).await?;
    for _ in 0..3 {
        near.load().wait_for_success(AGREEMENT).await?;
    }
    verify(&near.stop().await, "Sentinel, a primary 20 ms away", Setting::Wait).await?;
    sentinel.stop().await;
    Ok(())
}
