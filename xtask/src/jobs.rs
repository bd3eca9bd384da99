//! What the workflows run besides `ci`: each job is a command that a person can run as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{Result, cargo, find, output, root, run};
use crate::servers::{AEROSPIKE, REDIS, VALKEY};

/// Licences, sources and yanked versions; what is known against versions.
const DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const AUDIT: (&str, &str) = ("cargo-audit", "0.22.2");

/// What must work on every system: no servers, no Docker.
const PORTABLE: [&str; 3] = ["feature-core", "store-embedded", "feature-store"];

/// The tests of the examples that are workspaces of their own, each in its own target folder.
pub(crate) fn examples() -> Result<ExitCode> {
    for entry in fs::read_dir(root().join("examples"))? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            run(cargo().args(["fmt", "--check", "--manifest-path"]).arg(&manifest))?;
            let lints = ["--locked", "--all-targets", "--", "-D", "warnings"];
            run(cargo().args(["clippy", "--manifest-path"]).arg(&manifest).args(lints))?;
            run(cargo().args(["test", "--locked", "--manifest-path"]).arg(&manifest))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The tests of what has to work on every system.
pub(crate) fn portable() -> Result<ExitCode> {
    let packages = PORTABLE.iter().flat_map(|name| ["--package", name]);
    let features = ["--features", "feature-store/embedded,feature-store/unified"];
    run(cargo().args(["test", "--locked", "--no-fail-fast"]).args(packages).args(features))?;
    Ok(ExitCode::SUCCESS)
}

/// The tests of one backend with a server of this image, whose program is taken for those that do harm.
/// Nothing may be skipped.
pub(crate) fn backend(name: &str, image: Option<&str>) -> Result<ExitCode> {
    let (server, package) = match name {
        "redis" => (REDIS, "store-redis"),
        "valkey" => (VALKEY, "store-redis"),
        "aerospike" => (AEROSPIKE, "store-aerospike"),
        _ => return Err(format!("`{name}` needs no server; known are redis, valkey, aerospike").into()),
    };
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast", "--package", package]).env("FSTORE_REQUIRE", name);
    if name == "valkey" {
        // The others of the package are Redis's.
        test.args(["--test", "conformance_valkey"]);
    }
    if let Some(image) = image {
        let folder = root().join("target/tools/servers").join(image.replace(['/', ':'], "-"));
        let program = folder.join(server.program);
        if !program.is_file() {
            take_program(image, server.program, &folder)?;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path)))?;
        test.env("PATH", path).env(server.image_variable, image);
    }
    run(&mut test)?;
    Ok(ExitCode::SUCCESS)
}

/// The tests that make network namespaces and mount disks, as root. Nothing may be skipped but what needs `netem`.
pub(crate) fn partitions() -> Result<ExitCode> {
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast", "--package", "store-redis"]);
    test.args(["--test", "partitions", "--test", "faults_connections", "--test", "faults_machine"]);
    test.env("FSTORE_REQUIRE", "redis,partitions");
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        // The tests alone need it, and what is built stays the user's.
        test.args(["--config", r#"target.'cfg(unix)'.runner = ["sudo", "-E"]"#]);
    }
    run(&mut test)?;
    Ok(ExitCode::SUCCESS)
}

/// Copies a server's program out of an image.
fn take_program(image: &str, program: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    run(Command::new("docker").args(["pull", "--quiet", image]))?;
    // A shell in the image finds it, wherever it is.
    let mut find = Command::new("docker");
    find.args(["run", "--rm", "--entrypoint", "sh", image, "-c"]);
    let at = output(find.arg(format!("readlink -f \"$(command -v {program})\"")))?;
    let container = output(Command::new("docker").args(["create", image]))?;
    let container = container.trim();
    let copied = run(Command::new("docker")
        .args(["cp", &format!("{container}:{}", at.trim())])
        .arg(folder.join(program)));
    run(Command::new("docker").args(["rm", container]))?;
    copied
}

/// Licences and sources of all dependencies, and what is known against them.
pub(crate) fn dependencies() -> Result<ExitCode> {
    run(Command::new(tool(DENY)?).current_dir(root()).arg("check"))?;
    run(Command::new(tool(AUDIT)?).current_dir(root()).args(["audit", "--deny", "yanked"]))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs each fuzz target for so many minutes; needs a nightly toolchain and cargo-fuzz.
pub(crate) fn fuzz(minutes: u64) -> Result<ExitCode> {
    // The cargo that runs this one is a toolchain's own, which does not know of the others.
    let fuzz = || {
        let mut fuzz = Command::new("rustup");
        fuzz.current_dir(root()).args(["run", "nightly", "cargo", "fuzz"]);
        fuzz
    };
    let targets = output(fuzz().arg("list"))?;
    for target in targets.lines() {
        let corpus = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let seeds = root().join("fuzz/seeds").join(target);
        let time = format!("-max_total_time={}", minutes * 60);
        run(fuzz().args(["run", target]).arg(corpus).arg(seeds).args(["--", &time]))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The program's whole life for so many minutes, with a report.
pub(crate) fn soak(minutes: u64, report: Option<&Path>) -> Result<ExitCode> {
    let mut soak = cargo();
    soak.args(["test", "--locked", "--package", "fstore-tests", "--test", "soak", "--"]);
    soak.arg("--nocapture").env("FSTORE_SOAK_MINUTES", minutes.to_string());
    if let Some(report) = report {
        soak.env("FSTORE_SOAK_REPORT", std::path::absolute(report)?);
    }
    run(&mut soak)?;
    Ok(ExitCode::SUCCESS)
}

/// A program of cargo's, installed if it is not there.
pub(crate) fn tool((name, version): (&str, &str)) -> Result<PathBuf> {
    let tools = root().join("target/tools");
    let installed = tools.join("bin").join(name);
    if let Some(program) = find(name) {
        return Ok(program);
    }
    if !installed.is_file() {
        run(cargo().args(["install", "--locked", "--version", version, name, "--root"]).arg(&tools))?;
    }
    Ok(installed)
}
