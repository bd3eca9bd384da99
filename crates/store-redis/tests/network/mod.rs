//! Clients with their load at places of a network, and what must hold of what they wrote.

pub(crate) mod cluster;
pub(crate) mod sentinel;

use std::time::Duration;

use store_testkit::TestFailure;
use store_testkit::load::{LoadPlan, RemoteLoad, RemoteReport};
use store_testkit::servers::{Network, Server};
use tokio::time::{Instant, sleep};

use crate::common::open;

pub(crate) type Outcome = Result<(), TestFailure>;

/// How long servers may take to agree on who is who, on a machine that is busy with others.
pub(crate) const AGREEMENT: Duration = Duration::from_secs(120);

/// What keeps acknowledged writes, besides copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Nothing: replication is asynchronous.
    Default,
    /// `min-replicas-to-write` of the servers.
    MinReplicas,
    /// `wait_replicas` of the store: all that there are.
    Wait,
}

/// A client at a place of the network, with its load.
pub(crate) async fn client(
    network: &Network,
    member: usize,
    url: &str,
    plan: LoadPlan,
) -> Result<RemoteLoad, String> {
    let url = url.to_owned();
    let open = async move { open(&url).await };
    RemoteLoad::start(network.client(member)?, open, &format!("client-{member}"), plan).await
}

/// Reads all back, says how much was lost, and returns that. Whatever a topology may lose, no read has given
/// and nothing holds a value that was never written there, or was refused without a doubt; and what all
/// replicas had confirmed is neither lost nor was ever read as something older.
#[expect(clippy::print_stdout, reason = "what was lost is for whoever reads the run")]
pub(crate) async fn verify(ended: &RemoteReport, what: &str, setting: Setting) -> Result<usize, TestFailure> {
    let verification = ended.verify().await?;
    println!("{what}, {setting:?}: {}", ended.summary(&verification));
    ended.report().nothing_wrong()?;
    match setting {
        Setting::Wait => {
            verification.sound()?;
            ended.report().nothing_stale()?;
        }
        Setting::Default | Setting::MinReplicas => verification.nothing_wrong()?,
    }
    Ok(verification.lost.len())
}

/// What a topology without further settings certainly lost: were it nothing, the count would be worth nothing.
#[track_caller]
pub(crate) fn loses(lost: usize, setting: Setting) -> Outcome {
    match setting {
        Setting::Default if lost == 0 => Err("acknowledged writes that no replica had are there".into()),
        _ => Ok(()),
    }
}

/// Waits until a server says this of itself.
pub(crate) async fn becomes(server: &Server, what: &str) -> Outcome {
    let start = Instant::now();
    while !server.command(&["INFO", "replication"]).await?.text().contains(what) {
        if start.elapsed() > AGREEMENT {
            return Err(format!("the server does not become {what} within {AGREEMENT:?}").into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
