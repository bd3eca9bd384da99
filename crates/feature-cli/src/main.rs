//! `fstore`: the online feature store on the command line. See the crate's README.

mod checkpoint;
mod cli;
mod commands;
mod demo;
mod exit;
mod feature_rows;
mod ingest_progress;
mod output;
mod progress;
mod settings;

use std::process::ExitCode;

/// A server's requests take and free thousands of small pieces a second, and what a peak of connections took is
/// given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit::code_of(commands::run(cli::Cli::of_process()))
}
