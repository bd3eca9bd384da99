//! How far the following is.

use std::fmt;
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
#[derive(Clone, Default)]
pub struct FollowTally {
    counts: Arc<Counts>,
    observer: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

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
    /// Counts that begin at zero; `observer` is told the [freshness](FollowProgress::freshness) of each batch.
    pub fn observed(observer: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..Self::default() }
    }

    /// How far it is.
    pub fn progress(&self) -> FollowProgress {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FollowProgress {
            delivered: count(&self.counts.delivered),
            written: count(&self.counts.written),
            superseded: count(&self.counts.superseded),
            empty: count(&self.counts.empty),
            dead: count(&self.counts.dead),
            troubles: count(&self.counts.troubles),
            freshness: Duration::from_micros(count(&self.counts.freshness_micros)),
        }
    }

    pub(crate) fn add(&self, to: impl Fn(&Counts) -> &AtomicU64, n: usize) {
        to(&self.counts).fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn fresh(&self, age: Duration) {
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.counts.freshness_micros.store(micros, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer(age);
        }
    }
}

impl fmt::Debug for FollowTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.progress().fmt(f)
    }
}
