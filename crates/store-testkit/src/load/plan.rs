//! How much load, and what it writes.

use std::time::Duration;

/// The view whose features are written one by one: feature `w0` by writer 0, and so on.
pub(super) const OWN_VIEW: &str = "load_own";
/// The view whose features are always written together, by every writer.
pub(super) const COMMON_VIEW: &str = "load_common";
/// The features of that view.
pub(super) const COMMON_FEATURES: [&str; 3] = ["a", "b", "c"];

/// How much load, and of what kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    /// Tasks that write. Each writes in turn a feature of its own, which meets those of the others in a
    /// merge, and a set of features common to all, which takes the fast path.
    pub writers: usize,
    /// Tasks that read both.
    pub readers: usize,
    /// How many entities they share.
    pub entities: usize,
    /// How many entities a call concerns.
    pub batch: usize,
    /// How long a call may take.
    pub deadline: Duration,
    /// How long a worker rests between two calls.
    pub rest: Duration,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            writers: 4,
            readers: 2,
            entities: 200,
            batch: 20,
            deadline: Duration::from_secs(1),
            rest: Duration::from_millis(2),
        }
    }
}

/// What is written on its own, for messages.
pub(super) fn thing(what: usize, writers: usize) -> String {
    if what < writers { format!("w{what}") } else { COMMON_FEATURES.join("+") }
}
