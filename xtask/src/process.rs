//! Running other programs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The cargo that runs this program, at the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).stdin(Stdio::null());
    cargo
}

/// Runs a program to its end, its output going where this program's goes.
///
/// # Errors
/// When it cannot be started, and when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|e| format!("{name} cannot be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed: {status}").into()) }
}

/// What a program prints on its standard output.
///
/// # Errors
/// When it cannot be started, and when it fails: then with what it says.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name} cannot be started: {e}"))?;
    if !output.status.success() {
        let says = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} failed: {}: {}", output.status, says.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program ends well within the limit; it is stopped when it does not. What it prints is lost.
pub(crate) fn succeeds_within(limit: Duration, command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = quiet.spawn() else { return false };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < limit => sleep(Duration::from_millis(50)),
            _ => {
                // Failing to stop it changes nothing: it has not succeeded.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Where a program stands on the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// What `cargo metadata` says of the workspace.
///
/// # Errors
/// When cargo fails or its answer is not JSON.
pub(crate) fn metadata(arguments: &[&str]) -> Result<Value> {
    let text = output(cargo().args(["metadata", "--format-version", "1"]).args(arguments))?;
    Ok(serde_json::from_str(&text)?)
}
