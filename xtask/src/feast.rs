//! Feast's SDK, for the test that uses it as it comes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Result, root, succeeds_within};

/// Tells the test which Python has Feast.
pub(crate) const VARIABLE: &str = "FSTORE_TEST_FEAST_PYTHON";
/// The package whose protocol the server speaks, with what its stub of the gRPC service needs.
const PACKAGE: &str = "feast[grpcio]==0.67.0";
/// For some hundred megabytes of packages.
const PATIENCE: Duration = Duration::from_secs(240);

/// A Python that has Feast, in a virtual environment that is made if it is not there; `None` where that
/// fails, which this says.
///
/// # Errors
/// When it cannot be noted that the environment is complete.
pub(crate) fn python() -> Result<Option<PathBuf>> {
    let folder = root().join("target/tools").join("feast-0.67.0-grpcio");
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if complete.is_file() {
        return Ok(Some(python));
    }
    println!("Feast: installing the Python package {PACKAGE}, since there is none here");
    let made =
        succeeds_within(Duration::from_secs(60), Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let pip = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", PACKAGE];
    if !made || !succeeds_within(PATIENCE, Command::new(&python).args(pip)) {
        println!("Feast: pip does not install it");
        return Ok(None);
    }
    std::fs::write(complete, "")?;
    Ok(Some(python))
}
