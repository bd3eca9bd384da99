//! `fstore` does on a server what it does in a file: the same commands give the same output.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "every function here is a test's"
)]

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use program::fstore;
use store_testkit::servers::Server;
use tempfile::TempDir;

/// The data of the program's demonstration.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/feature-cli/demo");

/// Every command, with what differs between stores left out. `{tenant}` is one of the run's own.
const COMMANDS: [&str; 21] = [
    "apply views.yaml",
    "views",
    "ingest flights.parquet --tenant {tenant} --view last_flight --timestamp time_hour",
    "ingest flights.parquet --tenant {tenant} --view last_flight --timestamp time_hour",
    "ingest planes.csv --tenant {tenant} --view airframe",
    // These have no event time but the time of the run.
    "purge --tenant {tenant} --view airframe --yes",
    "get --tenant {tenant} --view last_flight tailnum=N619AA tailnum=nobody --features dep_delay,dest",
    "put --tenant {tenant} --view notes id=1 text=first count=1 --timestamp 2020-01-02T00:00:00Z",
    "put --tenant {tenant} --view notes id=1 text=late --timestamp 2020-01-01T00:00:00Z",
    "put --tenant {tenant} --view notes id=1 more=2 --timestamp 2020-01-01T00:00:00Z",
    "put --tenant {tenant} --view notes id=2 text=gone --timestamp 2020-01-01T00:00:00Z",
    "get --tenant {tenant} --view notes id=1 id=2 id=3",
    "delete --tenant {tenant} --view notes id=2",
    "delete --tenant {tenant} --view notes id=2",
    "scan --tenant {tenant}",
    "stats --tenant {tenant}",
    "purge --tenant {tenant} --view notes --yes",
    "get --tenant {tenant} --view notes id=1",
    "purge --tenant {tenant} --yes",
    "stats --tenant {tenant}",
    "purge --tenant {tenant} --yes",
];

/// What each command prints and how it ends, its lines sorted, since a scan has no order.
fn run(url: &str, tenant: &str) -> Vec<String> {
    let folder = TempDir::new().expect("a folder");
    for name in ["views.yaml", "flights.parquet", "planes.csv"] {
        fs::copy(Path::new(DEMO).join(name), folder.path().join(name)).expect("a file of the demonstration");
    }
    let mut said = Vec::new();
    for command in COMMANDS {
        let words = command.replace("{tenant}", tenant);
        let output = Command::new(fstore())
            .current_dir(folder.path())
            .env("FSTORE_URL", url)
            .args(words.split_whitespace())
            .output()
            .expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout);
        // How long it took is no part of what it did.
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.contains("seconds")).collect();
        lines.sort_unstable();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 3 | 4)), "{url}: {command}: {errors}");
        said.push(format!("{command}: {:?}\n{}", output.status.code(), lines.join("\n")));
    }
    said
}

fn compare(url: &str) {
    let tenant = format!("t{:016x}", fastrand::u64(..));
    let file = TempDir::new().expect("a folder");
    let embedded = run(&format!("embedded:{}", file.path().join("store.redb").display()), &tenant);
    for (expected, found) in embedded.iter().zip(run(url, &tenant)) {
        assert_eq!(&found, expected);
    }
}

async fn on(name: &str, server: Result<Arc<Server>, String>) {
    match server {
        Ok(server) => compare(server.url()),
        Err(why) if std::env::var("FSTORE_REQUIRE").is_ok_and(|list| list.contains(name)) => {
            panic!("{why}")
        }
        Err(why) => println!("skipped: {why}"),
    }
    store_testkit::servers::stop_all().await;
}

#[tokio::test]
async fn redis_does_what_the_embedded_store_does() {
    on("redis", Server::redis().await).await;
}

#[tokio::test]
async fn aerospike_does_what_the_embedded_store_does() {
    on("aerospike", Server::aerospike().await).await;
}
