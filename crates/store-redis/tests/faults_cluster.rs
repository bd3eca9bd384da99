//! What happens to a cluster in production, under load.

mod common;
mod failover;
mod harm;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use common::{open, write};
use feature_core::{ErrorKind, OnlineStore, Scope};
use futures::StreamExt;
use harm::{RECOVERY, SLACK, opens_lazily};
use store_testkit::load::{Load, LoadPlan};
use store_testkit::servers::{RedisCluster, RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use tokio::time::sleep;

type Outcome = Result<(), TestFailure>;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("a_slot_that_migrates_key_by_key_is_read_and_written_meanwhile", migration)
        .test(
            "a_node_that_has_no_script_yet_takes_writes_to_a_slot_on_its_way_there",
            migration_to_a_new_node,
        )
        .test("a_primary_that_is_killed_is_followed_by_its_replica", primary_killed)
        .test("a_primary_that_stands_still_does_not_hold_up_the_rows_of_others", primary_paused)
        .test("replica_reads_reach_replicas_and_fall_back_to_primaries", replica_reads)
        .test("a_scan_says_when_slots_moved_under_it", scan_beside_a_migration)
        .test("a_server_that_is_no_cluster_is_said_to_be_none", no_cluster)
        .test("a_store_that_connects_lazily_opens_before_its_cluster", opened_before_its_cluster)
        .run()
}

fn load(store: &OnlineStore) -> Result<Load, String> {
    Load::start(store, "load", LoadPlan::default())
}

/// The nodes' own names for themselves.
async fn id(node: &Server) -> Result<String, String> {
    Ok(node.command(&["CLUSTER", "MYID"]).await?.text().to_owned())
}

/// Slots of a node that hold keys, so many of them.
async fn slots_with_keys(
    node: &Server,
    first: usize,
    last: usize,
    most: usize,
) -> Result<Vec<String>, String> {
    let mut slots = Vec::new();
    let mut client = store_testkit::servers::RespClient::connect(node.url()).await?;
    for slot in first..last {
        let slot = slot.to_string();
        let keys = client.command(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).await?;
        if keys.to_string() != "0" {
            slots.push(slot);
        }
        if slots.len() == most {
            break;
        }
    }
    Ok(slots)
}

/// Lets a slot be on its way from one node to another; gives the other's name.
async fn begin_migration(slot: &str, from: &Server, to: &Server) -> Result<String, String> {
    let (from_id, to_id) = (id(from).await?, id(to).await?);
    to.command(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &from_id]).await?;
    from.command(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &to_id]).await?;
    Ok(to_id)
}

/// Moves a slot from one node to another, one key after the other, slowly.
async fn migrate(slot: &str, from: &Server, to: &Server, others: &[&Server]) -> Result<(), String> {
    let to_id = begin_migration(slot, from, to).await?;
    let port = to.port().ok_or("a node without a port")?.to_string();
    loop {
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", slot, "1"]).await?;
        let Some(key) = keys.items().first().map(|key| key.text().to_owned()) else { break };
        from.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await?;
        sleep(Duration::from_millis(20)).await;
    }
    for node in [to, from].iter().chain(others) {
        node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &to_id]).await?;
    }
    Ok(())
}

async fn migration() -> Outcome {
    let cluster = RedisCluster::start(3, 0).await?;
    let store = open(&cluster.url()).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    let [a, b, c] = cluster.nodes() else { return Err("not three nodes".into()) };
    let slots = slots_with_keys(a, 0, 5_461, 12).await?;
    if slots.len() < 12 {
        return Err(format!("only {} slots have keys", slots.len()).into());
    }
    for slot in &slots {
        migrate(slot, a, b, &[c]).await?;
    }
    load.wait_for_success(RECOVERY).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    report.verify(&store).await?.sound()?;
    // What has moved is soon asked for where it is.
    let start = tokio::time::Instant::now();
    while !reads_are_not_sent_on(a, &store).await? {
        if start.elapsed() > RECOVERY {
            return Err("a node is still asked for slots that have moved".into());
        }
    }
    if !report.writes().errors.is_empty() || !report.reads().errors.is_empty() {
        return Err(format!("a migration is nothing that a caller should see: {report:?}").into());
    }
    cluster.stop().await;
    Ok(())
}

/// Whether a node has every record that it is asked for when all are read. Another store says what there is, since
/// a scan learns where everything is.
async fn reads_are_not_sent_on(node: &Server, store: &OnlineStore) -> Result<bool, TestFailure> {
    let url = node.url().replacen("redis://", "redis-cluster://", 1);
    let keys: Vec<_> = open(&url).await?.scan(&Scope::tenant("load")?).collect().await;
    let keys = keys.into_iter().map(|row| row.map(|(key, _)| key)).collect::<Result<Vec<_>, _>>()?;
    node.command(&["CONFIG", "RESETSTAT"]).await?;
    for key in keys {
        let view = key.view();
        store.read_features(view.tenant(), view.view(), key.entity(), None).await?;
    }
    Ok(!node.command(&["INFO", "errorstats"]).await?.text().contains("errorstat_MOVED"))
}

async fn migration_to_a_new_node() -> Outcome {
    let cluster = RedisCluster::start(3, 0).await?;
    let store = open(&cluster.url()).await?;
    let [a, b, _] = cluster.nodes() else { return Err("not three nodes".into()) };
    for number in 0..20 {
        write(&store, number, 1).await?;
    }
    let slot = slots_with_keys(a, 0, 5_461, 1).await?.pop().ok_or("no slot has keys")?;
    let key = a.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).await?.items()[0].text().to_owned();
    let number = key.rsplit('=').next().and_then(|id| id.parse().ok()).ok_or("not the key of an entity")?;
    begin_migration(&slot, a, b).await?;
    // What is not on the one any more is on the other.
    a.command(&["DEL", &key]).await?;
    b.command(&["SCRIPT", "FLUSH", "SYNC"]).await?;
    write(&store, number, 7).await?;
    let found = common::read(&store, number).await?;
    cluster.stop().await;
    match found {
        Some(7) => Ok(()),
        found => Err(format!("what was written on the way was read as {found:?}").into()),
    }
}

async fn primary_killed() -> Outcome {
    let cluster = RedisCluster::start(3, 1).await?;
    let store = open(&cluster.url()).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    cluster.nodes()[0].kill().await?;
    load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
    load.wait_for_success(RECOVERY).await?;
    failover::survived("a killed primary of a cluster", load, &store).await?;
    // Back again it follows its former replica.
    cluster.nodes()[0].restart().await?;
    cluster.wait_until_whole(RECOVERY).await?;
    write(&store, 1, 1).await?;
    cluster.stop().await;
    Ok(())
}

async fn primary_paused() -> Outcome {
    let cluster = RedisCluster::start_with(
        3,
        0,
        &RedisOptions::default().with(["--cluster-require-full-coverage", "no"]),
    )
    .await?;
    let store = open(&cluster.url()).await?;
    for number in 0..100 {
        write(&store, number, 1).await?;
    }
    let keys = (0..100).map(common::entity).collect::<Result<Vec<_>, _>>()?;
    cluster.nodes()[0].pause().await?;
    let hurried = store.with_deadline(Duration::from_millis(300));
    let rows = hurried.batch_read("acme", common::VIEW, &keys, None).await?;
    cluster.nodes()[0].resume().await?;
    let answered = rows.iter().filter(|row| matches!(row, Ok(Some(_)))).count();
    let late = |row: &&Result<_, feature_core::Error>| {
        row.as_ref().err().is_some_and(|error| error.kind() == ErrorKind::DeadlineExceeded)
    };
    let late = rows.iter().filter(late).count();
    if !(answered >= 40 && late >= 15 && answered + late == 100) {
        return Err(format!("{answered} rows were answered, {late} out of time").into());
    }
    for _ in 0..100 {
        let rows = store.batch_read("acme", common::VIEW, &keys, None).await?;
        if rows.iter().all(|row| matches!(row, Ok(Some(_)))) {
            cluster.stop().await;
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err("the node does not come back".into())
}

async fn replica_reads() -> Outcome {
    let cluster = RedisCluster::start(3, 1).await?;
    let writer = open(&cluster.url()).await?;
    for number in 0..60 {
        write(&writer, number, 7).await?;
    }
    let (primaries, replicas) = cluster.nodes().split_at(3);
    for primary in primaries {
        primary.command(&["WAIT", "1", "5000"]).await?;
    }
    let reader = open(&format!("{}?replica_reads=true", cluster.url())).await?;
    // A cluster names a replica some time after it has caught up.
    let start = tokio::time::Instant::now();
    while !reads_spare(primaries, &reader).await? {
        if start.elapsed() > RECOVERY {
            return Err("primaries are read although there are replicas".into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    replicas[0].kill().await?;
    for number in 0..60 {
        if common::read(&reader, number).await? != Some(7) {
            return Err(format!("entity {number} is gone with the replica").into());
        }
    }
    cluster.stop().await;
    Ok(())
}

/// Whether a read of every entity reaches none of these nodes.
async fn reads_spare(primaries: &[Server], reader: &OnlineStore) -> Result<bool, TestFailure> {
    for primary in primaries {
        primary.command(&["CONFIG", "RESETSTAT"]).await?;
    }
    for number in 0..60 {
        if common::read(reader, number).await? != Some(7) {
            return Err(format!("entity {number} is not as it was written").into());
        }
    }
    for primary in primaries {
        if primary.command(&["INFO", "commandstats"]).await?.text().contains("cmdstat_get:") {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn scan_beside_a_migration() -> Outcome {
    let cluster = RedisCluster::start(3, 0).await?;
    let store = open(&cluster.url()).await?;
    for number in 0..3_000 {
        write(&store, number, 1).await?;
    }
    let scope = Scope::tenant("acme")?;
    let whole: BTreeSet<String> = store
        .scan(&scope)
        .filter_map(|row| async { row.ok().map(|(key, _)| key.to_string()) })
        .collect()
        .await;
    if whole.len() != 3_000 {
        return Err(format!("the scan gave {} of 3000 records", whole.len()).into());
    }
    let [a, b, c] = cluster.nodes() else { return Err("not three nodes".into()) };
    let slot = slots_with_keys(a, 0, 5_461, 1).await?.pop().ok_or("no slot has keys")?;
    let mut rows = store.scan(&scope);
    rows.next().await;
    migrate(&slot, a, b, &[c]).await?;
    let last = rows.filter_map(|row| async { row.err() }).collect::<Vec<_>>().await.pop();
    match last {
        Some(error) if error.kind() == ErrorKind::Unavailable && error.message().contains("moved") => {}
        other => return Err(format!("the scan does not say that slots moved: {other:?}").into()),
    }
    cluster.stop().await;
    Ok(())
}

async fn no_cluster() -> Outcome {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let port = server.port().ok_or("the server has no port")?;
    let error = open(&format!("redis-cluster://127.0.0.1:{port}")).await.err().ok_or("it is no cluster")?;
    if error.kind() != ErrorKind::NotConfigured || !error.message().contains("cluster_mode") {
        return Err(format!("not the error of a server that is no cluster: {error:?}").into());
    }
    let cluster = RedisCluster::start(3, 0).await?;
    let port = cluster.nodes()[0].port().ok_or("the node has no port")?;
    let single = open(&format!("redis://127.0.0.1:{port}")).await?;
    let mut told = None;
    for number in 0..20 {
        told = told.or(common::read(&single, number).await.err());
    }
    let error = told.ok_or("a node of a cluster serves every slot")?;
    if error.kind() != ErrorKind::NotConfigured || !error.message().contains("cluster_mode") {
        return Err(format!("not the error of a node addressed as a server: {error:?}").into());
    }
    cluster.stop().await;
    Ok(())
}

async fn opened_before_its_cluster() -> Outcome {
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    let cluster = RedisCluster::start_with(3, 0, &options).await?;
    write(&open(&cluster.url()).await?, 1, 7).await?;
    for node in cluster.nodes() {
        node.kill().await?;
    }
    let start = async || {
        for node in cluster.nodes() {
            node.restart().await?;
        }
        Ok(())
    };
    opens_lazily(&cluster.url(), start).await?;
    cluster.stop().await;
    Ok(())
}
