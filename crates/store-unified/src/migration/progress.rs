//! How far a command has come, to be read while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What a command is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Nothing yet.
    Begun,
    /// Waiting until every process follows the new phase.
    Waiting,
    /// Copying what the source has.
    Copying,
    /// Looking at what the target has that the source might not have.
    Sweeping,
    /// Comparing the records.
    Comparing,
    /// Looking again at those that differed.
    LookingAgain,
    /// Writes wait until every process follows.
    Holding,
    /// Removing what was copied.
    Purging,
}

const STEPS: [Step; 8] = [
    Step::Begun,
    Step::Waiting,
    Step::Copying,
    Step::Sweeping,
    Step::Comparing,
    Step::LookingAgain,
    Step::Holding,
    Step::Purging,
];

impl Step {
    /// The step in words, to be shown while it goes on.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Begun => "looking at what is known",
            Self::Waiting => "waiting until every process follows",
            Self::Copying => "copying",
            Self::Sweeping => "looking for what was removed meanwhile",
            Self::Comparing => "comparing",
            Self::LookingAgain => "looking again at what differed",
            Self::Holding => "writes wait until every process follows",
            Self::Purging => "removing the copies",
        }
    }
}

/// How far a command has come. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct MigrationProgress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    step: AtomicU8,
    looked_at: AtomicU64,
    copied: AtomicU64,
    failed: AtomicU64,
    differing: AtomicU64,
}

impl MigrationProgress {
    /// What the command is busy with.
    pub fn step(&self) -> Step {
        STEPS.get(usize::from(self.0.step.load(Ordering::Relaxed))).copied().unwrap_or(Step::Begun)
    }

    /// Records looked at in this step.
    pub fn looked_at(&self) -> u64 {
        self.0.looked_at.load(Ordering::Relaxed)
    }

    /// Records that the target lacked or had otherwise, and has been given.
    pub fn copied(&self) -> u64 {
        self.0.copied.load(Ordering::Relaxed)
    }

    /// Records that could not be read or written.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Records that are not known to be equal.
    pub fn differing(&self) -> u64 {
        self.0.differing.load(Ordering::Relaxed)
    }

    /// Begins a step; the count of what was looked at starts again.
    pub(super) fn enter(&self, step: Step) {
        self.0.step.store(step as u8, Ordering::Relaxed);
        self.0.looked_at.store(0, Ordering::Relaxed);
    }

    pub(super) fn look(&self, records: usize) {
        self.0.looked_at.fetch_add(records as u64, Ordering::Relaxed);
    }

    pub(super) fn copy(&self, records: usize) {
        self.0.copied.fetch_add(records as u64, Ordering::Relaxed);
    }

    pub(super) fn fail(&self, records: usize) {
        self.0.failed.fetch_add(records as u64, Ordering::Relaxed);
    }

    pub(super) fn differ(&self, records: usize) {
        self.0.differing.store(records as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_shown_as_itself() {
        let progress = MigrationProgress::default();
        for step in STEPS {
            progress.enter(step);
            assert_eq!(progress.step(), step);
        }
    }
}
