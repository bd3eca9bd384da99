//! The program `fstore`, which the wheel brings.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs `fstore` with these arguments, the first of which is the program's name, and gives its exit code.
#[pyfunction]
pub(crate) fn run_program(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| feature_cli::run(arguments))
}
