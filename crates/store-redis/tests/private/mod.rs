//! Tests that mount something: in a process of their own, whose mounts nobody else sees and which go with it.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::env;
use std::process::Command;

use store_testkit::TestFailure;

/// Says to a process that it is one of those.
const MARK: &str = "FSTORE_TEST_PRIVATE";

type Outcome = Result<(), TestFailure>;

/// Runs the body of this test in such a process. Without the right to mount the test is ignored, unless
/// `FSTORE_REQUIRE` names `partitions`.
pub(crate) async fn run(test: &'static str, body: impl AsyncFnOnce() -> Outcome) -> Outcome {
    if env::var_os(MARK).is_some() {
        return body().await;
    }
    let run = move || {
        let probe =
            Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
        match probe {
            Ok(probe) if probe.status.success() => {}
            Ok(probe) => return Err(unavailable(&String::from_utf8_lossy(&probe.stderr))),
            Err(error) => return Err(unavailable(&error.to_string())),
        }
        let program = env::current_exe()?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(program);
        let output = command.args(["--exact", test, "--nocapture"]).env(MARK, "1").output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    };
    let said = tokio::task::spawn_blocking(run).await.map_err(|e| e.to_string())??;
    say(&said);
    Ok(())
}

fn unavailable(why: &str) -> TestFailure {
    TestFailure::unavailable(format!("no mounts of its own for the test: {why}")).of("partitions")
}

/// Mounts something in this process alone.
pub(crate) fn mount(arguments: &[&str]) -> Outcome {
    let output = Command::new("mount").args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

/// Lets a file be run.
pub(crate) fn executable(path: &std::path::Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?)
}

/// What the process has said besides that the test has passed.
#[expect(clippy::print_stdout, reason = "what was seen is for whoever reads the run")]
fn say(said: &str) {
    let own = |line: &&str| {
        !["", "running", "test", "suite:"].contains(&line.split(' ').next().unwrap_or_default())
    };
    said.lines().filter(own).for_each(|line| println!("{line}"));
}
