//! The conformance suite, on a real server.

mod suite;

use std::process::ExitCode;

fn main() -> ExitCode {
    suite::run(|_| {})
}
