//! The program, as tests run it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the program is; `cargo xtask test` says so, which has built it with all other tests.
const PROGRAM_VARIABLE: &str = "FSTORE_TEST_PROGRAM";

/// The program, built if it is not.
pub(crate) fn fstore() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os(PROGRAM_VARIABLE) {
            return program.into();
        }
        let build = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "feature-cli",
                "--bin",
                "fstore",
                "--message-format",
                "json",
            ])
            .output()
            .expect("cargo runs");
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        let executable = String::from_utf8_lossy(&build.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
        executable.expect("cargo names the program it built")
    })
}
