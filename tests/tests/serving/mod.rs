//! `fstore serve`, as a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use store_testkit::TestFailure;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::program::fstore;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server; dropping it kills it.
pub(crate) struct Serving {
    /// `127.0.0.1:PORT` of the data port.
    pub(crate) address: String,
    _process: Child,
    _log: JoinHandle<()>,
}

impl Serving {
    /// Starts a server with the settings file, which leaves its port to the system, and waits until it listens.
    pub(crate) async fn start(settings: &Path) -> Result<Self, TestFailure> {
        let mut process = Command::new(fstore())
            .arg("serve")
            .arg("--config")
            .arg(settings)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = process.stderr.take().ok_or("the server has no log")?;
        let mut lines = BufReader::new(log).lines();
        let said = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "serving" {
                    return Ok(entry["listen"].as_str().map(str::to_owned));
                }
                println!("{line}");
            }
            Ok::<_, TestFailure>(None)
        });
        let said = said.await.map_err(|_| "the server does not say where it listens")??;
        let address = said.ok_or("the server has ended")?;
        // Its log is read on, so that it never waits for a reader.
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { address, _process: process, _log: log })
    }
}
