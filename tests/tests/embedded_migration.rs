//! Records migrate from a file to Redis. One process at a time can open the file, so the one that owns it
//! writes, reads and migrates; it is killed again and again, and no acknowledged write is lost.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod migration;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use feature_core::{EntityKey, FeatureValue, OnlineStore, Scope, StoreUrl};
use migration::{DEADLINE, OwnRecords, TENANT, connect, contents, fill, open, settings_file};
use store_testkit::servers::{RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use store_unified::{MigrationProgress, StartOptions};
use tokio::task::JoinSet;

const RECORDS: u64 = 8_000;
/// So that a copy takes longer than any process lives.
const ROWS_PER_SECOND: u32 = 1_000;
const KILLS: usize = 10;
const TASKS: u64 = 8;
const VIEW: &str = "counted";
/// Names the settings file to the process that is killed.
const CHILD: &str = "FSTORE_TEST_MIGRATES";

fn main() -> ExitCode {
    if let Some(settings) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return match runtime.block_on(child(Path::new(&settings))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    ServerTests::new("redis", "redis-server")
        .test("records_migrate_from_a_file_to_redis_whenever_its_owner_is_killed", embedded_to_redis)
        .run()
}

async fn embedded_to_redis() -> Result<(), TestFailure> {
    let folder = tempfile::tempdir()?;
    let server = Server::start_redis(&RedisOptions::default()).await?;
    // What is acknowledged must be in the file.
    let file = format!("embedded:{}?durability=each_write", folder.path().join("old.redb").display());
    let settings = settings_file(folder.path(), &file, server.url());
    let store = open(&settings).await?;
    fill(store.online(), RECORDS).await?;
    store.close().await?;

    for _ in 0..KILLS {
        let mut child = process(&settings)?;
        tokio::time::sleep(Duration::from_secs(4).mul_f64(fastrand::f64())).await;
        if let Some(ended) = child.try_wait()? {
            let said = child.wait_with_output()?;
            return Err(format!("a process ended with {ended}: {}", text(&said.stdout)).into());
        }
        // On Unix this is SIGKILL.
        child.kill()?;
        child.wait()?;
    }
    let child = process(&settings)?;
    let said = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let said = said.map_err(|e| e.to_string())??;
    if !said.status.success() {
        return Err(format!("the last process failed: {}", text(&said.stdout)).into());
    }

    let (old, new) =
        (connect(&StoreUrl::parse(&file)?).await?, connect(&StoreUrl::parse(server.url())?).await?);
    let (in_old, in_new) = (contents(&old).await?, contents(&new).await?);
    let differing = in_old.iter().filter(|(key, bytes)| in_new.get(*key) != Some(bytes)).count();
    if differing > 0 || in_old.len() != in_new.len() {
        let (old, new) = (in_old.len(), in_new.len());
        return Err(format!("{old} records in the file, {new} in Redis, {differing} differ").into());
    }
    let new = OnlineStore::new(new);
    let mut acknowledged = 0;
    for task in 0..TASKS {
        let last = last_acknowledged(&log(folder.path(), task));
        acknowledged += last;
        let row = new.read_features(TENANT, VIEW, &key(task)?, None).await?;
        let found = row.as_ref().and_then(|row| row.get("n")).and_then(FeatureValue::as_i64);
        if found.is_none_or(|found| found < last) {
            return Err(format!("record {task}: {last} was acknowledged, Redis has {found:?}").into());
        }
    }
    println!("{KILLS} kills, {acknowledged} acknowledged writes, {} records in both stores", in_old.len());
    Ok(())
}

fn process(settings: &Path) -> std::io::Result<std::process::Child> {
    Command::new(std::env::current_exe()?)
        .env(CHILD, settings)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn log(folder: &Path, task: u64) -> PathBuf {
    folder.join(format!("acknowledged-{task}"))
}

/// A line that was cut off in the midst is no acknowledgement.
fn last_acknowledged(log: &Path) -> i64 {
    let text = fs::read_to_string(log).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().next_back().and_then(|line| line.parse().ok()).unwrap_or(0)
}

fn key(task: u64) -> Result<EntityKey, String> {
    EntityKey::new("id", task).map_err(|e| e.to_string())
}

/// What the owner of the file does: writes and reads all the while, and migrates up to the cutover.
async fn child(settings: &Path) -> Result<(), String> {
    let store = open(settings).await.map_err(|e| e.to_string())?;
    let folder = settings.parent().expect("a folder").to_owned();
    let stopped = Arc::new(AtomicBool::new(false));
    let online = store.online().with_deadline(DEADLINE);
    let mut writers = JoinSet::new();
    for task in 0..TASKS {
        writers.spawn(count(online.clone(), log(&folder, task), task, Arc::clone(&stopped)));
    }
    // These read back what they have written.
    let own = OwnRecords::start(store.online(), TASKS);

    let scope = Scope::tenant(TENANT).map_err(|e| e.to_string())?;
    let (migrations, progress) = (store.migrations(), MigrationProgress::default());
    let options =
        StartOptions { rows_per_second: ROWS_PER_SECOND.try_into().ok(), ..StartOptions::default() };
    let migrate = async {
        migrations.start(&scope, "new", options, &progress).await?;
        migrations.verify(&scope, true, &progress).await?;
        migrations.cutover(&scope, false, &progress).await
    };
    migrate.await.map_err(|e| e.to_string())?;
    stopped.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.map_err(|e| e.to_string())??;
    }
    own.stop().await?;
    let equal = migrations.verify(&scope, false, &progress).await.map_err(|e| e.to_string())?;
    if equal.counts.differing > 0 {
        return Err(format!("the stores differ: {equal:?}"));
    }
    store.close().await.map_err(|e| e.to_string())
}

/// Counts up in one record, and notes each number once it is acknowledged.
async fn count(store: OnlineStore, log: PathBuf, task: u64, stopped: Arc<AtomicBool>) -> Result<(), String> {
    let key = key(task)?;
    let mut n = last_acknowledged(&log);
    let mut file = File::options().create(true).append(true).open(&log).map_err(|e| e.to_string())?;
    // What a killed process has left of a line.
    file.write_all(b"\n").map_err(|e| e.to_string())?;
    while !stopped.load(Ordering::Relaxed) {
        n += 1;
        while let Err(error) = store.write_features(TENANT, VIEW, &key, [("n", n)], None, None).await {
            if !error.is_retryable() {
                return Err(format!("a write failed for good: {error}"));
            }
        }
        file.write_all(format!("{n}\n").as_bytes()).map_err(|e| e.to_string())?;
        let row = store.read_features(TENANT, VIEW, &key, None).await.map_err(|e| e.to_string())?;
        let found = row.as_ref().and_then(|row| row.get("n")).and_then(FeatureValue::as_i64);
        if found.is_none_or(|found| found < n) {
            return Err(format!("record {task}: {n} was acknowledged, {found:?} was read"));
        }
    }
    Ok(())
}
