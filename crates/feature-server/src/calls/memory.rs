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
    /// How much there is, or of which budget half is.
    limit: Limit,
}

#[derive(Debug)]
enum Limit {
    Amount(AtomicUsize),
    HalfOf(Budget),
}

/// Why there is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All have together as much as there is.
    Whole,
    /// One has as much as one may have.
    Share,
}

impl Full {
    /// Refuses a request for want of what a setting limits.
    pub(crate) fn refusal(self, what: &str, setting: &str) -> Refusal {
        match self {
            Self::Whole => Refusal::busy(format!("the server has {what} as it may ({setting})")),
            Self::Share => Refusal::too_much(format!(
                "the server has {what} of yours as of any one client: half of {setting}"
            )),
        }
    }
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self::of(Limit::Amount(AtomicUsize::new(limit)))
    }

    fn of(limit: Limit) -> Self {
        Self(Arc::new(Shared { taken: AtomicUsize::new(0), limit }))
    }

    /// What one of those who share it may have of it.
    pub(crate) fn share(&self) -> Self {
        Self::of(Limit::HalfOf(self.clone()))
    }

    /// Says how much there is from now on. What is taken stays taken.
    pub(crate) fn set_limit(&self, limit: usize) {
        if let Limit::Amount(own) = &self.0.limit {
            own.store(limit, Ordering::Relaxed);
        }
    }

    fn limit(&self) -> usize {
        match &self.0.limit {
            Limit::Amount(limit) => limit.load(Ordering::Relaxed),
            Limit::HalfOf(whole) => whole.limit().div_ceil(2),
        }
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
    pub(crate) fn take(&self, amount: usize) -> Result<Reservation, Full> {
        self.add(amount).map(|()| Reservation { budget: self.clone(), taken: amount })
    }

    fn add(&self, amount: usize) -> Result<(), Full> {
        let limit = self.limit();
        let grown = self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(amount).filter(|taken| *taken <= limit)
        });
        match &self.0.limit {
            Limit::Amount(_) => grown.map(drop).map_err(|_| Full::Whole),
            Limit::HalfOf(_) if grown.is_err() => Err(Full::Share),
            Limit::HalfOf(whole) => whole.add(amount).inspect_err(|_| {
                self.0.taken.fetch_sub(amount, Ordering::Relaxed);
            }),
        }
    }

    fn give_back(&self, amount: usize) {
        self.0.taken.fetch_sub(amount, Ordering::Relaxed);
        if let Limit::HalfOf(whole) = &self.0.limit {
            whole.give_back(amount);
        }
    }
}

/// What one request has taken. Given back when it goes.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    taken: usize,
}

impl Reservation {
    /// A reservation of nothing, for the same client.
    pub(crate) fn another(&self) -> Self {
        self.budget.reserve()
    }

    /// Takes so much in place of what it has.
    ///
    /// # Errors
    /// `LimitExceeded` when one request may never have so much, `Unavailable` when others have it now,
    /// `Throttled` when others of the same client have it.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        if let Some(less) = self.taken.checked_sub(bytes) {
            self.budget.give_back(less);
        } else {
            let limit = self.budget.limit();
            limit_of("what the request needs in memory", bytes, limit, "bytes (half of limits.memory)")?;
            let full = self.budget.add(bytes - self.taken);
            full.map_err(|full| full.refusal("as much in memory of requests and answers", "limits.memory"))?;
        }
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
        self.budget.give_back(self.taken);
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

    #[test]
    fn one_client_leaves_half_of_it_to_others() {
        let budget = Budget::new(100);
        let (one, other) = (budget.share(), budget.share());
        let (mut first, mut second) = (one.reserve(), one.reserve());
        first.resize(30).unwrap();
        second.resize(20).unwrap();
        assert_eq!(second.grow(1).unwrap_err().error().kind(), ErrorKind::Throttled);
        assert_eq!(second.resize(51).unwrap_err().error().kind(), ErrorKind::LimitExceeded);
        let mut third = other.reserve();
        third.resize(50).unwrap();
        assert_eq!((one.taken(), other.taken(), budget.taken()), (50, 50, 100));
        first.resize(0).unwrap();
        assert_eq!(other.reserve().grow(1).unwrap_err().error().kind(), ErrorKind::Throttled);
        let spare = budget.take(30).unwrap();
        assert_eq!(second.grow(1).unwrap_err().error().kind(), ErrorKind::Unavailable);
        drop((second, third, spare));
        assert_eq!((one.taken(), other.taken(), budget.taken()), (0, 0, 0));
    }
}
