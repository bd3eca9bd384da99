//! `cargo xtask ci`: everything that a change must pass.

use std::process::ExitCode;
use std::time::Instant;

use crate::process::{Result, cargo, root, run as run_program};
use crate::{edges, excerpts, features, links, packages, test};

/// Finds dependencies that nothing uses.
const MACHETE: (&str, &str) = ("cargo-machete", "0.9.2");

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 10] = [
    ("format", format),
    ("edges between crates", edges::check),
    ("links of the documents", links::check),
    ("code of the Rust guide", excerpts::check),
    ("lints", lints),
    ("features of the facade", features::check),
    ("documentation", documentation),
    ("unused dependencies", unused_dependencies),
    ("packages", packages::check),
    ("compatibility with the last release", packages::compare_with_release),
];

/// Runs every check, whatever becomes of the others, then the tests.
pub(crate) fn run(tests: bool) -> Result<ExitCode> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        println!("== {name}");
        let began = Instant::now();
        if let Err(error) = check() {
            eprintln!("{error}");
            failed.push(name);
        }
        println!("== {name} took {:.0} s", began.elapsed().as_secs_f64());
    }
    println!("== {} of {} checks passed", CHECKS.len() - failed.len(), CHECKS.len());
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    let tested = if tests { test::run(&[])? } else { ExitCode::SUCCESS };
    Ok(if failed.is_empty() { tested } else { ExitCode::FAILURE })
}

fn format() -> Result<()> {
    run_program(cargo().args(["fmt", "--all", "--check"]))?;
    run_program(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

fn lints() -> Result<()> {
    run_program(cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut command = cargo();
    run_program(
        command.args(["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    links::check_documentation()
}

fn unused_dependencies() -> Result<()> {
    let tools = root().join("target/tools");
    let (tool, version) = MACHETE;
    let program = tools.join("bin").join(tool);
    if !program.is_file() {
        let mut install = cargo();
        // It runs once, for a second.
        install.args(["install", "--debug", "--locked", "--version", version, tool, "--root"]);
        run_program(install.arg(&tools))?;
    }
    run_program(std::process::Command::new(program).current_dir(root()))
}
