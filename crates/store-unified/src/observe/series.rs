//! The counters of one kind of call, by what became of it.

use std::sync::OnceLock;
use std::time::Duration;

use feature_core::ErrorKind;
use metrics::{Counter, Histogram};

use super::names::Metric;

/// What became of a call or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(usize);

const NAMES: [&str; 18] = [
    "ok",
    "Dropped",
    "found",
    "absent",
    "applied",
    "superseded",
    ErrorKind::InvalidArgument.name(),
    ErrorKind::LimitExceeded.name(),
    ErrorKind::Unsupported.name(),
    ErrorKind::NotConfigured.name(),
    ErrorKind::Unauthenticated.name(),
    ErrorKind::PermissionDenied.name(),
    ErrorKind::Throttled.name(),
    ErrorKind::Unavailable.name(),
    ErrorKind::DeadlineExceeded.name(),
    ErrorKind::Conflict.name(),
    ErrorKind::Corrupt.name(),
    ErrorKind::Internal.name(),
];

impl Status {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const DROPPED: Self = Self(1);
    pub(crate) const FOUND: Self = Self(2);
    pub(crate) const ABSENT: Self = Self(3);
    pub(crate) const APPLIED: Self = Self(4);
    pub(crate) const SUPERSEDED: Self = Self(5);

    pub(crate) const fn name(self) -> &'static str {
        NAMES[self.0]
    }
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        let number = NAMES.iter().position(|name| *name == kind.name());
        Self(number.unwrap_or(NAMES.len() - 1))
    }
}

type ByStatus<T> = [OnceLock<T>; NAMES.len()];

/// Counts the calls of one operation, of one store or class of tenants. What has not happened yet is looked
/// up when it does, once; from then on it costs an atomic addition.
pub(crate) struct Series {
    metrics: [&'static Metric; 3],
    /// Values of the labels that stand before the status.
    labels: [String; 2],
    calls: ByStatus<Counter>,
    rows: ByStatus<Counter>,
    seconds: ByStatus<Histogram>,
}

impl Series {
    /// `metrics` are those of calls, rows and seconds. What may be `expected` of the rows is there from the
    /// beginning, and is 0.
    pub(crate) fn new(metrics: [&'static Metric; 3], labels: [&str; 2], expected: &[Status]) -> Self {
        let series = Self {
            metrics,
            labels: labels.map(str::to_owned),
            calls: Default::default(),
            rows: Default::default(),
            seconds: Default::default(),
        };
        series.calls(Status::OK).increment(0);
        series.seconds(Status::OK);
        expected.iter().for_each(|status| series.rows(*status, 0));
        series
    }

    /// Counts a call that took so long.
    pub(crate) fn call(&self, status: Status, took: Duration) {
        self.calls(status).increment(1);
        self.seconds(status).record(took.as_secs_f64());
    }

    /// Counts rows.
    pub(crate) fn rows(&self, status: Status, number: usize) {
        let new = || self.metrics[1].counter(self.labels(status));
        self.rows[status.0].get_or_init(new).increment(number as u64);
    }

    fn calls(&self, status: Status) -> &Counter {
        self.calls[status.0].get_or_init(|| self.metrics[0].counter(self.labels(status)))
    }

    fn seconds(&self, status: Status) -> &Histogram {
        self.seconds[status.0].get_or_init(|| self.metrics[2].histogram(self.labels(status)))
    }

    fn labels(&self, status: Status) -> [&str; 3] {
        let [first, operation] = &self.labels;
        [first, operation, status.name()]
    }
}
