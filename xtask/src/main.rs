//! The project's own commands: `cargo xtask test`, `bench`, `ci`, `python` and what else the workflows run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people: printing is its work")]

mod bench;
mod book;
mod ci;
mod edges;
mod excerpts;
mod features;
mod images;
mod jobs;
mod links;
mod mutants;
mod packages;
mod process;
mod python;
mod ratios;
mod servers;
mod sources;
mod suites;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test of the workspace, doctests included, and end with a table of suites
    ///
    /// Sets up what the tests need. A server comes from an address in the environment
    /// (FSTORE_TEST_REDIS_URL, FSTORE_TEST_AEROSPIKE_URL), from Docker, or from a program on the PATH. Tests
    /// that do harm to a server need the program; on Debian as root redis-server is installed.
    Test {
        /// Handed to the test programs: names to filter by, and options such as --test-threads=1
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Run a benchmark, or compare with the ratios in xtask/ratios.json
    Bench {
        /// Which one; a wrong name lists the known ones
        #[arg(required_unless_present_any = ["check", "record", "publish"])]
        name: Option<String>,
        /// Run it three times, or all that can be compared, and fail if a ratio is worse by more than noise
        #[arg(long, conflicts_with_all = ["quick", "json"])]
        check: bool,
        /// Write what three runs give down, to be compared with later
        #[arg(long, conflicts_with_all = ["quick", "json", "check"])]
        record: bool,
        /// Write what is recorded into docs/benchmarks.md
        #[arg(long, conflicts_with_all = ["quick", "json", "check", "record"])]
        publish: bool,
        /// Measure briefly, to see that it works
        #[arg(long)]
        quick: bool,
        /// Write the results to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Check format, lints, documentation, edges between crates, features, links, unused dependencies and
    /// packages, then test
    Ci {
        /// Leave the tests out
        #[arg(long)]
        no_tests: bool,
    },
    /// Build the wheel of the Python package, install it in target/python and run its tests
    ///
    /// The Python is the one in FSTORE_PYTHON, or else `python3`: 3.10 or later.
    Python {
        /// Compile it as it is published
        #[arg(long)]
        release: bool,
        /// Handed to pytest
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Test the backends under examples/, which are workspaces of their own
    Examples,
    /// Test what has to work on every system: core, the embedded store, the facade
    Portable,
    /// Test one backend with the server of an image, or else the one that is found; nothing is skipped
    Backend {
        /// redis, valkey or aerospike
        name: String,
        /// Such as redis:8.2: for containers, and for the program that tests do harm to
        #[arg(long)]
        image: Option<String>,
    },
    /// Test what partitions, losses and full disks cost on Redis; nothing is skipped, so it runs as root or by sudo
    Partitions,
    /// Check the licences and sources of all dependencies, and what is known against them
    Dependencies,
    /// Run each fuzz target; needs a nightly toolchain and cargo-fuzz
    Fuzz {
        /// How long each
        #[arg(long, default_value_t = 1)]
        minutes: u64,
    },
    /// Change the code and see whether a test notices: of a file, or of core and the backends, which takes hours
    Mutants {
        /// A file of the workspace
        #[arg(conflicts_with = "package")]
        file: Option<String>,
        /// All of a package
        #[arg(long)]
        package: Option<String>,
        /// A part of them, such as 0/4, the first of four
        #[arg(long, value_name = "K/N")]
        shard: Option<String>,
    },
    /// Run the program's whole life with faults, check what it promises throughout, and report
    Soak {
        /// How long
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Write the report, in Markdown, to this file too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Build the book of docs/ into target/book, without a warning and without a link that leads nowhere
    ///
    /// Needs mdbook on the PATH, and says which.
    Docs {
        /// Where the repository can be browsed, for links to its files; else they lead into this working copy
        #[arg(long, value_name = "URL")]
        repository: Option<String>,
    },
    /// Make local images of the servers that tests use, where no registry answers
    Images,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test { filter } => test::run(&filter),
        Command::Bench { name, check: true, .. } => ratios::check(name.as_deref()),
        Command::Bench { name, record: true, .. } => ratios::record(name.as_deref()),
        Command::Bench { publish: true, .. } => ratios::publish(),
        Command::Bench { name, quick, json, .. } => {
            bench::run(&name.unwrap_or_default(), quick, json.as_deref())
        }
        Command::Ci { no_tests } => ci::run(!no_tests),
        Command::Python { release, arguments } => {
            python::run(if release { python::Build::Release } else { python::Build::Quick }, &arguments)
        }
        Command::Examples => jobs::examples(),
        Command::Portable => jobs::portable(),
        Command::Backend { name, image } => jobs::backend(&name, image.as_deref()),
        Command::Partitions => jobs::partitions(),
        Command::Dependencies => jobs::dependencies(),
        Command::Fuzz { minutes } => jobs::fuzz(minutes),
        Command::Mutants { file, package, shard } => {
            mutants::run(file.as_deref(), package.as_deref(), shard.as_deref())
        }
        Command::Soak { minutes, report } => jobs::soak(minutes, report.as_deref()),
        Command::Docs { repository } => book::build(repository.as_deref()),
        Command::Images => images::run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
