//! Requests: what a model asks for, and the table it gets.

pub(crate) mod plan;
