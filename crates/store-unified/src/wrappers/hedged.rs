//! A slow read is sent once more.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    CallContext, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result, VersionedRecord,
};
use metrics::Counter;
use tokio::time::timeout;

use super::budget::Budget;
use super::race::race;
use crate::observe::names::{HEDGE_WINS, HEDGES};

/// Second reads that may be saved up for later, when many are slow at once.
const SAVED: u32 = 50;

/// When a read is sent a second time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeSettings {
    /// How long to wait for the first answer: a little longer than nearly all reads take. Default 10 ms.
    pub after: Duration,
    /// Second reads as a share of all reads, at most, however slow these are: 0 to 1. Default 0.05.
    pub max_extra: f64,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        Self { after: Duration::from_millis(10), max_extra: 0.05 }
    }
}

/// Sends a slow read to the same store again and takes the answer that comes first. That helps against a
/// stalled connection, node or thread, which the second read mostly avoids.
///
/// Every read earns part of a second one, so that a store that is slow throughout does not get more to do.
/// Only reads: a write that is sent twice might arrive twice.
#[derive(Debug)]
pub struct Hedged {
    store: Arc<dyn OnlineStoreBackend>,
    after: Duration,
    budget: Budget,
    hedges: Counter,
    wins: Counter,
}

impl Hedged {
    /// Hedges the reads of the store of this name.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, name: &str, settings: HedgeSettings) -> Self {
        Self {
            store,
            after: settings.after,
            budget: Budget::new(settings.max_extra, SAVED, 0),
            hedges: HEDGES.counter([name]),
            wins: HEDGE_WINS.counter([name]),
        }
    }
}

impl feature_core::BackendWrapper for Hedged {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.budget.earn();
        let mut first = self.store.get(keys, call);
        if let Ok(answers) = timeout(self.after, &mut first).await {
            return answers;
        }
        if !self.budget.try_spend() {
            return first.await;
        }
        self.hedges.increment(1);
        let (answers, from_second) = race(call, first, self.store.get(keys, call)).await;
        if !from_second.is_empty() {
            self.wins.increment(1);
        }
        answers
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.store.put(puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.store.delete(keys, call).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use store_testkit::{Fault, Operation};
    use tokio::time::Instant;

    use super::*;
    use crate::wrappers::testing::{call, faulty, keys, ms, put_of, unavailable, words};

    const SETTINGS: HedgeSettings = HedgeSettings { after: ms(10), max_extra: 1.0 };

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_is_sent_again_and_the_first_answer_counts() {
        let keys = keys(3);
        // Reads take, one after the other: long, and no time; a while, and long; no time.
        let delays = [200, 0, 15, 200, 0];
        let store = faulty(&keys, "x", move |call| Fault::Delay(ms(delays[call.number]))).await;
        let hedged = Hedged::new(store.clone(), "eu", SETTINGS);
        for (took, calls) in [(10, 2), (15, 4), (0, 5)] {
            let began = Instant::now();
            assert_eq!(words(hedged.get(&keys, call(ms(1000))).await), ["x", "x", "x"]);
            assert_eq!((began.elapsed(), store.count(Operation::Get)), (ms(took), calls));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_use_does_not_win() {
        let keys = keys(2);
        let script = |call: store_testkit::Call| match call.number {
            0 => Fault::Delay(ms(20)),
            _ => Fault::FailRow(0, unavailable()),
        };
        let hedged = Hedged::new(faulty(&keys, "x", script).await, "eu", SETTINGS);
        assert_eq!(words(hedged.get(&keys, call(ms(1000))).await), ["x", "x"]);
        assert_eq!(words(hedged.get(&keys, call(ms(1000))).await), ["Unavailable", "x"]);
    }

    #[tokio::test(start_paused = true)]
    async fn writes_are_sent_once_however_slow() {
        let keys = keys(1);
        let store = faulty(&keys, "x", |_| Fault::Delay(ms(200))).await;
        let hedged = Hedged::new(store.clone(), "eu", SETTINGS);
        hedged.budget.earn();
        assert!(hedged.put(vec![put_of(&keys[0], "y")], call(ms(1000))).await[0].is_ok());
        assert!(hedged.delete(&keys, call(ms(1000))).await[0].is_ok());
        assert_eq!(store.calls().len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn the_load_grows_by_the_share_at_most(
            share in 0.0..=0.3f64,
            slow in prop::collection::vec(prop::bool::weighted(0.5), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            let reads = slow.len();
            let calls = runtime.block_on(async move {
                let keys = keys(1);
                let slow = move |number: usize| slow.get(number).copied().unwrap_or(true);
                let delay = move |call: store_testkit::Call| Fault::Delay(ms(if slow(call.number) { 50 } else { 1 }));
                let store = faulty(&keys, "x", delay).await;
                let settings = HedgeSettings { max_extra: share, ..SETTINGS };
                let hedged = Hedged::new(store.clone(), "eu", settings);
                for _ in 0..reads {
                    assert_eq!(words(hedged.get(&keys, call(ms(1000))).await), ["x"]);
                }
                store.count(Operation::Get)
            });
            prop_assert!(calls as f64 <= reads as f64 * (1.0 + share) + 1e-6, "{calls} calls for {reads} reads");
        }
    }
}
