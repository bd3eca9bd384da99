//! How much may be done on top of what is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one extra call costs; what a call earns is a part of it.
const ONE: u64 = 1_000_000;

/// Extra calls that ordinary ones have earned, so that they stay a share of them whatever happens.
#[derive(Debug)]
pub(crate) struct Budget {
    balance: AtomicU64,
    each_earns: u64,
    limit: u64,
}

impl Budget {
    /// Every call earns this share (0 to 1) of an extra one. At most `saved` extra calls are kept for later,
    /// and the budget begins with `initial`.
    pub(crate) fn new(share: f64, saved: u32, initial: u32) -> Self {
        let limit = u64::from(saved) * ONE;
        Self {
            balance: AtomicU64::new((u64::from(initial) * ONE).min(limit)),
            // Not more than the share: what is cut off is less than a millionth.
            each_earns: (share.clamp(0.0, 1.0) * ONE as f64) as u64,
            limit,
        }
    }

    /// Takes note of an ordinary call.
    pub(crate) fn earn(&self) {
        self.change(|balance| Some((balance + self.each_earns).min(self.limit)));
    }

    /// Takes an extra call, if one has been earned.
    pub(crate) fn try_spend(&self) -> bool {
        self.change(|balance| balance.checked_sub(ONE))
    }

    fn change(&self, to: impl Fn(u64) -> Option<u64>) -> bool {
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, to).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extra_calls_are_never_more_than_the_share(
            share in 0.0..=1.0f64,
            saved in 1..20u32,
            initial in 0..5u32,
            wants in prop::collection::vec(any::<bool>(), 0..400),
        ) {
            let budget = Budget::new(share, saved, initial);
            let (mut calls, mut extra) = (0, 0);
            for wanted in wants {
                calls += 1;
                budget.earn();
                extra += u32::from(wanted && budget.try_spend());
                let most = share * f64::from(calls) + f64::from(initial.min(saved));
                prop_assert!(f64::from(extra) <= most + 1e-9, "{extra} of {calls}");
            }
        }

        #[test]
        fn what_is_saved_is_bounded(saved in 1..20u32, calls in 0..2_000u32) {
            let budget = Budget::new(0.1, saved, 0);
            (0..calls).for_each(|_| budget.earn());
            let extra = std::iter::repeat_with(|| budget.try_spend()).take_while(|spent| *spent).count();
            prop_assert_eq!(extra, saved.min(calls / 10) as usize);
        }
    }
}
