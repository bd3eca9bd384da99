//! Harm to real servers under load: calls keep their deadlines, nothing that was acknowledged is lost,
//! errors say what they should, and the store recovers by itself.

#![allow(clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{TENANT, TestResult, VIEW, at, entities, entity, holds, one, open};
use feature_core::{ErrorKind, FeatureWrite, Features};
use futures::future::try_join_all;
use store_testkit::ServerTests;
use store_testkit::load::{Load, LoadPlan};
use store_testkit::servers::{AerospikeCluster, AerospikeOptions, Server};
use tokio::time::{Instant, sleep};

/// How long a call may last beyond its deadline on a machine that is busy with others.
const SLACK: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);
/// How long a cluster may take to notice, and to be whole again.
const LATER: Duration = Duration::from_secs(90);

/// What a server that is gone or silent may be reported as.
const GONE: [ErrorKind; 2] = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded];

fn main() -> ExitCode {
    ServerTests::new("aerospike", "asd")
        .test("a_server_is_killed_and_restarted", killed)
        .test("a_server_is_silent_for_five_seconds", silent)
        .test("a_deadline_is_kept_by_a_server_that_is_silent", deadline)
        .test("a_server_of_three_is_killed_and_brought_back", one_of_three)
        .test("a_namespace_stops_writes_and_takes_them_again", stop_writes)
        .test("batches_are_refused_for_a_while", refused_batches)
        .test("many_writers_meet_on_one_record", hot_key)
        .run()
}

async fn killed() -> TestResult {
    let options = AerospikeOptions { persistent: true, ..AerospikeOptions::default() };
    let server = Server::start_aerospike(&options).await?;
    let store = open(server.url()).await?;
    assert!(store.capabilities().durable);
    let early = Load::start(&store, "early", LoadPlan::default())?;
    early.wait_for_success(SOON).await?;
    let early = early.stop().await;
    early.sound(SLACK)?;
    // A server alone, of the Community edition, may lose what it has acknowledged just before.
    sleep(10 * options.flushed_after()).await;

    let load = Load::start(&store, TENANT, LoadPlan::default())?;
    load.wait_for_success(SOON).await?;
    server.kill().await?;
    load.wait_for_error(&GONE, SOON).await?;
    server.restart().await?;
    load.wait_for_success(SOON).await?;
    let report = load.stop().await;
    report.nothing_wrong()?;
    report.deadline_kept(SLACK)?;
    for class in report.writes().errors.keys().chain(report.reads().errors.keys()) {
        holds(GONE.contains(&class.kind) && class.retryable, || format!("{class}\n{report}"))?;
    }
    let verification = report.verify(&store).await?;
    holds(verification.wrong.is_empty(), || format!("{:?}", verification.wrong))?;
    Ok(early.verify(&store).await?.sound()?)
}

async fn silent() -> TestResult {
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let store = open(server.url()).await?;
    let load = Load::start(&store, TENANT, LoadPlan::default())?;
    load.wait_for_success(SOON).await?;
    server.pause().await?;
    load.wait_for_error(&[ErrorKind::DeadlineExceeded], SOON).await?;
    sleep(Duration::from_secs(5)).await;
    server.resume().await?;
    load.wait_for_success(SOON).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    Ok(report.verify(&store).await?.sound()?)
}

async fn deadline() -> TestResult {
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let deadline = Duration::from_millis(300);
    let store = open(server.url()).await?.with_deadline(deadline);
    let keys = entities(50);
    let rows = |second| keys.iter().map(move |key| FeatureWrite::new(key.clone(), one(1)).at(at(second)));
    store.batch_write(TENANT, VIEW, rows(0)).await?.into_result()?;
    server.pause().await?;
    let start = Instant::now();
    let report = store.batch_write(TENANT, VIEW, rows(1)).await?;
    let took = start.elapsed();
    holds(took < deadline + SLACK, || format!("a write took {took:?}"))?;
    // Each row has an outcome, and each may have taken effect.
    assert_eq!(report.failures().count(), 50);
    for (_, error) in report.failures() {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        assert!(error.in_doubt() && error.is_retryable(), "{error}");
    }
    let start = Instant::now();
    for row in store.batch_read(TENANT, VIEW, &keys, None).await? {
        let error = row.expect_err("the server is silent");
        assert_eq!((error.kind(), error.in_doubt()), (ErrorKind::DeadlineExceeded, false), "{error}");
    }
    let error = store.read_features(TENANT, VIEW, &entity(1), None).await.expect_err("the server is silent");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    let took = start.elapsed();
    holds(took < 2 * deadline + SLACK, || format!("two reads took {took:?}"))?;
    server.resume().await?;
    let patient = store.with_deadline(SOON);
    assert_eq!(patient.batch_write(TENANT, VIEW, rows(2)).await?.applied(), 50);
    Ok(())
}

async fn one_of_three() -> TestResult {
    let cluster = AerospikeCluster::start(3).await?;
    let store = open(&cluster.url()).await?;
    let plan = LoadPlan { deadline: Duration::from_secs(2), ..LoadPlan::default() };
    let load = Load::start(&store, TENANT, plan)?;
    load.wait_for_success(SOON).await?;
    for node in [1, 0] {
        cluster.nodes()[node].kill().await?;
        // The other two have all the data, and take over by themselves.
        load.wait_for_success(LATER).await?;
        cluster.nodes()[node].restart().await?;
        cluster.wait_until_whole(LATER).await?;
        load.wait_for_success(LATER).await?;
    }
    let report = load.stop().await;
    report.sound(SLACK)?;
    for class in report.writes().errors.keys().chain(report.reads().errors.keys()) {
        holds(GONE.contains(&class.kind), || format!("an error of kind {class}\n{report}"))?;
    }
    Ok(report.verify(&store).await?.sound()?)
}

async fn stop_writes() -> TestResult {
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let store = open(server.url()).await?;
    let plan = LoadPlan { readers: 0, ..LoadPlan::default() };
    let load = Load::start(&store, TENANT, plan)?;
    load.wait_for_success(SOON).await?;
    let percent = |percent: u8| {
        format!("set-config:context=namespace;namespace=features;stop-writes-sys-memory-pct={percent}")
    };
    server.info(&percent(1)).await?;
    load.wait_for_error(&[ErrorKind::Throttled], LATER).await?;
    // Reads go on, and the check says what is wrong.
    store.batch_read(TENANT, VIEW, &entities(10), None).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let warnings = store.check().await?.warnings.join("; ");
    holds(warnings.contains("stop-writes"), || format!("the check warns of: {warnings}"))?;
    server.info(&percent(90)).await?;
    load.wait_for_success(LATER).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    holds(report.writes().errors.keys().all(|class| class.retryable && !class.in_doubt), || {
        report.to_string()
    })?;
    Ok(report.verify(&store).await?.sound()?)
}

async fn refused_batches() -> TestResult {
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let store = open(server.url()).await?;
    let load = Load::start(&store, TENANT, LoadPlan::default())?;
    load.wait_for_success(SOON).await?;
    let most = |rows: u32| format!("set-config:context=service;batch-max-requests={rows}");
    server.info(&most(5)).await?;
    load.wait_for_error(&[ErrorKind::LimitExceeded], SOON).await?;
    server.info(&most(0)).await?;
    load.wait_for_success(SOON).await?;
    let report = load.stop().await;
    report.sound(SLACK)?;
    Ok(report.verify(&store).await?.sound()?)
}

/// More writers than calls may wait for one record at the server.
async fn hot_key() -> TestResult {
    const WRITERS: i64 = 64;
    const ROUNDS: i64 = 20;
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    let store = open(server.url()).await?.with_deadline(LATER);
    let writer = |number: i64| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let features = Features::new().with(format!("f{number:02}"), round);
                let time = Some(at(round * WRITERS + number));
                store.write_features(TENANT, VIEW, &entity(1), features, time, None).await?;
            }
            Ok::<_, feature_core::Error>(())
        })
    };
    let ended = try_join_all((0..WRITERS).map(writer)).await.map_err(|error| error.to_string())?;
    // A writer that gives up says that others got in first; nothing else may go wrong.
    let failed: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
    holds(failed.iter().all(|error| error.kind() == ErrorKind::Conflict), || format!("{failed:?}"))?;
    let row = store.read_features(TENANT, VIEW, &entity(1), None).await?.ok_or("there is no record")?;
    let whole = (0..WRITERS).filter(|number| row.get(&format!("f{number:02}")) == Some(&(ROUNDS - 1).into()));
    holds(whole.count() + failed.len() == WRITERS as usize, || format!("features are missing: {row:?}"))
}
