//! What crosses several crates: tests of the whole, and the properties that fuzzing looks for
//! exceptions to.

pub mod fuzz;

/// The README's example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
