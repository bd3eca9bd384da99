//! How far the following is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How far the following of a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowProgress {
    /// Messages delivered, repetitions included.
    pub delivered: u64,
    /// Messages that the store has taken.
    pub written: u64,
    /// How many of those were older than what the store had, or repetitions.
    pub superseded: u64,
    /// Messages that say nothing.
    pub empty: u64,
    /// Messages that cannot be taken.
    pub dead: u64,
    /// How often the stream or the store was in trouble, and what was under way was tried again.
    pub troubles: u64,
    /// How old, since it entered the stream, the oldest message of the last batch was when the store had it.
    pub freshness: Duration,
}

/// The counts, to be read while they grow. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct FollowTally(Arc<Counts>);

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) empty: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) troubles: AtomicU64,
    pub(crate) freshness_micros: AtomicU64,
}

impl FollowTally {
    /// How far it is.
    pub fn progress(&self) -> FollowProgress {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FollowProgress {
            delivered: count(&self.0.delivered),
            written: count(&self.0.written),
            superseded: count(&self.0.superseded),
            empty: count(&self.0.empty),
            dead: count(&self.0.dead),
            troubles: count(&self.0.troubles),
            freshness: Duration::from_micros(count(&self.0.freshness_micros)),
        }
    }

    pub(crate) fn add(&self, to: impl Fn(&Counts) -> &AtomicU64, n: usize) {
        to(&self.0).fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn fresh(&self, age: Duration) {
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.0.freshness_micros.store(micros, Ordering::Relaxed);
    }
}
