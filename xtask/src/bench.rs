//! `cargo xtask bench`.

use std::path::{Path, absolute};
use std::process::ExitCode;

use crate::process::{Result, cargo, run as run_program};
use crate::python;

/// Name, package and target of each benchmark.
const KNOWN: [(&str, &str, &str); 8] = [
    ("aerospike", "store-aerospike", "throughput"),
    ("codec", "store-testkit", "codec"),
    ("embedded", "store-embedded", "throughput"),
    ("growth", "fstore-tests", "growth"),
    ("ingest", "feature-cli", "ingest"),
    ("redis", "store-redis", "throughput"),
    ("server", "feature-server", "throughput"),
    ("unified", "fstore-tests", "unified"),
];

/// The benchmark of the Python package, which is in Python.
const PYTHON: &str = "python";

/// Runs a benchmark; see `cargo xtask bench --help`.
pub(crate) fn run(name: &str, quick: bool, json: Option<&Path>) -> Result<ExitCode> {
    if name == PYTHON {
        return python::bench(quick, json);
    }
    let Some((_, package, target)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<_> = KNOWN.iter().map(|(known, ..)| *known).chain([PYTHON]).collect();
        return Err(format!("there is no benchmark `{name}`; known are {}", known.join(", ")).into());
    };
    let mut command = cargo();
    command.args(["bench", "--package", package, "--bench", target, "--"]);
    if quick {
        command.arg("--quick");
    }
    if let Some(file) = json {
        // A benchmark runs in its package's folder.
        command.arg("--json").arg(absolute(file)?);
    }
    run_program(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
