//! Retries what has failed and may be repeated.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{
    CallContext, Error, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result, VersionedRecord,
};
use metrics::Counter;
use tokio::time::{Instant, sleep, timeout_at};

use super::budget::Budget;
use super::rows::pick;
use super::trouble::last_moment;
use crate::observe::names::RETRIES;

/// Retries that may be saved up, and that there are to begin with: calls that fail are mostly the first of
/// many, or single ones among few.
const SAVED: u32 = 20;

/// How often, and how soon, to try again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// Attempts after the first. Default 2.
    pub max_retries: usize,
    /// The wait before the first of them; it doubles from one to the next, and as much again is added at
    /// random. Default 5 ms.
    pub min_delay: Duration,
    /// The longest wait, before the random part. Default 200 ms.
    pub max_delay: Duration,
    /// Retries as a share of all calls, at most, so that an outage does not multiply the load: 0 to 1.
    /// Default 0.2.
    pub max_extra: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_retries: 2,
            min_delay: Duration::from_millis(5),
            max_delay: Duration::from_millis(200),
            max_extra: 0.2,
        }
    }
}

/// Sends rows that failed again, and only those, where the error says that this can help and there is time
/// for it. A row of a write is sent again only if it certainly had no effect; the caller, who knows what is
/// written, may repeat one that is in doubt.
#[derive(Debug)]
pub struct Retrying {
    store: Arc<dyn OnlineStoreBackend>,
    delays: ExponentialBuilder,
    budget: Budget,
    /// Of reads, writes and deletes.
    retries: [Counter; 3],
}

impl Retrying {
    /// Tries the calls on the store of this name again.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, name: &str, settings: RetrySettings) -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(settings.min_delay)
            .with_max_delay(settings.max_delay)
            .with_max_times(settings.max_retries)
            .with_jitter();
        let retries = ["get", "put", "delete"].map(|operation| RETRIES.counter([name, operation]));
        Self { store, delays, budget: Budget::new(settings.max_extra, SAVED, SAVED), retries }
    }

    /// The answers after trying again those rows that may be. `send` sends some rows.
    async fn again<A: Clone, T, F: Future<Output = Vec<Result<T>>>>(
        &self,
        rows: &[A],
        mut answers: Vec<Result<T>>,
        call: CallContext,
        kind: Kind,
        send: impl Fn(Vec<A>) -> F,
    ) -> Vec<Result<T>> {
        self.budget.earn();
        if answers.iter().all(Result::is_ok) || answers.len() != rows.len() {
            return answers;
        }
        let until = last_moment(call);
        for delay in self.delays.build() {
            let now = Instant::now();
            let waits: Vec<(usize, Duration)> = answers
                .iter()
                .enumerate()
                .filter_map(|(number, row)| Some((number, kind.wait(row.as_ref().err()?, delay)?)))
                .filter(|(_, wait)| now.checked_add(*wait).is_some_and(|then| then < until))
                .collect();
            let Some(wait) = waits.iter().map(|(_, wait)| *wait).max() else { return answers };
            if !self.budget.try_spend() {
                return answers;
            }
            sleep(wait).await;
            self.retries[kind as usize].increment(1);
            let numbers: Vec<usize> = waits.into_iter().map(|(number, _)| number).collect();
            match timeout_at(until, send(pick(rows, &numbers))).await {
                Ok(again) if again.len() == numbers.len() => {
                    for (number, row) in numbers.into_iter().zip(again) {
                        answers[number] = row;
                    }
                }
                _ => {
                    for number in numbers.into_iter().filter(|_| kind != Kind::Get) {
                        if let Err(error) = &mut answers[number] {
                            *error = error.clone().with_in_doubt(true);
                        }
                    }
                    return answers;
                }
            }
        }
        answers
    }
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    Put,
    Delete,
}

impl Kind {
    /// How long a row with this error waits before it is sent again, if it may be.
    fn wait(self, error: &Error, delay: Duration) -> Option<Duration> {
        let certain = self == Self::Get || !error.in_doubt();
        (error.is_retryable() && certain).then(|| delay.max(error.retry_after().unwrap_or_default()))
    }
}

impl feature_core::BackendWrapper for Retrying {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let answers = self.store.get(keys, call).await;
        let send = |keys: Vec<RecordKey>| async move { self.store.get(&keys, call).await };
        self.again(keys, answers, call, Kind::Get, send).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let answers = self.store.put(puts.clone(), call).await;
        self.again(&puts, answers, call, Kind::Put, |puts| self.store.put(puts, call)).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let answers = self.store.delete(keys, call).await;
        let send = |keys: Vec<RecordKey>| async move { self.store.delete(&keys, call).await };
        self.again(keys, answers, call, Kind::Delete, send).await
    }
}

#[cfg(test)]
mod tests {
    use feature_core::ErrorKind;
    use proptest::prelude::*;
    use store_testkit::{Call, Fault, FaultyBackend, Operation};

    use super::*;
    use crate::wrappers::testing::{call, faulty, keys, ms, put_of, unavailable, words};

    const SETTINGS: RetrySettings =
        RetrySettings { max_retries: 2, min_delay: ms(5), max_delay: ms(200), max_extra: 0.2 };

    fn rows(store: &FaultyBackend, operation: Operation) -> Vec<usize> {
        store.calls().into_iter().filter(|call| call.operation == operation).map(|call| call.rows).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_rows_that_failed_are_sent_again_and_rows_keep_their_places() {
        let keys = keys(3);
        let script = |call: Call| match call.number {
            0 => Fault::FailRow(1, unavailable()),
            1 => Fault::Fail(unavailable()),
            _ => Fault::None,
        };
        let store = faulty(&keys, "x", script).await;
        let retrying = Retrying::new(store.clone(), "eu", SETTINGS);
        let absent = crate::wrappers::testing::keys(4)[3].clone();
        let asked = [keys[0].clone(), absent, keys[2].clone()];
        assert_eq!(words(retrying.get(&asked, call(ms(1000))).await), ["x", "-", "x"]);
        assert_eq!(rows(&store, Operation::Get), [3, 1, 1]);
        let puts = keys.iter().map(|key| put_of(key, "y")).collect();
        assert!(retrying.put(puts, call(ms(1000))).await.iter().all(Result::is_ok));
        assert_eq!(rows(&store, Operation::Put), [3, 1, 1]);
        assert!(retrying.delete(&keys, call(ms(1000))).await.into_iter().all(|row| row.unwrap()));
        assert_eq!(rows(&store, Operation::Delete), [3, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_help_or_may_have_taken_effect_is_not_sent_again() {
        let keys = keys(1);
        for fault in [
            Fault::LoseReply,
            Fault::Fail(Error::corrupt("x")),
            Fault::Fail(unavailable().with_retryable(false)),
        ] {
            let lost = matches!(fault, Fault::LoseReply);
            let script = move |call: Call| if call.number == 0 { fault.clone() } else { Fault::None };
            let store = faulty(&keys, "x", script).await;
            let retrying = Retrying::new(store.clone(), "eu", SETTINGS);
            assert_eq!(
                retrying.get(&keys, call(ms(1000))).await[0].is_ok(),
                lost,
                "reading again is harmless"
            );
            assert!(retrying.put(vec![put_of(&keys[0], "y")], call(ms(1000))).await[0].is_err());
            assert!(retrying.delete(&keys, call(ms(1000))).await[0].is_err());
            assert_eq!((store.count(Operation::Put), store.count(Operation::Delete)), (1, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_as_long_as_the_store_asks_but_not_beyond_the_deadline() {
        let keys = keys(1);
        let busy = Error::new(ErrorKind::Throttled, "slow down").with_retry_after(ms(300));
        let script = move |call: Call| if call.number == 0 { Fault::Fail(busy.clone()) } else { Fault::None };
        for (deadline, word, took) in [(1000, "x", 300), (250, "Throttled", 0)] {
            let retrying = Retrying::new(faulty(&keys, "x", script.clone()).await, "eu", SETTINGS);
            let began = Instant::now();
            assert_eq!(words(retrying.get(&keys, call(ms(deadline))).await), [word]);
            assert_eq!(began.elapsed(), ms(took));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_gets_no_answer_costs_no_other_row_its_own() {
        let keys = keys(2);
        let script = |call: Call| match call.number {
            0 => Fault::FailRow(0, unavailable()),
            _ => Fault::Delay(ms(60_000)),
        };
        let retrying = Retrying::new(faulty(&keys, "x", script).await, "eu", SETTINGS);
        let within = call(ms(100));
        let answers = timeout_at(within.deadline, retrying.get(&keys, within)).await.unwrap();
        assert_eq!(words(answers), ["Unavailable", "x"]);
        let puts = keys.iter().map(|key| put_of(key, "y")).collect();
        let within = call(ms(100));
        let answers = timeout_at(within.deadline, retrying.put(puts, within)).await.unwrap();
        assert!(answers[0].as_ref().is_err_and(Error::in_doubt), "the retry may have arrived");
        assert!(matches!(answers[1], Ok(PutOutcome::Stored)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn an_outage_does_not_multiply_the_load(share in 0.0..=0.5f64, calls in 1..300usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            let sent = runtime.block_on(async move {
                let keys = keys(1);
                let store = faulty(&keys, "x", |_| Fault::Fail(unavailable())).await;
                let settings = RetrySettings { max_extra: share, ..SETTINGS };
                let retrying = Retrying::new(store.clone(), "eu", settings);
                for _ in 0..calls {
                    assert_eq!(words(retrying.get(&keys, call(ms(1000))).await), ["Unavailable"]);
                }
                store.count(Operation::Get)
            });
            let most = calls as f64 * (1.0 + share) + f64::from(SAVED) + 1e-6;
            prop_assert!(sent as f64 <= most, "{sent} for {calls} calls");
            prop_assert!(sent <= calls * (1 + SETTINGS.max_retries));
        }
    }
}
