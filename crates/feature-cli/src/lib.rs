#![doc = include_str!("../README.md")]

mod bench;
mod checkpoint;
mod cli;
mod commands;
mod demo;
mod exit;
mod exports;
mod feature_rows;
mod followers;
mod ingest_progress;
mod output;
mod progress;
mod settings;
mod streams;
mod telemetry;

use std::ffi::OsString;

/// Runs `fstore` with these arguments, of which the first is the program's own name, and gives the exit code of
/// the process. A wrong argument ends the process at once, and so do `--help` and `--version`.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    exit::code_of(commands::run(cli::Cli::of_process(arguments)))
}
