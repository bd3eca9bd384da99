//! Records migrate from a file to Redis. One process at a time can open the file, so the one that owns it
//! writes, reads and migrates; it is killed again and again, in the middle of each step, and no acknowledged
//! write is lost.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod counters;
mod migration;

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use counters::{Acknowledged, Counters};
use feature_core::{ErrorKind, OnlineStore, Scope, StoreUrl};
use migration::{
    Backend, DEADLINE, LASTING_OF_THREE, OwnRecords, TENANT, connect, equal, fill, open, settings_file,
};
use store_testkit::servers::{RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use store_unified::{MigrationProgress, Migrations, Phase, StartOptions, Step};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

const RECORDS: u64 = 8_000;
/// Those of them that do not expire meanwhile.
const LASTING: u64 = RECORDS / 3 * LASTING_OF_THREE;
/// So that a copy takes some seconds.
const ROWS_PER_SECOND: u32 = 3_000;
const KILLS: usize = 10;
/// Tasks of each kind.
const TASKS: usize = 8;
/// How long a process may take to the next thing that is waited for.
const SOON: Duration = Duration::from_secs(60);
/// Names the settings file to the process that is killed.
const CHILD: &str = "FSTORE_TEST_MIGRATES";
/// The phase that it is to reach.
const GOAL: &str = "FSTORE_TEST_GOAL";
/// Before what it says that the reader of the test should see.
const NOTE: &str = "note: ";

type Said<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    if let Some(settings) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let goal = std::env::var(GOAL).expect("a goal");
        return match runtime.block_on(own(Path::new(&settings), &goal)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("failed: {why}");
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
    let to_cutover = || Owner::start(&settings, Phase::CutOver);
    let to_the_end = || Owner::start(&settings, Phase::Finished);

    to_cutover()?.kill_in("start", Step::Waiting, 0).await?;
    let mut killed = Vec::new();
    while killed.len() < KILLS {
        // An interrupted copy looks at what the target has, too.
        let sweeps = !killed.is_empty() && fastrand::bool();
        let step = if sweeps { Step::Sweeping } else { Step::Copying };
        let at = fastrand::u64(1..LASTING - u64::from(ROWS_PER_SECOND) / 2);
        killed.push((to_cutover()?.kill_in("start", step, at).await?, step));
    }
    println!("{KILLS} kills in the midst of a copy, after so many records: {killed:?}");
    to_cutover()?.kill_in("verify", Step::Comparing, 0).await?;
    to_cutover()?.kill_in("cutover", Step::Waiting, 0).await?;
    to_cutover()?.end().await?;

    // Nobody writes now: both stores must have the same, byte for byte.
    let (old, new) = (store_at(&file).await?, store_at(server.url()).await?);
    equal(&old, &new).await?;
    old.close().await?;

    to_the_end()?.kill_in("finish", Step::Waiting, 0).await?;
    to_the_end()?.kill_in("finish", Step::Holding, 0).await?;
    to_the_end()?.end().await?;
    let acknowledged = Acknowledged::read(folder.path())?;
    let writes = acknowledged.check(&OnlineStore::new(new)).await?;
    println!("all {writes} writes acknowledged of {} records are in Redis", acknowledged.records());
    Ok(())
}

async fn store_at(url: &str) -> Result<Backend, TestFailure> {
    Ok(connect(&StoreUrl::parse(url)?).await?)
}

/// The process that owns the file, as its parent sees it.
struct Owner {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last: String,
}

impl Owner {
    fn start(settings: &Path, goal: Phase) -> Said<Self> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let child = Command::new(program)
            .env(CHILD, settings)
            .env(GOAL, goal.name())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|e| e.to_string())?;
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Ok(Self { child, lines, last: String::new() })
    }

    /// The next thing it says, `None` when it has ended.
    async fn next(&mut self) -> Said<Option<&str>> {
        let line = timeout(SOON, self.lines.next_line()).await;
        let line = line.map_err(|_| format!("a process hangs, and said last: {}", self.last))?;
        let Some(line) = line.map_err(|e| e.to_string())? else { return Ok(None) };
        if let Some(note) = line.strip_prefix(NOTE) {
            println!("{note}");
        }
        self.last = line;
        Ok(Some(&self.last))
    }

    /// Kills it at a random moment soon after it is seen there, so many records on; how many there were.
    async fn kill_in(mut self, command: &str, step: Step, at: u64) -> Said<u64> {
        let place = format!("{command} {step:?} ");
        let rows = |line: &str| line.strip_prefix(&place).and_then(|rows| rows.parse().ok());
        loop {
            match self.next().await? {
                Some(line) if rows(line).is_some_and(|rows: u64| rows >= at) => break,
                Some(_) => {}
                None => return Err(format!("a process ended before `{place}{at}`: {}", self.last)),
            }
        }
        sleep(Duration::from_millis(fastrand::u64(..100))).await;
        // On Unix this is SIGKILL.
        self.child.kill().await.map_err(|e| e.to_string())?;
        while self.next().await?.is_some() {}
        rows(&self.last).ok_or_else(|| format!("a process was killed at `{}`, not at `{place}`", self.last))
    }

    /// Lets it go on to its end, which must be a good one.
    async fn end(mut self) -> Said {
        while self.next().await?.is_some() {}
        let status = self.child.wait().await.map_err(|e| e.to_string())?;
        status.success().then_some(()).ok_or_else(|| format!("a process ended with {status}: {}", self.last))
    }
}

/// What the owner of the file does: writes and reads all the while, and migrates.
async fn own(settings: &Path, goal: &str) -> Said {
    let store = open(settings).await.map_err(|e| e.to_string())?;
    let folder = settings.parent().expect("a folder");
    let online = store.online().with_deadline(DEADLINE);
    // Nothing that was acknowledged to an owner before this one may be lost.
    Acknowledged::read(folder)?.check(&online).await?;
    let mut counters = Counters::start(&online, folder, TASKS, RECORDS)?;
    let mut own = OwnRecords::start(&online, TASKS as u64);
    let mover = Mover { migrations: store.migrations(), scope: Scope::tenant(TENANT).expect("a tenant") };
    tokio::select! {
        moved = mover.migrate(goal) => moved?,
        why = counters.failure() => return Err(why),
        why = own.failure() => return Err(why),
    }
    counters.stop().await?;
    own.stop().await?;
    if goal == Phase::CutOver.name() {
        mover.verify(false).await?;
    }
    store.close().await.map_err(|e| e.to_string())
}

struct Mover<'a> {
    migrations: &'a Migrations,
    scope: Scope,
}

impl Mover<'_> {
    /// Goes on from where the last process was.
    async fn migrate(&self, goal: &str) -> Said {
        let (migrations, scope) = (self.migrations, &self.scope);
        let options =
            StartOptions { rows_per_second: ROWS_PER_SECOND.try_into().ok(), ..StartOptions::default() };
        let mut copied_here = false;
        loop {
            let status = migrations.status().await.map_err(|e| e.to_string())?.pop();
            let (phase, followed) =
                status.map_or((Phase::Copying, false), |status| (status.phase, status.followed));
            if phase.name() == goal && followed {
                return Ok(());
            }
            match phase {
                Phase::Copying => {
                    told("start", async |p| migrations.start(scope, "new", options, p).await).await?;
                    copied_here = true;
                }
                Phase::Copied => self.verify(copied_here).await?,
                Phase::Verified => {
                    told("cutover", async |p| migrations.cutover(scope, false, p).await).await?;
                }
                Phase::CutOver if !followed => {
                    told("cutover", async |p| migrations.cutover(scope, false, p).await).await?;
                }
                Phase::CutOver => {
                    self.verify(false).await?;
                    self.finish().await?;
                }
                Phase::Finishing | Phase::Holding | Phase::Finished => self.finish().await?,
                Phase::Aborting => return Err("nobody has aborted it".to_owned()),
            }
        }
    }

    async fn finish(&self) -> Said {
        let ended = told("finish", async |p| match self.migrations.finish(&self.scope, false, p).await {
            // Writes waited since the last owner was killed, and its hold has been given up.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            ended => ended.map(Some),
        });
        ended.await.map(drop)
    }

    /// Requires equal stores. Only what was under way when a process was killed after the copy may differ:
    /// nobody was told that it is written.
    async fn verify(&self, is_clean: bool) -> Said {
        let verify =
            |repair| told("verify", async move |p| self.migrations.verify(&self.scope, repair, p).await);
        let differing = verify(false).await?.counts.differing;
        if differing == 0 {
            return Ok(());
        }
        if is_clean || differing > 2 * TASKS as u64 {
            return Err(format!("{differing} records differ"));
        }
        let left = verify(true).await?.counts.differing;
        println!("{NOTE}{differing} writes were in doubt when a process was killed, {left} differ still");
        Ok(())
    }
}

/// Says all the while how far a command has come.
async fn told<T>(
    command: &str,
    work: impl AsyncFnOnce(&MigrationProgress) -> feature_core::Result<T>,
) -> Said<T> {
    let progress = MigrationProgress::default();
    let tell = async {
        loop {
            println!("{command} {:?} {}", progress.step(), progress.looked_at());
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        done = work(&progress) => done.map_err(|e| format!("`{command}`: {e}")),
        never = tell => never,
    }
}
