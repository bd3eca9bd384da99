//! What all requests in flight share: memory, and how many they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Refusal, limit_of};

/// What there is to share. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { taken: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }))
    }

    /// Says how much there is from now on. What is taken stays taken.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// How much is taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// A reservation of nothing, to grow.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation { budget: self.clone(), taken: 0 }
    }

    /// So much of it, if it is there.
    pub(crate) fn take(&self, amount: usize) -> Option<Reservation> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let grown = self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(amount).filter(|taken| *taken <= limit)
        });
        grown.ok().map(|_| Reservation { budget: self.clone(), taken: amount })
    }
}

/// What one request has taken. Given back when it goes.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    taken: usize,
}

impl Reservation {
    /// Takes so much in place of what it has.
    ///
    /// # Errors
    /// `LimitExceeded` when one request may never have so much, `Unavailable` when others have it now.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        if let Some(less) = self.taken.checked_sub(bytes) {
            self.budget.0.taken.fetch_sub(less, Ordering::Relaxed);
            self.taken = bytes;
            return Ok(());
        }
        let limit = self.budget.0.limit.load(Ordering::Relaxed);
        limit_of("what the request needs in memory", bytes, limit, "bytes (limits.memory)")?;
        let mut more = self.budget.take(bytes - self.taken).ok_or_else(|| {
            Refusal::busy(
                "the server has as much of requests and answers in memory as it may (limits.memory)",
            )
        })?;
        // It is this one's now.
        more.taken = 0;
        self.taken = bytes;
        Ok(())
    }

    /// Takes what another has.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.taken += std::mem::take(&mut other.taken);
    }

    /// Takes so much more.
    ///
    /// # Errors
    /// As [`resize`](Self::resize).
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Refusal> {
        self.resize(self.taken.saturating_add(more))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use feature_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_taken_is_given_back_and_never_more_than_there_is() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (budget.reserve(), budget.reserve());
        first.resize(60).unwrap();
        second.resize(40).unwrap();
        assert_eq!(second.grow(1).unwrap_err().error().kind(), ErrorKind::Unavailable);
        assert_eq!(second.resize(101).unwrap_err().error().kind(), ErrorKind::LimitExceeded);
        assert_eq!(budget.taken(), 100);
        first.resize(10).unwrap();
        second.grow(50).unwrap();
        drop(second);
        assert_eq!(budget.taken(), 10);
        budget.set_limit(10);
        assert!(first.grow(1).is_err());
        drop(first);
        assert_eq!(budget.taken(), 0);
    }
}
