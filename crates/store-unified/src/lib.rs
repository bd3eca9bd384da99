#![doc = include_str!("../README.md")]

mod wrappers;

pub use wrappers::{Pattern, Route, Routed};
