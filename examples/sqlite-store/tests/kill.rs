//! `kill -9` while a process writes, again and again: every write that it has said is acknowledged is there.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use feature_store::{Connector, EntityKey, FeatureValue, OnlineStore, Result};
use sqlite_store::SqliteScheme;

const CHILD: &str = "SQLITE_STORE_TEST_FILE";
const KILLS: u64 = 10;

async fn open(file: &str) -> Result<OnlineStore> {
    Connector::new().scheme(SqliteScheme).open(&format!("sqlite:{file}")).await
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let done = match std::env::var(CHILD) {
        Ok(file) => runtime.block_on(count(&file)),
        Err(_) => runtime.block_on(kill()),
    };
    println!("test kill ... {}", if done.is_ok() { "ok" } else { "FAILED" });
    done.map_or_else(|error| panic!("{error}"), |()| ExitCode::SUCCESS)
}

/// Counts in two features by turns, so that every write merges, and says how far it is acknowledged.
async fn count(file: &str) -> Result<()> {
    let (store, key) = (open(file).await?, EntityKey::new("id", 1)?);
    for n in last(&store).await? + 1.. {
        let name = format!("f{}", n % 2);
        store.write_features("t", "v", &key, [(name, n)], None, None).await?;
        println!("{n}");
    }
    Ok(())
}

async fn last(store: &OnlineStore) -> Result<i64> {
    let row = store.read_features("t", "v", &EntityKey::new("id", 1)?, None).await?;
    Ok(row.iter().flat_map(|row| row.values()).filter_map(FeatureValue::as_i64).max().unwrap_or(0))
}

async fn kill() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killed.db").display().to_string();
    let mut before = 0;
    for round in 1..=KILLS {
        let mut own = Command::new(std::env::current_exe().expect("this program"));
        let mut child = own.env(CHILD, &file).stdout(Stdio::piped()).spawn().expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = lines.next().expect("a line").expect("a line");
        std::thread::sleep(Duration::from_millis(37 * round % 150));
        child.kill().expect("it is killed");
        child.wait().expect("it has ended");
        let acknowledged: i64 =
            lines.map_while(std::result::Result::ok).last().unwrap_or(first).parse().expect("a number");
        let store = open(&file).await?;
        let found = last(&store).await?;
        assert!(acknowledged > before, "nothing was written in round {round}");
        // One more may have been under way.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "{acknowledged} was acknowledged, {found} is there"
        );
        before = found;
        store.close().await?;
    }
    Ok(())
}
