//! `fstore`: the online feature store on the command line. See the crate's README.

use std::process::ExitCode;

/// A server's requests take and free thousands of small pieces a second, and what a peak of connections took is
/// given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(feature_cli::run(std::env::args_os()))
}
