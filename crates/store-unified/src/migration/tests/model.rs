//! Random interleavings: whatever the moment at which a migrator dies, a write is dropped, or a process
//! hears of a phase, a write that was acknowledged is what is read next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use feature_core::{Error, FeatureWrite, Result};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::migration::Phase;

const ENTITIES: u64 = 10;
/// How long a call of a slow process takes at most, in milliseconds.
const SLOW: u64 = 12;
const SEEDS: u64 = 8;

/// A record that one task writes and nobody else.
struct Own {
    entity: u64,
    processes: Arc<Vec<Process>>,
    random: fastrand::Rng,
    /// What was acknowledged last; `None` is no record.
    features: Option<Vec<(String, i64)>>,
    time: i64,
}

enum Change {
    Merge(String),
    Replace(String),
    Delete,
}

impl Own {
    fn process(&mut self) -> usize {
        self.random.usize(..self.processes.len())
    }

    /// Makes a change until it is acknowledged.
    async fn change(&mut self) {
        let name = format!("f{}", self.random.u8(..3));
        let change = match self.random.u8(..10) {
            0..=5 => Change::Merge(name),
            6 => Change::Replace(name),
            _ => Change::Delete,
        };
        // Now and then at the same time as before: what arrives later wins.
        self.time += self.random.i64(0..2);
        let value = self.random.i64(0..1_000_000);
        loop {
            let process = self.process();
            let processes = Arc::clone(&self.processes);
            let at = Timestamp::from_micros(START.as_micros() + self.time);
            let write = |name: &str| FeatureWrite::new(key(self.entity), [(name, value)]).at(at);
            let store = &processes[process].store;
            let work = async {
                match &change {
                    Change::Merge(name) => put(store, write(name)).await,
                    Change::Replace(name) => put(store, write(name).replacing()).await,
                    Change::Delete => {
                        store.delete(TENANT, VIEW, &[key(self.entity)]).await?.remove(0).map(drop)
                    }
                }
            };
            // Some are dropped on their way, as if their process had died.
            let patience = match self.random.u8(..6) {
                0 => Duration::from_millis(self.random.u64(..4 * SLOW)),
                _ => Duration::from_secs(3600),
            };
            if let Ok(Ok(())) = timeout(patience, work).await {
                break;
            }
        }
        let name_value = |name: &str| (name.to_owned(), value);
        match &change {
            Change::Merge(name) => {
                let features = self.features.get_or_insert_default();
                features.retain(|(own, _)| own != name);
                features.push(name_value(name));
                features.sort();
            }
            Change::Replace(name) => self.features = Some(vec![name_value(name)]),
            Change::Delete => self.features = None,
        }
    }

    /// What is read, by any process, is what was acknowledged last.
    async fn check(&mut self) {
        let process = self.process();
        let row = self.processes[process].store.read_features(TENANT, VIEW, &key(self.entity), None).await;
        let row = row.expect("a read does not fail");
        let found = row.map(|row| {
            let mut features: Vec<_> =
                row.iter().map(|(name, _, value)| (name.to_owned(), value.as_i64().unwrap())).collect();
            features.sort();
            features
        });
        assert_eq!(found, self.features, "entity {} by process {process}", self.entity);
    }
}

async fn put(store: &OnlineStore, write: FeatureWrite) -> Result<()> {
    store.batch_write(TENANT, VIEW, [write]).await?.into_result().map(drop)
}

/// Has a command done by processes that die, until one comes to its end.
async fn until_done<F: Future<Output = Result<()>>>(
    random: &mut fastrand::Rng,
    deaths: u32,
    command: impl Fn() -> F,
) -> Result<()> {
    for _ in 0..random.u32(..=deaths) {
        if let Ok(done) = timeout(Duration::from_millis(random.u64(..3_000)), command()).await {
            return done;
        }
    }
    command().await
}

/// A migration to its end, possibly with an abort on the way; whether it was finished.
async fn migrate(world: &World, seed: u64) -> bool {
    let mut random = fastrand::Rng::with_seed(seed ^ 0xABCD);
    let migrator = world.slow_process(seed ^ 0x1234, SLOW);
    let (migrations, progress) = (&migrator.migrations, progress());
    let scope = scope();
    for round in 0.. {
        let options = StartOptions { purge_target: round > 0, rows_per_second: None };
        until_done(&mut random, 3, || async {
            migrations.start(&scope, "new", options, &progress).await.map(drop)
        })
        .await
        .unwrap();
        let steps = random.u8(..4);
        let back = round == 0 && random.bool();
        if !back || steps > 0 {
            verified(&mut random, migrations, &scope).await;
        }
        if !back || steps > 1 {
            until_done(&mut random, 2, || async {
                migrations.cutover(&scope, false, &progress).await.map(drop)
            })
            .await
            .unwrap();
        }
        sleep(Duration::from_millis(random.u64(..1_000))).await;
        if back {
            let aborted = until_done(&mut random, 2, || migrations.abort(&scope, false, &progress)).await;
            // One that died after the last step has left nothing to be aborted.
            aborted.or_else(nothing_left).unwrap();
            continue;
        }
        verified(&mut random, migrations, &scope).await;
        if random.u8(..4) == 0 {
            return false;
        }
        loop {
            let finished = until_done(&mut random, 3, || async {
                migrations.finish(&scope, false, &progress).await.map(drop)
            });
            match finished.await {
                Ok(()) => return true,
                // While nobody finished it, the hold was given up.
                Err(error) => {
                    let status = migrations.status().await.unwrap();
                    assert_eq!(status[0].phase, Phase::CutOver, "{error}");
                    verified(&mut random, migrations, &scope).await;
                }
            }
        }
    }
    false
}

fn nothing_left(error: Error) -> Result<()> {
    if error.to_string().contains("no migration of") { Ok(()) } else { Err(error) }
}

async fn verified(random: &mut fastrand::Rng, migrations: &Migrations, scope: &Scope) {
    let progress = progress();
    until_done(random, 2, || async {
        let found = migrations.verify(scope, true, &progress).await?;
        assert_eq!(found.counts.differing, 0, "{found:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn run(seed: u64) {
    let world = World::new();
    let before = world.process();
    for entity in 0..ENTITIES / 2 {
        before.put(entity, "f0", entity as i64, 0).await.unwrap();
    }
    let processes = Arc::new(vec![world.slow_process(seed, SLOW), world.slow_process(seed + 1, SLOW)]);
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for entity in 0..ENTITIES {
        let (done, processes) = (done.clone(), processes.clone());
        let features = (entity < ENTITIES / 2).then(|| vec![("f0".to_owned(), entity as i64)]);
        let random = fastrand::Rng::with_seed(seed * 1000 + entity);
        let mut own = Own { entity, processes, random, features, time: 1 };
        tasks.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                own.change().await;
                own.check().await;
                sleep(Duration::from_millis(own.random.u64(..60))).await;
                own.check().await;
            }
        });
    }
    let finished = migrate(&world, seed).await;
    sleep(Duration::from_secs(1)).await;
    done.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    if !finished {
        assert_eq!(world.new_rows().await, world.old_rows().await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_read_whatever_dies_when() {
    let only = std::env::var("FSTORE_MIGRATION_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds =
        only.map_or_else(|| (0..SEEDS).map(|_| fastrand::u64(..1 << 32)).collect(), |seed| vec![seed]);
    for seed in seeds {
        println!("FSTORE_MIGRATION_SEED={seed}");
        run(seed).await;
    }
}
