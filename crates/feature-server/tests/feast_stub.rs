//! Feast's own stub of its gRPC service reads from the server. Needs Python with `feast` in it, of which
//! `FSTORE_TEST_FEAST_PYTHON` is the program; `cargo xtask test` sets it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::process::{Command, ExitCode};

use common::{Running, map_store};
use store_testkit::{ServerTests, TestFailure};

const SETTINGS: &str = "
stores: { main: 'memory:' }
server:
  listen: 127.0.0.1:0
  admin: off
  feast:
    tenant: acme
    project: rides
    push_sources: { driver_push: driver_stats }
    join_keys: { driver_id: int64, customer_id: string }
feature_views:
  - name: driver_stats
    entities: [driver_id]
    features: { conv_rate: float64, acc: float32, trips: int32, rides: int64, city: string, active: bool,
                last_login: timestamp, tags: 'list<string>', emb: 'list<float32>' }
  - { name: pair_stats, entities: [driver_id, customer_id], features: { orders: int64 } }
feature_services:
  - { name: ride, features: ['driver_stats:conv_rate', 'driver_stats:trips', 'pair_stats:*'] }
";

/// What the stub finds, which cannot write.
const DRIVERS: &str = r#"{
  "event_time": "2026-05-28T20:26:40Z",
  "rows": [
    { "entity": { "driver_id": 1001 },
      "features": { "conv_rate": 0.5, "acc": 0.25, "trips": 7, "rides": 1099511627776, "city": "Berlin", "active": true,
                    "last_login": "2026-05-28T20:26:40Z", "tags": ["a", "b"], "emb": [0.5, 1.5] } },
    { "entity": { "driver_id": 1002 }, "features": { "city": null } }
  ]
}"#;

fn main() -> ExitCode {
    ServerTests::new("feast", "python3").test("feasts_stub_of_grpc_reads_unchanged", satisfied).run()
}

/// Runs the test on a thread that may block.
async fn satisfied() -> Result<(), TestFailure> {
    let runtime = tokio::runtime::Handle::current();
    let test = move || runtime.block_on(ask());
    tokio::task::spawn_blocking(test).await.unwrap()
}

async fn ask() -> Result<(), TestFailure> {
    let python = std::env::var("FSTORE_TEST_FEAST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_feast = Command::new(&python).args(["-c", "import feast, grpc"]).output();
    if !has_feast.is_ok_and(|output| output.status.success()) {
        let why =
            format!("{python} has no Feast with gRPC: FSTORE_TEST_FEAST_PYTHON may name a Python that has");
        return Err(TestFailure::unavailable(why));
    }
    let server = Running::with(SETTINGS, map_store()).await;
    let written = server.client().post("/v1/tenants/acme/views/driver_stats/write", DRIVERS).await;
    written.ok();
    let address = server.address.to_string();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/feast_stub/stub.py");
    let run = move || Command::new(python).args([client, &address]).output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().map_err(|error| error.to_string())?;
    server.stop().await;
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && said.trim_end().ends_with("satisfied") {
        return Ok(());
    }
    Err(format!("{said}{log}").into())
}
