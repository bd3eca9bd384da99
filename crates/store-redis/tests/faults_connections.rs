//! Connections that fail without a word: answers that come when nobody waits for them any more, balancers that
//! forget, names that lead elsewhere. Never is an answer taken for that to another question.

mod common;
mod failover;
mod harm;
mod private;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{VIEW, entity, open, read, write};
use feature_core::{ErrorKind, FeatureValue, FeatureWrite, OnlineStore};
use harm::{RECOVERY, SLACK};
use store_testkit::load::{Load, LoadPlan};
use store_testkit::servers::{RedisOptions, RespClient, Server};
use store_testkit::{Proxy, ServerTests, TestFailure};
use tokio::time::{Instant, sleep};

type Outcome = Result<(), TestFailure>;

const NAME_MOVES: &str = "a_host_name_that_leads_elsewhere_after_a_failover_is_looked_up_again";

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("an_answer_after_the_deadline_is_never_that_to_another_call", late_answers)
        .test("connections_that_a_balancer_has_forgotten_are_replaced", forgotten)
        .test("a_server_that_stands_still_while_it_forks_answers_rightly_later", fork)
        .test(NAME_MOVES, || private::run(NAME_MOVES, name_moves))
        .test("a_kill_loses_what_a_replica_far_away_did_not_have_yet", || killed_ahead(false))
        .test("what_a_replica_far_away_has_confirmed_outlives_a_kill", || killed_ahead(true))
        .run()
}

/// What the callers of the test of late answers have seen.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    late: AtomicUsize,
}

/// Entities that exist, and others between them that do not.
const ENTITIES: usize = 64;
/// A value tells which entity it is of.
const STEP: i64 = 1_000;

/// Reads or writes a few entities, and checks that what comes back is of them.
async fn call(store: &OnlineStore, turn: i64, seen: &Seen) -> Result<(), String> {
    let numbers: Vec<usize> = (0..1 + turn as usize % 5).map(|_| own_random(2 * ENTITIES)).collect();
    let keys = numbers.iter().map(|number| entity(*number)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|e| e.to_string())?;
    let note = |error: &feature_core::Error| match error.kind() {
        ErrorKind::DeadlineExceeded => {
            seen.late.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        _ => Err(format!("nothing but time was short: {error:?}")),
    };
    if turn % 4 == 0 {
        let existing = numbers.iter().zip(&keys).filter(|(number, _)| *number % 2 == 0);
        let writes: Vec<_> = existing
            .map(|(number, key)| {
                FeatureWrite::new(key.clone(), [("orders", *number as i64 + turn % 97 * STEP)])
            })
            .collect();
        let report = store.batch_write("acme", VIEW, writes).await.map_err(|e| e.to_string())?;
        return report.failures().try_for_each(|(_, error)| note(error));
    }
    let rows = store.batch_read("acme", VIEW, &keys, None).await.map_err(|e| e.to_string())?;
    for (number, row) in numbers.iter().zip(rows) {
        match row {
            Err(error) => note(&error)?,
            Ok(row) => {
                let value = row.as_ref().and_then(|row| row.get("orders")).and_then(FeatureValue::as_i64);
                let is_own = match number % 2 {
                    0 => value.is_some_and(|value| value % STEP == *number as i64),
                    _ => row.is_none(),
                };
                if !is_own {
                    return Err(format!("asked for entity {number}, the answer was {row:?}"));
                }
                seen.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// A number below the limit.
fn own_random(limit: usize) -> usize {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as usize % limit
}

async fn late_answers() -> Outcome {
    const CALLERS: i64 = 16;
    const TURNS: i64 = 150;
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let proxy = Proxy::start(server.port().ok_or("the server has no port")?).await?;
    // One connection, that is not given up for being late.
    let url = format!("redis://127.0.0.1:{}?connections=1&response_timeout=60s&max_retries=0", proxy.port());
    let store = open(&url).await?;
    for number in (0..2 * ENTITIES).step_by(2) {
        write(&store, number, number as i64).await?;
    }
    let hurried = store.with_deadline(Duration::from_millis(25));
    let seen = Arc::new(Seen::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (store, seen) = (hurried.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                for turn in 0..TURNS {
                    call(&store, caller + turn, &seen).await?;
                }
                Ok::<_, String>(())
            })
        })
        .collect();
    let mut slow = true;
    while !callers.iter().all(tokio::task::JoinHandle::is_finished) {
        proxy.delay_replies(Duration::from_millis(if slow { 15 } else { 0 }));
        slow = !slow;
        sleep(Duration::from_millis(100)).await;
    }
    for caller in callers {
        caller.await.map_err(|e| e.to_string())??;
    }
    let (answered, late) = (seen.answered.load(Ordering::Relaxed), seen.late.load(Ordering::Relaxed));
    say(&format!("answers after the deadline: {answered} rows answered, {late} too late, none wrong"));
    // Else nothing was shown.
    if answered == 0 || late == 0 {
        return Err(format!("{answered} rows were answered and {late} too late").into());
    }
    Ok(())
}

async fn forgotten() -> Outcome {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let proxy = Proxy::start(server.port().ok_or("the server has no port")?).await?;
    let store = open(&format!("redis://127.0.0.1:{}?response_timeout=200ms", proxy.port())).await?;
    // Idle when it happens.
    write(&store, 1, 7).await?;
    let hurried = store.with_deadline(Duration::from_millis(300));
    for round in 0..3 {
        proxy.forget();
        let start = Instant::now();
        loop {
            match read(&hurried, 1).await {
                Ok(Some(7)) => break,
                Err(error) if error.is_retryable() && start.elapsed() < RECOVERY => {}
                found => return Err(format!("round {round}: {found:?}").into()),
            }
        }
    }
    // At work when it happens.
    let load = Load::start(
        &store,
        "load",
        LoadPlan { deadline: Duration::from_millis(300), ..LoadPlan::default() },
    )?;
    for _ in 0..3 {
        load.wait_for_success(RECOVERY).await?;
        proxy.forget();
        load.wait_for_error(&[ErrorKind::DeadlineExceeded, ErrorKind::Unavailable], RECOVERY).await?;
    }
    load.wait_for_success(RECOVERY).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    Ok(report.verify(&store).await?.sound()?)
}

async fn fork() -> Outcome {
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    let server = Server::start_redis(&options.with(["--enable-debug-command", "local"])).await?;
    let store = open(server.url()).await?;
    let load = Load::start(
        &store,
        "load",
        LoadPlan { deadline: Duration::from_millis(300), ..LoadPlan::default() },
    )?;
    for _ in 0..4 {
        load.wait_for_success(RECOVERY).await?;
        // With much memory, copying its tables takes a server this long.
        server.command(&["BGSAVE"]).await?;
        server.command(&["DEBUG", "SLEEP", "0.7"]).await?;
        load.wait_for_error(&[ErrorKind::DeadlineExceeded], RECOVERY).await?;
        let start = Instant::now();
        while !server.command(&["INFO", "persistence"]).await?.text().contains("rdb_bgsave_in_progress:0") {
            if start.elapsed() > RECOVERY {
                return Err("the server does not end its snapshot".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    load.wait_for_success(RECOVERY).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    Ok(report.verify(&store).await?.sound()?)
}

/// Waits until the server at this address has its primary's data.
async fn follows(url: &str) -> Outcome {
    let mut replica = RespClient::connect(url).await?;
    let start = Instant::now();
    while !replica.command(&["INFO", "replication"]).await?.text().contains("master_link_status:up") {
        if start.elapsed() > RECOVERY {
            return Err("the replica does not follow".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// In a mount namespace of its own, whose `/etc/hosts` nobody else sees.
async fn name_moves() -> Outcome {
    const HOSTS: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
    let folder = tempfile::tempdir()?;
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.2 primary.test\n")?;
    private::mount(&["--bind", &hosts.display().to_string(), "/etc/hosts"])?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let option = |host: &str| RedisOptions::default().with(["--bind", host, "--port", &port]);
    let servers = [
        Server::start_redis(&option(HOSTS[0])).await?,
        Server::start_redis(&option(HOSTS[1]).with(["--replicaof", HOSTS[0], &port])).await?,
    ];
    let url = |server: usize| format!("redis://{}:{port}", HOSTS[server]);
    let order = async |server, words: &[&str]| RespClient::connect(&url(server)).await?.command(words).await;
    let store = open(&format!("redis://primary.test:{port}")).await?;
    let load = Load::start(&store, "load", LoadPlan::default())?;
    load.wait_for_success(RECOVERY).await?;
    let start = Instant::now();
    while order(0, &["WAIT", "1", "1000"]).await?.to_string() != "1" {
        if start.elapsed() > RECOVERY {
            return Err("the replica does not follow".into());
        }
    }
    // Planned: the former primary stays, as a replica. It says so to whoever still has a connection.
    order(1, &["REPLICAOF", "NO", "ONE"]).await?;
    order(0, &["REPLICAOF", HOSTS[1], &port]).await?;
    load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
    fs::write(&hosts, "127.0.0.3 primary.test\n")?;
    load.wait_for_success(RECOVERY).await?;
    // Unplanned, and back.
    follows(&url(0)).await?;
    servers[1].kill().await?;
    load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
    order(0, &["REPLICAOF", "NO", "ONE"]).await?;
    fs::write(&hosts, "127.0.0.2 primary.test\n")?;
    load.wait_for_success(RECOVERY).await?;
    failover::survived("a host name that leads elsewhere, twice", load, &store).await
}

/// A primary is killed while what it sends to its replica takes 100 ms, and the replica takes its place.
async fn killed_ahead(wait: bool) -> Outcome {
    let primary = Server::start_redis(&RedisOptions::default()).await?;
    let proxy = Proxy::start(primary.port().ok_or("the server has no port")?).await?;
    let to_primary = ["--replicaof", "127.0.0.1", &proxy.port().to_string()];
    let replica = Server::start_redis(&RedisOptions::default().with(to_primary)).await?;
    follows(replica.url()).await?;
    proxy.delay_replies(Duration::from_millis(100));
    let setting = if wait { "?wait_replicas=1" } else { "" };
    let load =
        Load::start(&open(&format!("{}{setting}", primary.url())).await?, "load", LoadPlan::default())?;
    for _ in 0..3 {
        load.wait_for_success(RECOVERY).await?;
    }
    primary.kill().await?;
    let report = load.stop().await;
    replica.command(&["REPLICAOF", "NO", "ONE"]).await?;
    let verification = report.verify(&open(replica.url()).await?).await?;
    say(&format!(
        "a replica 100 ms away: {} acknowledged writes lost, wait: {wait}",
        verification.lost.len()
    ));
    report.nothing_wrong()?;
    if wait {
        return Ok(verification.sound()?);
    }
    verification.nothing_wrong()?;
    // Else the other test would show nothing.
    match verification.lost.is_empty() {
        true => Err("acknowledged writes that the replica had not are there".into()),
        false => Ok(()),
    }
}

#[expect(clippy::print_stdout, reason = "how much was tried is for whoever reads the run")]
fn say(line: &str) {
    println!("{line}");
}
