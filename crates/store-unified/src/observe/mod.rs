//! What can be measured of the store while it runs.

pub mod names;

pub use names::{Metric, MetricKind, describe_all};
