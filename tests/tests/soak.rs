//! The program's whole life: a server that follows a stream, migrations, purges, reloads, and restarts of stores and
//! server, while every acknowledged write is read back. `cargo xtask soak --minutes 60` runs it for long; among the
//! other tests it runs one cycle.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod program;
#[path = "soak/report.rs"]
mod report;
#[path = "soak/server.rs"]
mod server;
#[path = "soak/work.rs"]
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use report::{Deeds, Life, report};
use serde_json::json;
use server::{Client, Server};
use store_testkit::servers::{RedisOptions, Server as Redis};
use store_testkit::{ServerTests, TestFailure};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use work::{Producer, STREAMED, Shared, Tally, mortal, own};

pub(crate) type Outcome<T = ()> = Result<T, TestFailure>;

const MINUTES: &str = "FSTORE_SOAK_MINUTES";
const REPORT: &str = "FSTORE_SOAK_REPORT";
const OWNERS: usize = 4;
/// Records of a tenant that migrates.
const MIGRATED: u64 = 300;
const MESSAGES: usize = 3_000;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .patience(Duration::from_secs(60 * minutes() + 600))
        .test("a_whole_life_loses_nothing_and_takes_no_more_at_its_end", soak)
        .run()
}

fn minutes() -> u64 {
    std::env::var(MINUTES).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn soak() -> Outcome {
    let life = Arc::new(Whole::new().await?);
    life.shared.server.start().await?;
    let begun = Instant::now();
    let (stopped, lives) = (Arc::<AtomicBool>::default(), Arc::new(Mutex::new(vec![Life::default()])));
    let mut workers = life.workers();
    let sampler = tokio::spawn(sample(Arc::clone(&life.shared), Arc::clone(&lives), Arc::clone(&stopped)));
    let mut deeds = Deeds::default();
    let outcome = tokio::select! {
        done = life.cycles(begun + Duration::from_secs(60 * minutes()), &mut deeds, &lives) => done,
        wrong = first_wrong(&mut workers) => Err(wrong),
    };
    stopped.store(true, Relaxed);
    life.shared.stopped.store(true, Relaxed);
    let ended = async {
        while let Some(worker) = workers.join_next().await {
            worker.map_err(|error| error.to_string())??;
        }
        life.shared.server.signal("TERM").await
    };
    let outcome = match outcome {
        Ok(()) => ended.await,
        wrong => wrong,
    };
    let _ = sampler.await;
    let lives = lives.lock().await;
    let grown = lives.iter().find_map(Life::grown);
    let outcome = outcome.and(grown.map_or(Ok(()), |what| Err(what.into())));
    let wrong = outcome.as_ref().err().map(ToString::to_string);
    let text = report(begun.elapsed(), &life.shared.tally, &deeds, &lives, wrong.as_deref());
    println!("{text}");
    if let Some(file) = std::env::var_os(REPORT) {
        std::fs::write(file, &text)?;
    }
    outcome
}

async fn sample(shared: Arc<Shared>, lives: Arc<Mutex<Vec<Life>>>, stopped: Arc<AtomicBool>) {
    while !stopped.load(Relaxed) {
        if let (Some(taken), Some(life)) = (shared.server.taken().await, lives.lock().await.last_mut()) {
            life.0.push(taken);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn first_wrong(workers: &mut JoinSet<Outcome>) -> TestFailure {
    match workers.join_next().await {
        Some(Ok(Err(wrong))) => wrong,
        Some(Ok(Ok(()))) => "a worker has ended early".into(),
        Some(Err(panicked)) => panicked.to_string().into(),
        None => "there are no workers".into(),
    }
}

/// All that takes part.
struct Whole {
    _folder: tempfile::TempDir,
    settings: PathBuf,
    main: Redis,
    _other: Redis,
    stream: Redis,
    shared: Arc<Shared>,
}

impl Whole {
    async fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let settings = folder.path().join("fstore.yaml");
        let durable = RedisOptions { appendonly: true, ..RedisOptions::default() };
        let (main, other) = (Redis::start_redis(&durable).await?, Redis::start_redis(&durable).await?);
        let stream = Redis::start_redis(&durable).await?;
        let text = format!(
            "stores: {{ main: '{}', other: '{}' }}\ndefault: {{ store: main }}\ndeadline: 2s\n\
             migration: {{ refresh: 100ms, lease: 2s, longest_write: 2s }}\n\
             streams:\n  orders:\n    redis: '{}'\n    payload: data\n    claim_after: 1s\n    tenant: {STREAMED}\n    \
             view: clicks\n    entity: {{ id: id }}\n    event_time: {{ field: at, unit: us }}\n    batch_size: 500\n",
            main.url(),
            other.url(),
            stream.url()
        );
        std::fs::write(&settings, text)?;
        let shared = Arc::new(Shared {
            server: Server::new(&settings),
            tally: Tally::default(),
            stopped: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            at_work: AtomicU64::new(0),
        });
        Ok(Self { _folder: folder, settings, main, _other: other, stream, shared })
    }

    fn workers(&self) -> JoinSet<Outcome> {
        let never = Arc::<AtomicBool>::default();
        let mut workers = JoinSet::new();
        for owner in 0..OWNERS {
            workers.spawn(own(
                Arc::clone(&self.shared),
                "acme".into(),
                format!("o{owner}"),
                Arc::clone(&never),
            ));
        }
        workers.spawn(mortal(Arc::clone(&self.shared)));
        workers
    }

    /// Cycles until this moment, one at least; the server is killed once, half-way.
    async fn cycles(&self, until: Instant, deeds: &mut Deeds, lives: &Mutex<Vec<Life>>) -> Outcome {
        let (begun, mut producer) =
            (Instant::now(), Producer::new(Arc::clone(&self.shared), self.stream.url()).await?);
        let half = begun + until.saturating_duration_since(begun) / 2;
        for cycle in 0.. {
            producer.send(MESSAGES).await?;
            self.migrate(cycle, deeds).await?;
            self.reload(cycle, deeds).await?;
            producer.send(MESSAGES).await?;
            self.harm_store(cycle, deeds).await?;
            producer.settle(&self.stream).await?;
            deeds.store_mb.push(self.store_mb().await?);
            if deeds.server_killed == 0 && Instant::now() >= half {
                self.counters_agree().await?;
                producer.send(MESSAGES).await?;
                self.shared.server.kill().await?;
                deeds.server_killed += 1;
                lives.lock().await.push(Life::default());
                self.shared.server.start().await?;
                producer.settle(&self.stream).await?;
            }
            if Instant::now() >= until {
                break;
            }
        }
        self.counters_agree().await
    }

    /// A tenant of its own migrates while it is written, and is removed.
    async fn migrate(&self, cycle: u64, deeds: &mut Deeds) -> Outcome {
        let tenant = format!("m{cycle}");
        let mut client = Client::new(&self.shared.server);
        for id in 0..MIGRATED {
            let row = json!({ "entity": { "id": id.to_string() }, "features": { "n": id } });
            client.write(&tenant, "bulk", &row).await?;
        }
        let end = Arc::<AtomicBool>::default();
        let owner = tokio::spawn(own(Arc::clone(&self.shared), tenant.clone(), "o".into(), Arc::clone(&end)));
        let aborts = cycle % 3 == 2;
        let last: &[&str] = if aborts { &["abort", "--purge-target"] } else { &["finish"] };
        for words in [&["start", "--to", "other"][..], &["verify"], &["cutover"], &["verify"], last] {
            self.fstore(&[&["migrate"], words, &["--tenant", &tenant]].concat()).await?;
        }
        end.store(true, Relaxed);
        owner.await.map_err(|error| error.to_string())??;
        let ids: Vec<_> = (0..MIGRATED).map(|id| id.to_string()).collect();
        let found = client.read(&tenant, "bulk", &ids, &["n"]).await?;
        if (0..MIGRATED).zip(&found).any(|(id, row)| row[0] != Some(id as i64)) {
            return Err(format!("records of {tenant} are lost in a migration: {found:?}").into());
        }
        self.fstore(&["purge", "--tenant", &tenant, "--yes"]).await?;
        let left = client.read(&tenant, "bulk", &ids, &["n"]).await?;
        if left.iter().any(|row| row[0].is_some()) {
            return Err(format!("{tenant} was purged and is served: {left:?}").into());
        }
        deeds.purged += 1;
        *if aborts { &mut deeds.aborted } else { &mut deeds.migrated } += 1;
        Ok(())
    }

    async fn fstore(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(program::fstore());
        let output =
            command.arg("--config").arg(&self.settings).args(words).kill_on_drop(true).output().await?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let errors = String::from_utf8_lossy(&output.stderr);
                Err(format!("`fstore {}` ended with {}: {errors}", words.join(" "), output.status).into())
            }
        }
    }

    /// New settings, of which the server is told.
    async fn reload(&self, cycle: u64, deeds: &mut Deeds) -> Outcome {
        let before = self.shared.server.metric("fstore_reloads_total", &[]).await?;
        rewrite(&self.settings, cycle)?;
        self.shared.server.signal("HUP").await?;
        for _ in 0..300 {
            if self.shared.server.metric("fstore_reloads_total", &[]).await? > before {
                deeds.reloads += 1;
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err("the server does not take new settings".into())
    }

    async fn harm_store(&self, cycle: u64, deeds: &mut Deeds) -> Outcome {
        if cycle.is_multiple_of(2) {
            self.main.kill().await?;
            sleep(Duration::from_millis(500)).await;
            self.main.restart().await?;
            deeds.store_killed += 1;
        } else {
            self.main.pause().await?;
            sleep(Duration::from_secs(1)).await;
            self.main.resume().await?;
            deeds.store_paused += 1;
        }
        Ok(())
    }

    async fn store_mb(&self) -> Outcome<f64> {
        let memory = self.main.command(&["INFO", "memory"]).await?;
        let used = memory.text().lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.and_then(|number| number.trim().parse::<f64>().ok()).unwrap_or_default() / f64::from(1 << 20))
    }

    /// What the server has counted since it was begun is what its clients have.
    async fn counters_agree(&self) -> Outcome {
        let server = &self.shared.server;
        self.shared.rest().await;
        let counted = server.metric("fstore_http_requests_total", &["write\"", "status=\"200\""]).await?;
        let answered = server.written.load(Relaxed);
        let stream = async |what: &str| server.metric(&format!("fstore_stream_{what}_total"), &[]).await;
        let (mut delivered, mut taken) = (0, 1);
        // Shown each second, while some are under way.
        for _ in 0..100 {
            taken = stream("written").await? + stream("dead_letters").await? + stream("empty").await?;
            delivered = stream("delivered").await?;
            if delivered == taken {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.shared.go_on();
        // An answer that was cut off is counted by the server alone; here none is.
        if counted != answered {
            return Err(format!("the server counts {counted} writes, its clients {answered}").into());
        }
        if delivered != taken {
            return Err(format!("{delivered} messages were delivered, {taken} written or set aside").into());
        }
        Ok(())
    }
}

/// The settings with another deadline in each cycle.
fn rewrite(settings: &Path, cycle: u64) -> Outcome {
    let text = std::fs::read_to_string(settings)?;
    let line = |line: &str| match line.starts_with("deadline:") {
        true => format!("deadline: {}ms\n", 1_990 + cycle % 10),
        false => format!("{line}\n"),
    };
    Ok(std::fs::write(settings, text.lines().map(line).collect::<String>())?)
}
