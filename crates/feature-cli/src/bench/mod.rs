//! Load on a store or a server, and what it feels like.
//!
//! Calls are due at a constant rate, whatever becomes of those before: users do not wait for each other. How long a
//! call took from when it was due is its response time; how long from when it was sent, its service time. A load that
//! sends the next call when the last is answered has no other than the latter, and hides every stall but one call's
//! worth of it: that is coordinated omission.

mod measure;
mod on_server;
mod on_store;
mod pace;
mod plot;
mod report;
mod run;
mod shape;

pub(crate) use on_server::{OnServer, Server};
pub(crate) use on_store::OnStore;
pub(crate) use plot::plot;
pub(crate) use report::report;
pub(crate) use run::{Plan, Progress, run};
pub(crate) use shape::{Distribution, Entities, Shape, Shaped, fill};
