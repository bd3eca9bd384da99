//! `kill -9` during ingest, ten times at random moments: the store opens, holds only whole records, and a
//! second run comes to the same result as an undisturbed one.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "every function here is a test's"
)]

mod common;
mod program;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{contents, open};
use feature_core::{EntityKey, FeatureValue, OnlineStore};
use program::fstore;

const ENTITIES: u64 = 400;
const ROWS: u64 = 24_000;
const TENANT: &str = "acme";

/// Rows in no order of time, whose features can be told to belong together.
fn data(rng: &mut fastrand::Rng) -> String {
    let mut csv = String::from("id,at,n,twice,label\n");
    let mut rows: Vec<u64> = (0..ROWS).collect();
    rng.shuffle(&mut rows);
    for n in rows {
        let (id, minute) = (n % ENTITIES, n / ENTITIES);
        writeln!(csv, "{id},2026-01-01T{:02}:{:02}:00Z,{n},{},row {n}", minute / 60, minute % 60, 2 * n)
            .unwrap();
    }
    csv
}

fn ingest(url: &str, file: &Path) -> Command {
    let mut command = Command::new(fstore());
    command
        .args(["ingest", "--store", url, "--tenant", TENANT, "--view", "rows", "--entity", "id"])
        .args(["--timestamp", "at", "--batch-size", "50"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Each record is one row of the file and nothing else.
async fn assert_whole(store: &OnlineStore) {
    let keys: Vec<_> = (0..ENTITIES).map(|id| EntityKey::new("id", id).unwrap()).collect();
    for (id, row) in store.batch_read(TENANT, "rows", &keys, None).await.unwrap().into_iter().enumerate() {
        let Some(row) = row.expect("a whole record") else { continue };
        let n = row.get("n").and_then(FeatureValue::as_i64).expect("a row number");
        assert_eq!(n as u64 % ENTITIES, id as u64);
        assert_eq!(row.get("twice"), Some(&FeatureValue::Int64(2 * n)));
        assert_eq!(row.get("label"), Some(&FeatureValue::String(format!("row {n}"))));
        assert_eq!(row.len(), 3);
        let minute = n as u64 / ENTITIES;
        assert_eq!(
            row.timestamp.to_string(),
            format!("2026-01-01T{:02}:{:02}:00Z", minute / 60, minute % 60)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ingest_leaves_whole_records_and_can_be_run_again() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let csv = data(&mut rng);
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, &csv).unwrap();
    let pipe = folder.path().join("pipe.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let url = |name: &str, durability: &str| {
        format!("embedded:{}?durability={durability}", folder.path().join(name).display())
    };

    let undisturbed = url("undisturbed.redb", "each_write");
    assert!(ingest(&undisturbed, &file).status().unwrap().success());
    let store = open(&undisturbed);
    assert_whole(&store).await;
    let wanted = contents(&store, TENANT).await;
    assert_eq!(wanted.len(), ENTITIES as usize);
    store.close().await.unwrap();

    for kill in 0..10 {
        let durability = ["each_write", "interval", "off"][kill % 3];
        let url = url(&format!("killed-{kill}.redb"), durability);
        // Fed through a pipe that never ends, the run is certain to be killed in the middle, with rows
        // read, queued and being written.
        let mut run = ingest(&url, &pipe).spawn().unwrap();
        let mut feed = File::options().write(true).open(&pipe).unwrap();
        feed.write_all(&csv.as_bytes()[..rng.usize(..csv.len())]).unwrap();
        // On Unix this is SIGKILL: the program has no chance to tidy up.
        run.kill().unwrap();
        assert!(!run.wait().unwrap().success());
        drop(feed);

        let store = open(&url);
        assert_whole(&store).await;
        store.close().await.unwrap();

        assert!(ingest(&url, &file).status().unwrap().success(), "the second run, {durability}");
        let store = open(&url);
        assert_eq!(contents(&store, TENANT).await, wanted, "{durability}");
        store.close().await.unwrap();
    }
}
