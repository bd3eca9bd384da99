//! `cargo xtask test`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use serde_json::Value;

use crate::process::{Result, cargo};
use crate::suites::{Suites, Totals};
use crate::{python, sources};

/// Tells tests where the program is that was built with them.
const PROGRAM_VARIABLE: &str = "FSTORE_TEST_PROGRAM";

/// Builds and runs every test, prints a table of suites and, as the last line, the totals.
pub(crate) fn run(filter: &[String]) -> Result<ExitCode> {
    let mut variables = sources::prepare()?;
    let Some(Built { names, program }) = build()? else {
        println!("\nThe tests do not build; none was run.");
        return Ok(conclude(Totals { passed: 0, failed: 0, ignored: 0 }, false));
    };

    variables.extend(program.map(|program| (PROGRAM_VARIABLE, program)));

    // Both streams go through one pipe, so that cargo's "Running …" stays ahead of what that suite prints.
    let (output, input) = io::pipe()?;
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--"])
        .args(filter)
        .envs(variables.iter().cloned());
    // Colours would have to be taken off before the lines are read.
    command.env("CARGO_TERM_COLOR", "never");
    let mut child = command.stdout(input.try_clone()?).stderr(input).spawn()?;
    // The command holds ends of the pipe that would keep it open for ever.
    drop(command);
    let mut suites = Suites::new(names);
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        io::stdout().write_all(&line)?;
        suites.feed(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    let status = child.wait()?;
    suites.end();
    if !status.success() && suites.totals().failed == 0 {
        println!("cargo test failed although no test did: {status}");
    }
    // A filter is one of names of cargo's tests; pytest has its own: `cargo xtask python`.
    let python = !filter.is_empty() || python::test(&mut suites, &variables)?;

    println!("\n{}\n{}", suites.table(), suites.failures());
    Ok(conclude(suites.totals(), status.success() && python))
}

/// What was built.
#[derive(Default)]
struct Built {
    /// What each suite is called in the table, by the file name of its program or, for doctests, by the library's
    /// name.
    names: HashMap<String, String>,
    /// The program `fstore`.
    program: Option<String>,
}

/// Builds every test; `None` when something does not compile.
fn build() -> Result<Option<Built>> {
    let mut child = cargo()
        .args(["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut built = Built::default();
    if let Some(messages) = child.stdout.take() {
        for line in BufReader::new(messages).lines() {
            let message: Value = serde_json::from_str(&line?)?;
            if message["target"]["name"] == "fstore" && message["profile"]["test"] == false {
                built.program = message["executable"].as_str().map(str::to_owned);
            }
            built.names.extend(name(&message));
        }
    }
    Ok(child.wait()?.success().then_some(built))
}

/// Key and name of the suite that a message of cargo's announces, if it does.
fn name(message: &Value) -> Option<(String, String)> {
    let package = package_name(message["package_id"].as_str()?)?;
    let target = &message["target"];
    let (kind, name) = (target["kind"][0].as_str()?, target["name"].as_str()?);
    let Some(program) = message["executable"].as_str() else {
        return (kind == "lib").then(|| (name.replace('-', "_"), package.to_owned()));
    };
    let suite = match kind {
        "lib" => format!("{package} unit"),
        "test" => format!("{package} {name}"),
        other => format!("{package} {other} {name}"),
    };
    Some((Path::new(program).file_name()?.to_str()?.to_owned(), suite))
}

/// The name in `path+file:///folder/name#0.1.0` or `path+file:///folder#name@0.1.0`.
fn package_name(id: &str) -> Option<&str> {
    let (place, fragment) = id.split_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => place.rsplit('/').next(),
    }
}

/// Prints the totals, on a line of their own, and says whether that is success.
fn conclude(totals: Totals, ended_well: bool) -> ExitCode {
    let Totals { passed, failed, ignored } = totals;
    println!("{passed} passed, {failed} failed, {ignored} skipped");
    if ended_well && failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn artifact(package_id: &str, kind: &str, target: &str, executable: Option<&str>) -> Value {
        json!({
            "reason": "compiler-artifact",
            "package_id": package_id,
            "target": {"kind": [kind], "name": target},
            "executable": executable,
        })
    }

    #[test]
    fn suites_are_named_after_package_and_target() {
        let id = "path+file:///src/crates/feature-cli#0.1.0";
        let named = |kind, target, program| {
            let (key, suite) = name(&artifact(id, kind, target, program)).unwrap();
            format!("{key} = {suite}")
        };
        assert_eq!(
            named("lib", "feature_cli", Some("/t/deps/feature_cli-1")),
            "feature_cli-1 = feature-cli unit"
        );
        assert_eq!(named("bin", "fstore", Some("/t/deps/fstore-2")), "fstore-2 = feature-cli bin fstore");
        assert_eq!(named("test", "demo", Some("/t/deps/demo-3")), "demo-3 = feature-cli demo");
        assert_eq!(named("lib", "feature_cli", None), "feature_cli = feature-cli");
    }

    #[test]
    fn package_ids_of_both_forms_are_understood() {
        assert_eq!(package_name("path+file:///src/tests#fstore-tests@0.1.0"), Some("fstore-tests"));
        assert_eq!(package_name("path+file:///src/xtask#0.1.0"), Some("xtask"));
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        let totals = |passed, failed| Totals { passed, failed, ignored: 1 };
        assert_eq!(conclude(totals(1, 0), true), ExitCode::SUCCESS);
        for (totals, ended_well) in [(totals(0, 0), true), (totals(1, 1), true), (totals(1, 0), false)] {
            assert_eq!(conclude(totals, ended_well), ExitCode::FAILURE);
        }
    }
}
