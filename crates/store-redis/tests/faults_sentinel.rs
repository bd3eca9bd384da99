//! What happens to a primary watched by Sentinel in production, under load.

mod common;
mod failover;
mod harm;

use std::process::ExitCode;

use common::{open, read, write};
use feature_core::ErrorKind;
use harm::{RECOVERY, opens_lazily};
use store_testkit::load::{Load, LoadPlan};
use store_testkit::servers::RedisSentinel;
use store_testkit::{ServerTests, TestFailure};

type Outcome = Result<(), TestFailure>;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("after_a_primary_is_killed_the_promoted_replica_is_written_to", killed)
        .test("after_a_planned_failover_the_old_primary_is_left_alone", planned)
        .test("a_sentinel_that_is_gone_is_done_without", sentinel_gone)
        .test("a_service_that_no_sentinel_knows_is_said_so", unknown_service)
        .test("replica_reads_reach_replicas", replica_reads)
        .test("a_store_that_connects_lazily_opens_before_its_sentinels", opened_before_its_sentinels)
        .run()
}

fn url(sentinel: &RedisSentinel) -> String {
    format!("redis-sentinel://{}?service_name={}", sentinel.addresses().join(","), sentinel.service_name())
}

async fn killed() -> Outcome {
    let sentinel = RedisSentinel::start().await?;
    let store = open(&url(&sentinel)).await?;
    let load = Load::start(&store, "load", LoadPlan::default())?;
    load.wait_for_success(RECOVERY).await?;
    sentinel.primary().kill().await?;
    load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
    load.wait_for_success(RECOVERY).await?;
    failover::survived("a killed primary under Sentinel", load, &store).await?;
    sentinel.stop().await;
    Ok(())
}

async fn planned() -> Outcome {
    let sentinel = RedisSentinel::start().await?;
    let store = open(&url(&sentinel)).await?;
    let load = Load::start(&store, "load", LoadPlan::default())?;
    load.wait_for_success(RECOVERY).await?;
    let before = sentinel.primary().port();
    sentinel.sentinels()[0].command(&["SENTINEL", "FAILOVER", sentinel.service_name()]).await?;
    // Waits for the new primary by what the Sentinels say, then for every worker.
    let start = tokio::time::Instant::now();
    while sentinel.current_primary().await?.port() == before {
        if start.elapsed() > RECOVERY {
            return Err("the Sentinels name no new primary".into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    load.wait_for_success(RECOVERY).await?;
    failover::survived("a planned failover under Sentinel", load, &store).await?;
    sentinel.stop().await;
    Ok(())
}

async fn sentinel_gone() -> Outcome {
    let sentinel = RedisSentinel::start().await?;
    sentinel.sentinels()[0].kill().await?;
    sentinel.sentinels()[1].pause().await?;
    let store = open(&url(&sentinel)).await?;
    write(&store, 1, 1).await?;
    let found = read(&store, 1).await?;
    sentinel.sentinels()[1].resume().await?;
    sentinel.stop().await;
    if found == Some(1) { Ok(()) } else { Err("what was written is not there".into()) }
}

async fn unknown_service() -> Outcome {
    let sentinel = RedisSentinel::start().await?;
    let wrong = format!("redis-sentinel://{}?service_name=other", sentinel.addresses().join(","));
    let error = open(&wrong).await.err().ok_or("there is no such service")?;
    sentinel.stop().await;
    match error.kind() {
        ErrorKind::NotConfigured if error.message().contains("`other`") => Ok(()),
        _ => Err(format!("not the error of an unknown service: {error:?}").into()),
    }
}

async fn replica_reads() -> Outcome {
    let sentinel = RedisSentinel::start().await?;
    let writer = open(&url(&sentinel)).await?;
    write(&writer, 1, 7).await?;
    sentinel.primary().command(&["WAIT", "2", "5000"]).await?;
    sentinel.primary().command(&["CONFIG", "RESETSTAT"]).await?;
    let reader = open(&format!("{}&replica_reads=true", url(&sentinel))).await?;
    for _ in 0..20 {
        if read(&reader, 1).await? != Some(7) {
            return Err("a replica does not have what it has confirmed".into());
        }
    }
    let stats = sentinel.primary().command(&["INFO", "commandstats"]).await?;
    sentinel.stop().await;
    match stats.text().contains("cmdstat_get:") {
        true => Err("the primary was read".into()),
        false => Ok(()),
    }
}

async fn opened_before_its_sentinels() -> Outcome {
    let sentinel = RedisSentinel::start().await?;
    write(&open(&url(&sentinel)).await?, 1, 7).await?;
    for one in sentinel.sentinels() {
        one.kill().await?;
    }
    let start = async || {
        for one in sentinel.sentinels() {
            one.restart().await?;
        }
        Ok(())
    };
    opens_lazily(&url(&sentinel), start).await?;
    sentinel.stop().await;
    Ok(())
}
