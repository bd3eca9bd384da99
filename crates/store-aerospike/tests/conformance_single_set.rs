//! The conformance suite, with the records of all views in one set.

mod suite;

use std::process::ExitCode;

use store_aerospike::SetLayout;

fn main() -> ExitCode {
    suite::run(|config| config.layout = SetLayout::Single("features".to_owned()))
}
