//! A store that does not answer is left alone for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feature_core::{
    CallContext, Error, ErrorKind, Health, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result,
    VersionedRecord, format_duration,
};
use metrics::{Counter, Gauge};
use tokio::time::Instant;

use super::breaker::{Breaker, CircuitSettings, Outage, Permit, Position, Verdict};
use super::trouble::{is_silence, patience};
use crate::observe::names::{CIRCUIT_CHANGES, CIRCUIT_STATE};

/// Refuses calls at once, with `Unavailable`, while a store fails or does not answer, instead of letting each
/// wait for its deadline. Now and then one call is let through; when a few of them in a row have succeeded,
/// all are.
///
/// A call has failed when most of its rows are `Unavailable` or `DeadlineExceeded`, or when its caller has
/// given up on it after a while. Reads, writes and deletes count; scans, purges and checks neither count nor
/// are refused.
#[derive(Debug)]
pub struct Circuit {
    store: Arc<dyn OnlineStoreBackend>,
    name: String,
    slow: Duration,
    breaker: Mutex<Breaker>,
    position: Gauge,
    /// Of changes to closed, half open, open.
    changes: [Counter; 3],
}

impl Circuit {
    /// Watches over the store of this name.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, name: &str, settings: CircuitSettings) -> Self {
        let changes = ["closed", "half_open", "open"].map(|to| CIRCUIT_CHANGES.counter([name, to]));
        let position = CIRCUIT_STATE.gauge([name]);
        position.set(0.0);
        Self {
            store,
            name: name.to_owned(),
            slow: settings.slow,
            breaker: Mutex::new(Breaker::new(settings)),
            position,
            changes,
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call through, or says why not.
    fn admit(&self, call: CallContext) -> Result<Ticket<'_>> {
        let now = Instant::now();
        match self.breaker().admit(now) {
            Ok(permit) => Ok(Ticket {
                circuit: self,
                permit,
                began: now,
                patience: patience(self.slow, call),
                ended: false,
            }),
            Err(outage) => Err(self.refusal(&outage, now)),
        }
    }

    fn refusal(&self, outage: &Outage, now: Instant) -> Error {
        let wait = outage.next_probe.saturating_duration_since(now).max(Duration::from_millis(1));
        let message =
            format!("{}; calls are refused, the next is tried in {}", self.describe(outage, now), text(wait));
        Error::new(ErrorKind::Unavailable, message).with_retry_after(wait)
    }

    fn describe(&self, outage: &Outage, now: Instant) -> String {
        let since = text(now.saturating_duration_since(outage.since));
        format!("store `{}` has been failing for {since}, the last time with: {}", self.name, outage.error)
    }

    fn record(&self, permit: Permit, verdict: Verdict) {
        let now = Instant::now();
        let mut breaker = self.breaker();
        let before = breaker.position();
        breaker.record(permit, now, verdict);
        let (after, error) = (breaker.position(), breaker.outage().map(|outage| outage.error.clone()));
        drop(breaker);
        if before == after {
            return;
        }
        self.position.set(f64::from(after as u8));
        self.changes[after as usize].increment(1);
        let store = self.name.as_str();
        match error.filter(|_| after == Position::Open) {
            Some(error) => tracing::warn!(store, %error, "the store fails; its circuit opens"),
            None => tracing::warn!(store, circuit = ?after, "the store answers again"),
        }
    }
}

/// To the millisecond.
fn text(duration: Duration) -> String {
    format_duration(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

/// A call under way. One that is dropped without an answer has failed if it was given time enough.
struct Ticket<'a> {
    circuit: &'a Circuit,
    permit: Permit,
    began: Instant,
    patience: Duration,
    ended: bool,
}

impl Ticket<'_> {
    fn end<T>(mut self, answers: Vec<Result<T>>) -> Vec<Result<T>> {
        self.ended = true;
        let mut silent =
            answers.iter().filter_map(|row| row.as_ref().err().filter(|error| is_silence(error)));
        let last = silent.next_back();
        let failed = last.filter(|_| (silent.count() + 1) * 2 > answers.len());
        self.circuit
            .record(self.permit, failed.map_or(Verdict::Good, |error| Verdict::Failed(error.clone())));
        answers
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let took = self.began.elapsed();
        let verdict = if took >= self.patience {
            let message = format!("no answer within {}", text(took));
            Verdict::Failed(Error::new(ErrorKind::DeadlineExceeded, message))
        } else {
            Verdict::Open
        };
        self.circuit.record(self.permit, verdict);
    }
}

impl feature_core::BackendWrapper for Circuit {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.store
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        match self.admit(call) {
            Ok(ticket) => ticket.end(self.store.get(keys, call).await),
            Err(error) => error.for_rows(keys.len()),
        }
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        match self.admit(call) {
            Ok(ticket) => ticket.end(self.store.put(puts, call).await),
            Err(error) => error.for_rows(puts.len()),
        }
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        match self.admit(call) {
            Ok(ticket) => ticket.end(self.store.delete(keys, call).await),
            Err(error) => error.for_rows(keys.len()),
        }
    }

    async fn check(&self) -> Result<Health> {
        let mut health = self.store.check().await?;
        let now = Instant::now();
        let outage = self.breaker().outage().cloned();
        health.warnings.extend(outage.map(|outage| self.refusal(&outage, now).message().to_owned()));
        Ok(health)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use store_testkit::{Fault, FaultyBackend, Operation};
    use tokio::time::{advance, timeout_at};

    use super::*;
    use crate::wrappers::testing::{call, faulty, keys, ms, put_of, unavailable, words};

    const SETTINGS: CircuitSettings =
        CircuitSettings { in_a_row: 5, failure_rate: 0.5, slow: ms(50), probe_every: ms(500), probes: 3 };

    /// A store with this trouble while it is on, and the switch.
    async fn troubled(keys: &[RecordKey], trouble: Fault) -> (Arc<FaultyBackend>, Arc<AtomicBool>) {
        let on = Arc::new(AtomicBool::new(true));
        let switch = Arc::clone(&on);
        let script = move |_| if switch.load(Ordering::Relaxed) { trouble.clone() } else { Fault::None };
        (faulty(keys, "x", script).await, on)
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_left_alone_until_it_is_back() {
        let keys = keys(2);
        let (store, on) = troubled(&keys, Fault::Fail(unavailable())).await;
        let circuit = Circuit::new(store.clone(), "eu", SETTINGS);
        for _ in 0..5 {
            assert_eq!(words(circuit.get(&keys, call(ms(1000))).await), ["Unavailable", "Unavailable"]);
        }
        advance(ms(100)).await;
        let rows = circuit.put(vec![put_of(&keys[0], "y")], call(ms(1000))).await;
        let error = rows[0].clone().unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after(), error.in_doubt()),
            (ErrorKind::Unavailable, Some(ms(400)), false)
        );
        assert_eq!(
            error.message(),
            "store `eu` has been failing for 100ms, the last time with: Unavailable: connection refused; calls are \
             refused, the next is tried in 400ms"
        );
        on.store(false, Ordering::Relaxed);
        assert_eq!(circuit.check().await.unwrap().warnings, [error.message()]);
        assert_eq!(words(circuit.get(&keys, call(ms(1000))).await), ["Unavailable", "Unavailable"]);
        assert_eq!((store.count(Operation::Get), store.count(Operation::Put)), (5, 0));
        advance(ms(400)).await;
        for _ in 0..20 {
            assert_eq!(words(circuit.get(&keys, call(ms(1000))).await), ["x", "x"]);
        }
        assert_eq!(circuit.check().await.unwrap().warnings, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_store_that_hangs_one_caller_in_a_while_waits_in_vain() {
        let keys = keys(1);
        let (store, on) = troubled(&keys, Fault::Delay(ms(3_600_000))).await;
        let circuit = Circuit::new(store.clone(), "eu", SETTINGS);
        let read = || async {
            let within = call(ms(20));
            timeout_at(within.deadline, circuit.get(&keys, within)).await.map(words)
        };
        for _ in 0..5 {
            assert!(read().await.is_err());
        }
        let (began, mut in_vain) = (Instant::now(), 0);
        while began.elapsed() < ms(10_000) {
            in_vain += u32::from(read().await.is_err());
            advance(ms(1)).await;
        }
        assert!((19..=20).contains(&in_vain), "one each 520 ms: {in_vain}");
        on.store(false, Ordering::Relaxed);
        advance(ms(500)).await;
        for _ in 0..20 {
            assert_eq!(read().await.unwrap(), ["x"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_call_probes_the_others_are_refused() {
        let keys = keys(1);
        let (store, _) = troubled(&keys, Fault::Delay(ms(40))).await;
        let circuit = Circuit::new(store.clone(), "eu", SETTINGS);
        let given_up = |after| tokio::time::timeout(after, circuit.get(&keys, call(ms(20))));
        for _ in 0..5 {
            assert!(given_up(ms(20)).await.is_err());
        }
        advance(ms(500)).await;
        let calls = (0..10).map(|_| circuit.get(&keys, call(ms(1000))));
        let outcomes: Vec<_> = futures::future::join_all(calls).await.into_iter().flat_map(words).collect();
        assert_eq!(outcomes[0], "x");
        assert!(outcomes[1..].iter().all(|word| word == "Unavailable"), "{outcomes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_give_up_early_and_stores_that_answer_open_nothing() {
        let keys = keys(2);
        let (store, _) = troubled(&keys, Fault::Delay(ms(100))).await;
        let circuit = Circuit::new(store.clone(), "eu", SETTINGS);
        for _ in 0..50 {
            assert!(tokio::time::timeout(ms(49), circuit.get(&keys, call(ms(1000)))).await.is_err());
        }
        assert_eq!(words(circuit.get(&keys, call(ms(1000))).await), ["x", "x"]);
        let busy = Error::new(ErrorKind::Throttled, "full");
        for trouble in [Fault::Fail(busy), Fault::Fail(Error::corrupt("x")), Fault::FailRow(0, unavailable())]
        {
            let (store, on) = troubled(&keys, trouble).await;
            let circuit = Circuit::new(store.clone(), "eu", SETTINGS);
            for _ in 0..50 {
                circuit.get(&keys, call(ms(1000))).await;
            }
            on.store(false, Ordering::Relaxed);
            assert_eq!(words(circuit.get(&keys, call(ms(1000))).await), ["x", "x"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn writes_open_it_too() {
        let keys = keys(1);
        let (store, _) = troubled(&keys, Fault::LoseReply).await;
        let circuit = Circuit::new(store.clone(), "eu", SETTINGS);
        for _ in 0..10 {
            circuit.put(vec![put_of(&keys[0], "y")], call(ms(1000))).await;
            circuit.delete(&keys, call(ms(1000))).await;
        }
        assert_eq!((store.count(Operation::Put), store.count(Operation::Delete)), (3, 2));
    }
}
