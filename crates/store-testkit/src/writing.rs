//! A process of its own that writes until it is killed, for cases that no instance of this one can show.

use std::io::Write;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use feature_core::{FeatureWrite, ManualClock, OnlineStore};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::case::{START, VIEW, at, entity};
use crate::factory::BackendFactory;
use crate::harness::say;

const BACKEND: &str = "FSTORE_TESTKIT_WRITES_TO";
const DATA: &str = "FSTORE_TESTKIT_WRITES_OVER";
const TENANT: &str = "FSTORE_TESTKIT_WRITES_FOR";

/// How many entities it writes to, all in each batch.
pub(crate) const ENTITIES: usize = 10;

/// Whether this program does as the variables say when it is started again.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// What the process is to write: in round `n` every feature of every entity is `n`.
pub(crate) struct Writing {
    pub(crate) backend: String,
    pub(crate) data: String,
    pub(crate) tenant: String,
}

impl Writing {
    /// What this process was started for, if it is to write.
    pub(crate) fn asked_for() -> Option<Self> {
        let variable = |name| std::env::var(name).ok();
        Some(Self { backend: variable(BACKEND)?, data: variable(DATA)?, tenant: variable(TENANT)? })
    }

    /// From here on this program may be started again.
    pub(crate) fn allow() {
        ALLOWED.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_allowed() -> bool {
        ALLOWED.load(Ordering::Relaxed)
    }

    /// Writes with the factory of the name that is asked for.
    pub(crate) async fn of_one(self, factories: &[Box<dyn BackendFactory>]) -> ExitCode {
        let Some(factory) = factories.iter().find(|factory| factory.name() == self.backend) else {
            return ExitCode::FAILURE;
        };
        // Without an error it goes on for ever.
        if let Err(error) = self.write(&**factory).await {
            say(&error);
        }
        ExitCode::FAILURE
    }

    /// Writes round after round, and says each that was acknowledged.
    async fn write(self, factory: &dyn BackendFactory) -> Result<(), String> {
        let clock = ManualClock::at(START);
        let backend = factory.open_over(&self.data, Arc::new(clock.clone())).await?;
        let store = OnlineStore::builder(backend).clock(clock).build().map_err(|e| e.to_string())?;
        for round in 0.. {
            let write =
                |number| Ok(FeatureWrite::new(entity(number)?, [("a", round), ("b", round)]).at(at(round)));
            let writes = (0..ENTITIES).map(write).collect::<feature_core::Result<Vec<_>>>();
            let writes = writes.map_err(|e| e.to_string())?;
            let report = store.batch_write(&self.tenant, VIEW, writes).await;
            report.and_then(feature_core::WriteReport::into_result).map_err(|e| e.to_string())?;
            let mut output = std::io::stdout();
            writeln!(output, "{round}").and_then(|()| output.flush()).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Starts a process that writes, kills it when it has said so many rounds, and gives the last of them.
    ///
    /// # Errors
    /// What the process said instead.
    pub(crate) async fn killed_after(&self, rounds: usize) -> Result<i64, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.env(BACKEND, &self.backend).env(DATA, &self.data).env(TENANT, &self.tenant);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("the writing process: {e}"))?;
        let output = child.stdout.take().ok_or("the writing process has no output")?;
        let mut lines = BufReader::new(output).lines();
        let mut acknowledged = None;
        let mut said = 0;
        while let Some(line) = lines.next_line().await.map_err(|e| e.to_string())? {
            let round = line.parse().map_err(|_| format!("the writing process ended: {line}"))?;
            acknowledged = Some(round);
            said += 1;
            if said == rounds {
                child.kill().await.map_err(|e| e.to_string())?;
            }
        }
        acknowledged.ok_or_else(|| "the writing process said nothing".to_owned())
    }
}
