//! Records migrate between real stores while they are written and read, and whoever migrates them is killed
//! again and again, in the middle of each step: no read fails, and no write is lost.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod migration;
mod program;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use feature_core::StoreUrl;
use migration::{
    Backend, DEADLINE, LASTING_OF_THREE, OwnRecords, TENANT, connect, contents, equal, fill, open,
    settings_file,
};
use store_testkit::load::{Load, LoadPlan, LoadReport};
use store_testkit::servers::{self, AerospikeOptions, RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use store_unified::{MigrationStatus, Phase, UnifiedFeatureStore};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

type Outcome<T = ()> = Result<T, TestFailure>;

/// Records that are there before; copied at this pace, a copy takes a few seconds.
const RECORDS: u64 = 12_000;
/// Those of them that do not expire meanwhile.
const LASTING: u64 = RECORDS / 3 * LASTING_OF_THREE;
const SLOWLY: &str = "start --to new --rows-per-second 4000";
const START: &str = "start --to new";
const KILLS: usize = 10;
/// How often a copy may be done before it is killed.
const TOO_LATE: usize = 10;
const SOON: Duration = Duration::from_secs(20);
/// How often the source is told how far a copy has come.
const TOLD_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("records_migrate_from_redis_to_redis_whoever_is_killed", redis_to_redis)
        .test("records_migrate_from_redis_to_aerospike_whoever_is_killed", redis_to_aerospike)
        .test("an_aborted_migration_leaves_every_write_in_the_source", aborted)
        .run()
}

async fn redis_to_redis() -> Outcome {
    let (old, new) = (redis().await?, redis().await?);
    migrate(&old, &new).await
}

async fn redis_to_aerospike() -> Outcome {
    servers::program("asd").map_err(|why| TestFailure::unavailable(why).of("aerospike"))?;
    let (old, new) = (redis().await?, Server::start_aerospike(&AerospikeOptions::default()).await?);
    migrate(&old, &new).await
}

async fn redis() -> Result<Server, String> {
    Server::start_redis(&RedisOptions::default()).await
}

/// Two stores, and the process that uses them, which is another than the one that migrates.
struct Migration<'a> {
    source: &'a Server,
    _folder: tempfile::TempDir,
    settings: PathBuf,
    store: UnifiedFeatureStore,
    old: Backend,
    new: Backend,
}

impl<'a> Migration<'a> {
    async fn new(source: &'a Server, target: &Server) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let settings = settings_file(folder.path(), source.url(), target.url());
        let store = open(&settings).await?;
        fill(store.online(), RECORDS).await?;
        let old = connect(&StoreUrl::parse(source.url())?).await?;
        let new = connect(&StoreUrl::parse(target.url())?).await?;
        Ok(Self { source, _folder: folder, settings, store, old, new })
    }

    /// `fstore migrate`, with these words.
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(program::fstore());
        command.arg("--config").arg(&self.settings).arg("migrate").args(words.split_whitespace());
        command.args(["--tenant", TENANT]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Runs it to its end, which must be a good one.
    async fn run(&self, words: &str) -> Result<String, String> {
        let output = self.command(words).output().await.map_err(|e| e.to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("`fstore migrate {words}` ended with {}: {errors}", output.status)),
        }
    }

    /// The migration, as its source remembers it.
    async fn status(&self) -> Outcome<Option<MigrationStatus>> {
        Ok(self.store.migrations().status().await?.pop())
    }

    /// Starts it, and kills it at a random moment after the migration was seen where this says; `None` if it
    /// was no longer there when the process had died.
    async fn kill(
        &self,
        words: &str,
        there: impl Fn(&MigrationStatus) -> bool,
        within: Duration,
    ) -> Outcome<Option<MigrationStatus>> {
        let mut process = self.command(words).spawn()?;
        let (start, mut begun) = (Instant::now(), false);
        while process.try_wait()?.is_none() && start.elapsed() < SOON {
            if let Some(status) = self.status().await? {
                // What the last process has left must not be taken for this one's.
                begun |= status.phase != Phase::Copying || status.looked_at == 0;
                if begun && there(&status) {
                    break;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        sleep(within.mul_f64(fastrand::f64())).await;
        // On Unix this is SIGKILL. It may have ended before.
        let _ = process.start_kill();
        let output = process.wait_with_output().await?;
        let (ended, status) = (output.status, self.status().await?);
        if ended.code().is_some_and(|code| code != 0) {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`fstore migrate {words}` ended with {ended}: {errors}").into());
        }
        Ok(status.filter(|now| ended.code().is_none() && there(now)))
    }

    /// The same for a moment that no process can miss.
    async fn kill_in(
        &self,
        words: &str,
        there: impl Fn(&MigrationStatus) -> bool,
        within: Duration,
    ) -> Outcome {
        let killed = self.kill(words, there, within).await?;
        let killed =
            killed.ok_or_else(|| format!("`fstore migrate {words}` was not killed where it should"))?;
        println!("killed `{words}` while {}", killed.phase);
        Ok(())
    }

    /// Copies everything, killed again and again while it does so.
    async fn start(&self) -> Outcome {
        self.kill_in(SLOWLY, waits_in(Phase::Copying), Duration::from_secs(1)).await?;
        let (mut killed, mut too_late) = (Vec::new(), 0);
        while killed.len() < KILLS {
            // An interrupted copy looks at what the target has, too.
            let passes = if killed.is_empty() { 1 } else { 2 };
            let at = fastrand::u64(..LASTING * passes);
            let copies = |status: &MigrationStatus| {
                status.phase == Phase::Copying && status.followed && status.looked_at >= at
            };
            match self.kill(SLOWLY, copies, TOLD_EVERY).await? {
                Some(status) => killed.push(status.looked_at),
                None if too_late == TOO_LATE => {
                    return Err(format!("{TOO_LATE} copies were done before they were killed").into());
                }
                None => too_late += 1,
            }
        }
        println!("{KILLS} kills in the midst of a copy, after so many records: {killed:?}");
        self.run(SLOWLY).await?;
        Ok(())
    }

    /// How often the source has been asked for a page of its keys.
    async fn pages(&self) -> Result<u64, String> {
        let statistics = self.source.command(&["INFO", "commandstats"]).await?;
        let scan = statistics.text().lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls="));
        Ok(scan.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0))
    }

    /// Compares the stores, killed once while it does so.
    async fn verify(&self) -> Outcome {
        for _ in 0..TOO_LATE {
            let before = self.pages().await?;
            let mut process = self.command("verify").spawn()?;
            while process.try_wait()?.is_none() && self.pages().await? == before {
                sleep(LOOK_EVERY).await;
            }
            sleep(Duration::from_millis(100).mul_f64(fastrand::f64())).await;
            let _ = process.start_kill();
            if process.wait().await?.code().is_none() {
                println!("killed `verify` while it compared");
                // Nothing is repaired: the copy alone must have made them equal.
                println!("verified: {}", self.run("verify").await?.trim());
                return Ok(());
            }
        }
        Err("the stores were compared before the process was killed".into())
    }

    /// Ends the migration, killed once in each phase of that.
    async fn finish(&self) -> Outcome {
        println!("verified: {}", self.run("verify").await?.trim());
        self.kill_in("finish", waits_in(Phase::Finishing), Duration::from_secs(1)).await?;
        self.kill_in("finish", waits_in(Phase::Holding), Duration::from_millis(100)).await?;
        // Those whose writes wait give that up; then the stores must be found equal once more.
        let given_up = async {
            while self.status().await?.is_none_or(|status| status.phase != Phase::CutOver) {
                sleep(LOOK_EVERY).await;
            }
            Outcome::Ok(())
        };
        timeout(SOON, given_up).await.map_err(|_| "writes wait for ever".to_owned())??;
        println!("verified: {}", self.run("verify").await?.trim());
        self.kill_in("finish", waits_in(Phase::Finished), Duration::from_secs(1)).await?;
        self.run("finish").await?;
        Ok(())
    }

    /// A load that ends with nothing lost, nothing stale and no failed read, while this goes on.
    async fn under_load(&self, work: impl Future<Output = Outcome>) -> Outcome<LoadReport> {
        let plan = LoadPlan { writers: 8, readers: 8, deadline: DEADLINE, ..LoadPlan::default() };
        let load = Load::start(self.store.online(), TENANT, plan)?;
        let mut own = OwnRecords::start(self.store.online(), 8);
        load.wait_for_success(SOON).await?;
        tokio::select! {
            done = work => done?,
            why = own.failure() => return Err(why.into()),
        }
        load.wait_for_success(SOON).await?;
        let report = load.stop().await;
        println!("{report}");
        report.nothing_wrong()?;
        report.nothing_stale()?;
        if !report.reads().errors.is_empty() {
            return Err(format!("reads failed:\n{report}").into());
        }
        let (writes, repeated) = own.stop().await?;
        println!("{writes} writes to records of one writer, {repeated} repeated");
        report.verify(self.store.online()).await?.sound()?;
        Ok(report)
    }
}

/// Whether not every process is known yet to follow the phase.
fn waits_in(phase: Phase) -> impl Fn(&MigrationStatus) -> bool {
    move |status| status.phase == phase && !status.followed
}

async fn migrate(source: &Server, target: &Server) -> Outcome {
    let migration = Migration::new(source, target).await?;
    let to_the_cutover = async {
        migration.start().await?;
        migration.verify().await?;
        migration.kill_in("cutover", waits_in(Phase::CutOver), Duration::from_secs(1)).await?;
        migration.run("cutover").await?;
        Ok(())
    };
    let written = migration.under_load(to_the_cutover).await?;
    equal(&migration.old, &migration.new).await?;

    let own = OwnRecords::start(migration.store.online(), 8);
    migration.finish().await?;
    own.stop().await?;
    written.verify(migration.store.online()).await?.sound()?;
    let before = contents(&migration.old).await?;
    let own = OwnRecords::start(migration.store.online(), 8);
    sleep(Duration::from_millis(500)).await;
    own.stop().await?;
    if contents(&migration.old).await? != before {
        return Err("a finished migration still writes to the source".into());
    }
    Ok(())
}

async fn aborted() -> Outcome {
    let (old, new) = (redis().await?, redis().await?);
    let migration = Migration::new(&old, &new).await?;
    let there_and_back = async {
        for words in [START, "verify", "cutover"] {
            migration.run(words).await?;
        }
        migration.kill_in("abort", waits_in(Phase::Aborting), Duration::from_secs(1)).await?;
        migration.run("abort --purge-target").await?;
        Ok(())
    };
    migration.under_load(there_and_back).await?;
    if let Some(left) = migration.status().await? {
        return Err(format!("an aborted migration is {}", left.phase).into());
    }
    match contents(&migration.new).await?.len() {
        0 => Ok(()),
        left => Err(format!("{left} records are left in the target").into()),
    }
}
