//! Backends that wrap backends. Each does one thing, works over any store, and passes the conformance suite.

mod foreign;
mod quotas;
mod routed;
mod rows;

pub use quotas::{Quota, Quotas};
pub use routed::{Pattern, Route, Routed};
