//! What can be measured of the store while it runs.

pub(crate) mod call;
pub mod names;
mod requests;
pub(crate) mod series;
#[cfg(test)]
pub(crate) mod testing;

pub use names::{Metric, MetricKind, describe_all};
pub(crate) use requests::Counting;
pub use requests::{Request, RequestKind, RequestMetrics};
