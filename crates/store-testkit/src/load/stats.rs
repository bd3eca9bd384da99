//! What became of the calls of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use feature_core::{Error, ErrorKind};

/// What an error says about what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorClass {
    /// Its kind.
    pub kind: ErrorKind,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// Whether the write may have taken effect.
    pub in_doubt: bool,
}

impl ErrorClass {
    pub(super) fn of(error: &Error) -> Self {
        Self { kind: error.kind(), retryable: error.is_retryable(), in_doubt: error.in_doubt() }
    }

    const fn key(&self) -> (&'static str, bool, bool) {
        (self.kind.name(), self.retryable, self.in_doubt)
    }
}

impl Ord for ErrorClass {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for ErrorClass {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        f.write_str(if self.retryable { ", retryable" } else { ", final" })?;
        f.write_str(if self.in_doubt { ", in doubt" } else { "" })
    }
}

/// Errors of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorStats {
    /// How many rows had one.
    pub rows: usize,
    /// The first of them, as text.
    pub sample: String,
}

/// Calls of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// How many there were.
    pub calls: usize,
    /// How many of their rows succeeded.
    pub rows_ok: usize,
    /// Those that did not.
    pub errors: BTreeMap<ErrorClass, ErrorStats>,
    /// How long the slowest call took.
    pub slowest: Duration,
}

impl CallStats {
    pub(super) fn add(&mut self, took: Duration, rows_ok: usize, errors: &[&Error]) {
        self.calls += 1;
        self.rows_ok += rows_ok;
        self.slowest = self.slowest.max(took);
        for error in errors {
            let new = || ErrorStats { rows: 0, sample: error.to_string() };
            self.errors.entry(ErrorClass::of(error)).or_insert_with(new).rows += 1;
        }
    }

    /// How many rows had an error of this kind.
    pub fn errors_of(&self, kind: ErrorKind) -> usize {
        self.errors.iter().filter(|(class, _)| class.kind == kind).map(|(_, stats)| stats.rows).sum()
    }
}

impl fmt::Display for CallStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {} rows ok, slowest {:?}", self.calls, self.rows_ok, self.slowest)?;
        for (class, stats) in &self.errors {
            write!(f, "\n  {} rows {class}: {}", stats.rows, stats.sample)?;
        }
        Ok(())
    }
}
