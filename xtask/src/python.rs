//! The Python package: its virtual environment, its wheel and its tests.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Result, cargo, output, root, run as run_program, succeeds_within};
use crate::sources;
use crate::suites::Suites;

/// Tells tests which Python has Feast's SDK.
pub(crate) const FEAST_VARIABLE: &str = "FSTORE_TEST_FEAST_PYTHON";
const PACKAGE: &str = "crates/feature-python";
const SUITE: &str = "feature-python pytest";
/// For some hundred megabytes of packages.
const PATIENCE: Duration = Duration::from_secs(420);
/// What a Python must be.
const NEW_ENOUGH: &str = "import sys, venv; sys.exit(sys.version_info < (3, 10))";

/// How the module is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// As the tests of the workspace are, with which it shares what is compiled.
    Quick,
    /// As it is published, and as it is measured.
    Release,
}

/// A virtual environment in which the package's tests can run.
pub(crate) struct Environment {
    folder: PathBuf,
    feast: bool,
}

impl Environment {
    /// The environment, which is made, or brought up to date, where it is not.
    ///
    /// # Errors
    /// Why there can be none: no Python of the right age, or packages that pip does not install.
    pub(crate) fn get() -> Result<Self> {
        let folder = root().join("target/python");
        let python = folder.join("bin/python");
        let requirements = |name: &str| root().join(PACKAGE).join("tests").join(name);
        if !python.is_file() {
            let base = std::env::var_os("FSTORE_PYTHON").unwrap_or_else(|| "python3".into());
            if !succeeds_within(Duration::from_secs(20), Command::new(&base).args(["-c", NEW_ENOUGH])) {
                let base = base.to_string_lossy();
                return Err(format!("`{base}` is no Python of version 3.10 or later that has venv").into());
            }
            println!("Python: making a virtual environment in {}", folder.display());
            let mut make = Command::new(&base);
            if !succeeds_within(Duration::from_secs(120), make.args(["-m", "venv", "--clear"]).arg(&folder)) {
                return Err("Python makes no virtual environment: is venv installed, with pip?".into());
            }
        }
        if !installed(&folder, &requirements("requirements.txt"))? {
            return Err("pip does not install what the tests of the Python package need".into());
        }
        let feast = installed(&folder, &requirements("requirements-feast.txt"))?;
        Ok(Self { folder, feast })
    }

    /// A program of the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Whether Feast's SDK is there.
    pub(crate) fn has_feast(&self) -> bool {
        self.feast
    }

    /// Builds the wheel and installs it.
    ///
    /// # Errors
    /// When it does not compile.
    pub(crate) fn install(&self, build: Build) -> Result<PathBuf> {
        let wheels =
            root().join("target/wheels").join(if build == Build::Release { "release" } else { "quick" });
        if wheels.is_dir() {
            std::fs::remove_dir_all(&wheels)?;
        }
        std::fs::create_dir_all(&wheels)?;
        match build {
            Build::Quick => self.pack(&wheels)?,
            Build::Release => {
                let mut maturin = Command::new(self.program("maturin"));
                maturin.current_dir(root().join(PACKAGE)).args([
                    "build",
                    "--quiet",
                    "--locked",
                    "--profile",
                    "wheel",
                    "--compression-level",
                    "9",
                ]);
                maturin.arg("--out").arg(&wheels).arg("--interpreter").arg(self.program("python"));
                run_program(&mut maturin)?;
            }
        }
        let wheel = std::fs::read_dir(&wheels)?.next().ok_or("maturin has built no wheel")??.path();
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--force-reinstall",
        ];
        run_program(Command::new(self.program("python")).args(pip).arg(&wheel))?;
        Ok(wheel)
    }

    /// Puts the wheel together around the module as it is built with the workspace's tests: maturin builds a package
    /// by itself, and so all that it depends on once more, with fewer features.
    fn pack(&self, wheels: &Path) -> Result<()> {
        let module = module()?;
        let wheel = root().join("target/wheels/unpacked");
        if wheel.is_dir() {
            std::fs::remove_dir_all(&wheel)?;
        }
        let package = wheel.join("feature_store");
        std::fs::create_dir_all(&package)?;
        let mut describe = Command::new(self.program("maturin"));
        describe.current_dir(root().join(PACKAGE)).args([
            "pep517",
            "write-dist-info",
            "--metadata-directory",
        ]);
        describe.arg(&wheel).arg("--interpreter").arg(self.program("python"));
        output(&mut describe)?;
        for file in std::fs::read_dir(root().join(PACKAGE).join("python/feature_store"))? {
            let file = file?;
            if file.file_type()?.is_file() {
                std::fs::copy(file.path(), package.join(file.file_name()))?;
            }
        }
        let name = if cfg!(windows) { "_native.pyd" } else { "_native.abi3.so" };
        std::fs::copy(module, package.join(name))?;
        let mut pack = Command::new(self.program("python"));
        pack.args(["-m", "wheel", "pack"]).arg(&wheel).arg("--dest-dir").arg(wheels);
        output(&mut pack).map(drop)
    }

    /// Pytest in the package's folder.
    fn pytest(&self) -> Command {
        let mut pytest = Command::new(self.program("python"));
        pytest.current_dir(root().join(PACKAGE)).args(["-m", "pytest", "-p", "no:cacheprovider"]);
        // Whatever is installed elsewhere must not be taken for what is tested.
        pytest.env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        pytest
    }
}

/// Builds the module with what the workspace's tests share, and finds it.
fn module() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--lib", "--tests"]);
    let said = output(build.args(["--message-format", "json-render-diagnostics"]))?;
    let file = said.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_module =
            message["target"]["name"] == "feature_python" && message["reason"] == "compiler-artifact";
        message["filenames"][0].as_str().filter(|_| is_module).map(PathBuf::from)
    });
    file.ok_or_else(|| "cargo has built no module".into())
}

/// Whether what a file of requirements lists is installed, which this does unless it has been before.
fn installed(folder: &Path, requirements: &Path) -> Result<bool> {
    let wanted = std::fs::read_to_string(requirements)?;
    let note = folder.join(requirements.file_name().unwrap_or_default());
    if std::fs::read_to_string(&note).is_ok_and(|noted| noted == wanted) {
        return Ok(true);
    }
    println!("Python: installing {}", requirements.strip_prefix(root()).unwrap_or(requirements).display());
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
    if !succeeds_within(PATIENCE, Command::new(folder.join("bin/python")).args(pip).arg(requirements)) {
        return Ok(false);
    }
    std::fs::write(note, wanted)?;
    Ok(true)
}

/// `cargo xtask python`: builds the wheel, installs it and runs its tests.
///
/// # Errors
/// Without a Python; when it does not compile.
pub(crate) fn run(build: Build, arguments: &[String]) -> Result<ExitCode> {
    let environment = Environment::get()?;
    let wheel = environment.install(build)?;
    println!("Python: installed {}", wheel.display());
    let variables = sources::prepare()?;
    let status = environment.pytest().args(arguments).envs(variables).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the package's tests as a suite of `cargo xtask test`; whether they ended well. Without a Python they are
/// ignored, unless `FSTORE_REQUIRE` has `python`.
///
/// # Errors
/// When their output cannot be read.
pub(crate) fn test(suites: &mut Suites, variables: &[(&'static str, String)]) -> Result<bool> {
    let environment = match Environment::get() {
        Ok(environment) => environment,
        Err(why) => {
            let required = std::env::var("FSTORE_REQUIRE")
                .is_ok_and(|list| list.split(',').any(|own| own.trim() == "python"));
            println!("Python: {why}. The tests of the Python package are ignored.");
            suites.add(
                SUITE,
                Outcome { failed: u64::from(required), ignored: u64::from(!required), ..Outcome::default() },
                &why.to_string(),
            );
            return Ok(!required);
        }
    };
    if let Err(why) = environment.install(Build::Quick) {
        suites.add(
            SUITE,
            Outcome { failed: 1, ..Outcome::default() },
            &format!("the wheel is not built: {why}"),
        );
        return Ok(false);
    }
    let mut child = environment
        .pytest()
        .args(["--color=no"])
        .envs(variables.iter().cloned())
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut outcome, mut reasons) = (None, Vec::new());
    if let Some(lines) = child.stdout.take() {
        for line in BufReader::new(lines).lines() {
            let line = line?;
            writeln!(io::stdout(), "{line}")?;
            outcome = Outcome::of_line(&line).or(outcome);
            reasons.extend(line.strip_prefix("SKIPPED [").map(str::to_owned));
        }
    }
    let ended_well = child.wait()?.success();
    let outcome = outcome.unwrap_or_else(|| {
        reasons.push("pytest ended without a result".to_owned());
        Outcome { failed: 1, ..Outcome::default() }
    });
    suites.add(SUITE, outcome, &reasons.join("; "));
    Ok(ended_well)
}

/// `cargo xtask bench python`: measures the wheel as it is published against Feast's SDK, redis-py and the library.
///
/// # Errors
/// Without a Python and Feast's SDK; when it does not compile; when it fails.
pub(crate) fn bench(quick: bool, json: Option<&Path>) -> Result<ExitCode> {
    let environment = Environment::get()?;
    if !environment.has_feast() {
        return Err("pip does not install Feast's SDK, with which it is compared".into());
    }
    let wheel = environment.install(Build::Release)?;
    let mut measure = Command::new(environment.program("python"));
    measure.arg(root().join(PACKAGE).join("benches/compare.py")).arg("--wheel").arg(wheel);
    if quick {
        measure.arg("--quick");
    }
    if let Some(file) = json {
        measure.arg("--json").arg(file);
    }
    run_program(&mut measure)?;
    Ok(ExitCode::SUCCESS)
}

/// What tests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Outcome {
    /// That of pytest's last line, such as `=== 1 failed, 12 passed, 1 skipped in 3.21s ===`.
    fn of_line(line: &str) -> Option<Self> {
        let (counts, _) = line.trim().trim_matches('=').trim().split_once(" in ")?;
        let mut outcome = Self::default();
        for part in counts.split(", ") {
            let (count, what) = part.split_once(' ')?;
            let count: u64 = count.parse().ok()?;
            match what {
                "passed" | "xpassed" => outcome.passed += count,
                "failed" | "error" | "errors" => outcome.failed += count,
                "skipped" | "xfailed" => outcome.ignored += count,
                "warning" | "warnings" | "deselected" => {}
                _ => return None,
            }
        }
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_pytest_is_understood() {
        let outcome = |passed, failed, ignored| Some(Outcome { passed, failed, ignored });
        for (line, expected) in [
            ("==== 1 failed, 12 passed, 2 skipped, 3 warnings in 3.21s ====", outcome(12, 1, 2)),
            ("7 passed, 1 error, 1 xfailed in 61.00s (0:01:01)", outcome(7, 1, 1)),
            ("==== test session starts ====", None),
            ("two failed in love", None),
            ("no tests ran in 0.01s", None),
        ] {
            assert_eq!(Outcome::of_line(line), expected, "{line}");
        }
    }
}
