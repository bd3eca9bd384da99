//! Records migrate between real stores while they are written and read, and whoever migrates them is killed
//! again and again: no read fails, and no write is lost.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod migration;
mod program;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use feature_core::StoreUrl;
use migration::{DEADLINE, OwnRecords, TENANT, connect, contents, fill, open, settings_file};
use store_testkit::load::{Load, LoadPlan};
use store_testkit::servers::{self, AerospikeOptions, RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use tokio::time::sleep;

type Outcome = Result<(), TestFailure>;

/// Records that are there before; copied at this pace, a copy takes a few seconds.
const RECORDS: u64 = 12_000;
const ROWS_PER_SECOND: &str = "4000";
const KILLS: usize = 10;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("records_migrate_from_redis_to_redis_whoever_is_killed", redis_to_redis)
        .test("records_migrate_from_redis_to_aerospike_whoever_is_killed", redis_to_aerospike)
        .run()
}

async fn redis_to_redis() -> Outcome {
    let (old, new) = (redis().await?, redis().await?);
    migrate(old.url(), new.url()).await
}

async fn redis_to_aerospike() -> Outcome {
    servers::program("asd").map_err(TestFailure::unavailable)?;
    let (old, new) = (redis().await?, Server::start_aerospike(&AerospikeOptions::default()).await?);
    migrate(old.url(), new.url()).await
}

async fn redis() -> Result<Server, String> {
    Server::start_redis(&RedisOptions::default()).await
}

/// The program's `migrate`, with these words.
fn fstore(settings: &Path, words: &str) -> Command {
    let mut command = Command::new(program::fstore());
    command.arg("--config").arg(settings).arg("migrate").args(words.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end, which must be a good one.
async fn run(settings: &Path, words: &str) -> Result<String, String> {
    let mut command = fstore(settings, words);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("`fstore migrate {words}` ended with {}: {errors}", output.status)),
    }
}

/// Runs it and kills it so many times, each at a random moment within this time; how often it was killed
/// before it was done.
async fn kill(settings: &Path, words: &str, times: usize, within: Duration) -> Result<usize, String> {
    let mut killed = 0;
    while killed < times {
        let mut process = fstore(settings, words).spawn().map_err(|e| e.to_string())?;
        sleep(within.mul_f64(fastrand::f64())).await;
        let ended = process.try_wait().map_err(|e| e.to_string())?;
        // On Unix this is SIGKILL.
        let _ = process.kill();
        let output = process.wait_with_output().map_err(|e| e.to_string())?;
        match ended {
            None => killed += 1,
            Some(status) if status.success() => return Ok(killed),
            Some(status) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                return Err(format!("`fstore migrate {words}` ended with {status}: {errors}"));
            }
        }
    }
    Ok(killed)
}

async fn migrate(old: &str, new: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let settings = settings_file(folder.path(), old, new);
    let store = open(&settings).await?;
    fill(store.online(), RECORDS).await?;
    let (old, new) = (connect(&StoreUrl::parse(old)?).await?, connect(&StoreUrl::parse(new)?).await?);

    let plan = LoadPlan { writers: 8, readers: 8, deadline: DEADLINE, ..LoadPlan::default() };
    let load = Load::start(store.online(), TENANT, plan)?;
    let own = OwnRecords::start(store.online(), 8);
    load.wait_for_success(Duration::from_secs(20)).await?;

    let scope = format!("--tenant {TENANT}");
    let start = format!("start {scope} --to new --rows-per-second {ROWS_PER_SECOND}");
    let killed = kill(&settings, &start, KILLS, Duration::from_secs(4)).await?;
    if killed < KILLS {
        return Err(format!("the copy was done after {killed} kills: give it more to do").into());
    }
    run(&settings, &start).await?;
    let verify = format!("verify {scope}");
    kill(&settings, &verify, 1, Duration::from_secs(2)).await?;
    let found = run(&settings, &verify).await?;
    println!("verified: {}", found.trim());
    kill(&settings, &format!("cutover {scope}"), 2, Duration::from_secs(3)).await?;
    run(&settings, &format!("cutover {scope}")).await?;
    load.wait_for_success(Duration::from_secs(20)).await?;

    let report = load.stop().await;
    println!("{report}");
    report.nothing_wrong()?;
    report.nothing_stale()?;
    if !report.reads().errors.is_empty() {
        return Err(format!("reads failed:\n{report}").into());
    }
    let (writes, repeated) = own.stop().await?;
    println!("{writes} writes to records of one writer, {repeated} repeated");
    report.verify(store.online()).await?.sound()?;

    // Nobody writes now: both stores must have the same, byte for byte.
    let (in_old, in_new) = (contents(&old).await?, contents(&new).await?);
    println!("{} records in both stores", in_old.len());
    let differing: Vec<_> = in_old.iter().filter(|(key, bytes)| in_new.get(*key) != Some(bytes)).collect();
    if in_old.len() != in_new.len() || !differing.is_empty() {
        return Err(format!(
            "{} records, {} in the other store, differing {differing:?}",
            in_old.len(),
            in_new.len()
        )
        .into());
    }

    let own = OwnRecords::start(store.online(), 8);
    run(&settings, &verify).await?;
    kill(&settings, &format!("finish {scope}"), 2, Duration::from_secs(3)).await?;
    finish(&settings, &scope).await?;
    own.stop().await?;
    report.verify(store.online()).await?.sound()?;
    let before = contents(&old).await?;
    let own = OwnRecords::start(store.online(), 8);
    sleep(Duration::from_millis(500)).await;
    own.stop().await?;
    if contents(&old).await? != before {
        return Err("a finished migration still writes to the source".into());
    }
    Ok(())
}

/// A hold whose command was killed is given up by those who wait; then the stores must be verified again.
async fn finish(settings: &Path, scope: &str) -> Result<(), String> {
    let mut last = Ok(());
    for _ in 0..3 {
        last = run(settings, &format!("finish {scope}")).await.map(drop);
        if last.is_ok() {
            break;
        }
        run(settings, &format!("verify {scope}")).await?;
    }
    last
}
