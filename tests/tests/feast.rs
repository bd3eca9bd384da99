//! Feast's SDK, as it comes from its registry, reads and writes through the server.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod program;
mod serving;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;
use serving::Serving;
use store_testkit::{ServerTests, TestFailure};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Names the Python that has Feast; `cargo xtask test` sets it.
const VARIABLE: &str = "FSTORE_TEST_FEAST_PYTHON";

fn main() -> ExitCode {
    ServerTests::new("feast", "python3").test("feasts_sdk_works_unchanged", unchanged).run()
}

async fn unchanged() -> Result<(), TestFailure> {
    let python = python()?;
    let folder = tempfile::tempdir()?;
    let keys = [key()?, key()?, key()?];
    let settings = settings(folder.path(), &keys)?;
    let server = Serving::start(&settings).await?;
    let output = tokio::process::Command::new(python)
        .arg(Path::new(ROOT).join("tests/feast/client.py"))
        .arg(format!("http://{}", server.address))
        .args(keys.iter().map(|key| &key.key))
        .env("FEAST_USAGE", "False")
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the client ended with {}\n{said}\n{errors}", output.status).into());
    }
    print!("{said}");
    Ok(())
}

fn python() -> Result<PathBuf, TestFailure> {
    let python = std::env::var_os(VARIABLE).map(PathBuf::from);
    python.ok_or_else(|| {
        TestFailure::unavailable(format!(
            "there is no Feast: `cargo xtask test` installs it, and {VARIABLE} names a Python that has it"
        ))
    })
}

/// A key and its hash.
struct Key {
    key: String,
    sha256: String,
}

fn key() -> Result<Key, TestFailure> {
    let output = Command::new(program::fstore()).args(["key", "new", "--format", "json"]).output()?;
    let made: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let field = |name: &str| made[name].as_str().map(str::to_owned).ok_or("`key new` makes no key");
    Ok(Key { key: field("key")?, sha256: field("sha256")? })
}

/// The settings with views such as `client.py` declares to Feast, and keys with what they are good for there.
fn settings(folder: &Path, [own, read, other]: &[Key; 3]) -> Result<PathBuf, TestFailure> {
    let text = format!(
        "
stores: {{ main: 'embedded:{store}' }}
server:
  listen: 127.0.0.1:0
  admin: off
  feast:
    project: rides
    push_sources: {{ driver_push: driver_stats }}
    join_keys: {{ driver_id: int64, customer_id: string }}
  auth:
    keys:
      - {{ name: own, sha256: {}, tenants: [acme], rights: [read, write] }}
      - {{ name: read, sha256: {}, tenants: [acme], rights: [read] }}
      - {{ name: other, sha256: {}, tenants: [globex], rights: [read, write] }}
feature_views:
  - {{ name: driver_stats, entities: [driver_id], features: {{ conv_rate: float64, trips: int32, city: string }} }}
  - {{ name: pair_stats, entities: [driver_id, customer_id], features: {{ orders: int64 }} }}
  - {{ name: rated, entities: [driver_id], features: {{ conv_rate: float64 }} }}
  - name: kinds
    entities: [driver_id]
    features: {{ f64: float64, f32: float32, i32: int32, i64: int64, text: string, flag: bool, at: timestamp,
                f64s: 'list<float64>', f32s: 'list<float32>', i32s: 'list<int32>', i64s: 'list<int64>',
                texts: 'list<string>', flags: 'list<bool>', ats: 'list<timestamp>', map: map }}
feature_services:
  - {{ name: ride, features: ['driver_stats:conv_rate', 'driver_stats:trips', 'pair_stats:*'] }}
",
        own.sha256,
        read.sha256,
        other.sha256,
        store = folder.join("features.redb").display(),
    );
    let file = folder.join("fstore.yaml");
    std::fs::write(&file, text)?;
    Ok(file)
}
