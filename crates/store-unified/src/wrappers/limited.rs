//! No more calls on a store than it can take.

use std::sync::Arc;

use feature_core::{
    CallContext, Error, ErrorKind, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result,
    VersionedRecord,
};
use metrics::Counter;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use crate::observe::names::SHEDS;

/// How many calls a store may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Calls under way at a time, at least 1. Default 256.
    pub max_in_flight: usize,
    /// Calls that may wait for their turn. Default 1,024.
    pub max_queued: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { max_in_flight: 256, max_queued: 1024 }
    }
}

/// Lets a limited number of calls at a time through to a store. Some more wait for their turn, in the order
/// they came and until their deadline; the rest are refused at once with `Throttled`, so that a slow store
/// does not make this process pile up calls that nobody waits for any more.
///
/// Scans, purges and checks are not limited: they are few, and long.
#[derive(Debug)]
pub struct Limited {
    store: Arc<dyn OnlineStoreBackend>,
    name: String,
    settings: LimitSettings,
    /// Of those under way and those that wait.
    places: Semaphore,
    turns: Semaphore,
    sheds: Counter,
}

impl Limited {
    /// Limits the calls on the store of this name.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, name: &str, settings: LimitSettings) -> Self {
        let in_flight = settings.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let places = in_flight.saturating_add(settings.max_queued).min(Semaphore::MAX_PERMITS);
        Self {
            store,
            name: name.to_owned(),
            settings: LimitSettings { max_in_flight: in_flight, ..settings },
            places: Semaphore::new(places),
            turns: Semaphore::new(in_flight),
            sheds: SHEDS.counter([name]),
        }
    }

    /// Waits for the call's turn, which lasts until what is given is dropped.
    async fn turn(&self, call: CallContext) -> Result<[SemaphorePermit<'_>; 2]> {
        let Self { name, settings: LimitSettings { max_in_flight, max_queued }, .. } = self;
        let Ok(place) = self.places.try_acquire() else {
            self.sheds.increment(1);
            let message = format!(
                "store `{name}` has {max_in_flight} calls under way and {max_queued} waiting: load is shed; \
                 slow down, or raise max_in_flight or max_queued"
            );
            return Err(Error::new(ErrorKind::Throttled, message));
        };
        match timeout_at(call.deadline, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok([place, turn]),
            _ => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!(
                    "the call waited for its turn on store `{name}`, which has {max_in_flight} calls under way"
                ),
            )),
        }
    }
}

impl feature_core::BackendWrapper for Limited {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match self.turn(call).await {
            Ok(_turn) => self.store.get(keys, call).await,
            Err(error) => error.for_rows(keys.len()),
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        match self.turn(call).await {
            Ok(_turn) => self.store.put(puts, call).await,
            Err(error) => error.for_rows(puts.len()),
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match self.turn(call).await {
            Ok(_turn) => self.store.delete(keys, call).await,
            Err(error) => error.for_rows(keys.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use store_testkit::{Fault, Operation};
    use tokio::time::Instant;

    use super::*;
    use crate::wrappers::testing::{call, faulty, keys, ms, put_of, words};

    const SETTINGS: LimitSettings = LimitSettings { max_in_flight: 2, max_queued: 1 };

    #[tokio::test(start_paused = true)]
    async fn some_calls_go_some_wait_and_the_rest_is_shed_at_once() {
        let keys = keys(3);
        let store = faulty(&keys, "x", |_| Fault::Delay(ms(10))).await;
        let limited = Limited::new(store.clone(), "eu", SETTINGS);
        let began = Instant::now();
        let timed = |number: u64| {
            let (limited, keys) = (&limited, &keys);
            async move {
                let words = match number % 2 {
                    0 => words(limited.get(keys, call(ms(1000))).await),
                    _ => {
                        let rows = limited.delete(keys, call(ms(1000))).await;
                        rows.into_iter()
                            .map(|row| row.map_or_else(|e| e.kind().to_string(), |_| "x".to_owned()))
                            .collect()
                    }
                };
                (words, began.elapsed().as_millis())
            }
        };
        let outcomes = join_all((0..5).map(timed)).await;
        let (good, shed) = (vec!["x".to_owned(); 3], vec!["Throttled".to_owned(); 3]);
        let missing = vec!["-".to_owned(); 3];
        assert_eq!(outcomes, [(good.clone(), 10), (good, 10), (missing, 20), (shed.clone(), 0), (shed, 0),]);
        assert_eq!(store.calls().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_beyond_the_deadline_or_after_giving_up() {
        let keys = keys(1);
        let store = faulty(&keys, "x", |_| Fault::Delay(ms(100))).await;
        let limited = Limited::new(store.clone(), "eu", LimitSettings { max_in_flight: 1, max_queued: 1 });
        let (first, second) = futures::join!(
            limited.get(&keys, call(ms(1000))),
            limited.put(vec![put_of(&keys[0], "y")], call(ms(20))),
        );
        assert_eq!(words(first), ["x"]);
        let error = second[0].clone().unwrap_err();
        assert_eq!((error.kind(), error.in_doubt()), (ErrorKind::DeadlineExceeded, false));
        assert_eq!(store.count(Operation::Put), 0);
        for _ in 0..10 {
            // Calls that are dropped, under way or waiting, leave their places to others.
            let given_up = async {
                futures::join!(limited.get(&keys, call(ms(1000))), limited.get(&keys, call(ms(1000))))
            };
            assert!(tokio::time::timeout(ms(10), given_up).await.is_err());
        }
        assert_eq!(words(limited.get(&keys, call(ms(1000))).await), ["x"]);
    }
}
