//! Mutants: the code is changed in every way that cargo-mutants knows, and a test must notice. What none can
//! notice stands in `.cargo/mutants.toml`, with its reason.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::jobs::tool;
use crate::process::{Result, root};

const MUTANTS: (&str, &str) = ("cargo-mutants", "27.1.0");
/// Its exit codes when all is well, when mutants live on, and when some never ended.
const SUCCESS: i32 = 0;
const MISSED: i32 = 2;
const TIMEOUT: i32 = 3;

/// A package that is mutated. Its quick tests see most mutants; the others are tried on what lives on.
struct Subject {
    package: &'static str,
    quick: &'static [&'static str],
    /// The tests of which package.
    of: &'static str,
    thorough: &'static [&'static str],
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        package: "feature-core",
        quick: &["--lib"],
        // What a handle does is the subject of the suite.
        of: "store-testkit",
        thorough: &["--lib", "--test=handle", "--test=map_store"],
    },
    Subject {
        package: "store-aerospike",
        quick: &["--lib", "--test=specific"],
        of: "store-aerospike",
        thorough: &["--test=conformance", "--test=faults"],
    },
    Subject {
        package: "store-embedded",
        quick: &["--lib", "--test=specific"],
        of: "store-embedded",
        thorough: &["--tests"],
    },
    Subject {
        package: "store-redis",
        quick: &["--lib", "--test=specific", "--test=tls"],
        of: "store-redis",
        thorough: &[
            "--test=conformance_process",
            "--test=faults",
            "--test=faults_cluster",
            "--test=faults_sentinel",
        ],
    },
];

/// Changes the code of a file, or of a package, or of all packages that are mutated.
pub(crate) fn run(file: Option<&str>, package: Option<&str>, shard: Option<&str>) -> Result<ExitCode> {
    let is_meant = |subject: &&Subject| match (file, package) {
        (Some(file), _) => Path::new(file).starts_with(Path::new("crates").join(subject.package)),
        (None, Some(package)) => subject.package == package,
        (None, None) => true,
    };
    let subjects: Vec<&Subject> = SUBJECTS.iter().filter(is_meant).collect();
    if subjects.is_empty() {
        let known = SUBJECTS.map(|subject| subject.package).join(", ");
        return Err(format!("mutants are made of {known}, and of files below crates/ that are theirs").into());
    }
    let mut alive = Vec::new();
    for subject in subjects {
        alive.extend(mutate(subject, file, shard)?);
    }
    match alive.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(format!("no test notices:\n{}", alive.join("\n")).into()),
    }
}

/// The mutants of a package that no test notices.
fn mutate(subject: &Subject, file: Option<&str>, shard: Option<&str>) -> Result<Vec<String>> {
    let (program, folder) = (tool(MUTANTS)?, root().join("target/mutants").join(subject.package));
    fs::create_dir_all(&folder)?;
    let command = |tests: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(root()).args(["mutants", "--package", subject.package]);
        command.env("CARGO_INCREMENTAL", "1").arg("--output").arg(&folder);
        // Not as arguments of the tests alone: then all others would be built too.
        command.args(tests.iter().map(|test| format!("--cargo-arg={test}")));
        command
    };
    let mut quick = command(subject.quick);
    // At first fewer cases of each property, by code that is made without care for its speed.
    quick.args(["--jobs", "2"]).env("PROPTEST_CASES", "8");
    quick.arg(format!("--cargo-arg=--config=profile.dev.package.{}.opt-level=0", subject.package));
    quick.args(file.iter().flat_map(|file| ["--file", file]));
    quick.args(shard.iter().flat_map(|shard| ["--shard", shard]));
    let alive = living(&mut quick, &folder)?;
    if alive.is_empty() {
        return Ok(alive);
    }
    let mut thorough = command(subject.thorough);
    // Without mutants the tests of another package are not run, so these would not be found.
    thorough.args(["--baseline", "skip", "--timeout", "300", "--test-package", subject.of]);
    for name in &alive {
        thorough.arg("--re").arg(format!("^{}$", escaped(name)));
    }
    let mut left = living(&mut thorough, &folder)?;
    // The patterns do not choose among mutants that delete a field.
    left.retain(|name| alive.contains(name));
    Ok(left)
}

/// Runs it, and says which mutants no test has noticed.
fn living(command: &mut Command, folder: &Path) -> Result<Vec<String>> {
    match command.status()?.code() {
        Some(SUCCESS | MISSED | TIMEOUT) => {
            let missed = fs::read_to_string(folder.join("mutants.out/missed.txt"))?;
            Ok(missed.lines().map(str::to_owned).collect())
        }
        code => Err(format!("cargo-mutants did not come to an end: {code:?}").into()),
    }
}

/// A regular expression for this text.
fn escaped(text: &str) -> String {
    let special = |c| r"\.+*?()|[]{}^$#&-~".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
