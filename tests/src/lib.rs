//! What crosses several crates: tests of the whole, and the properties that fuzzing looks for
//! exceptions to.

pub mod fuzz;

/// The README's example is compiled. The test `outside` runs it, in a crate of its own.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
