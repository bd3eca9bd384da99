//! Reads go on when the first store fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Error, ErrorKind, Health, OnlineStoreBackend, PurgeProgress, PurgeReport,
    PutOutcome, RecordKey, RecordPut, Result, Scope, VersionedRecord,
};
use futures::future::join;
use futures::stream::BoxStream;
use metrics::Counter;
use tokio::time::{timeout, timeout_at};

use super::race::{fill, race};
use super::routed::strictest;
use super::rows::pick;
use super::trouble::{in_trouble, last_moment, patience};
use super::{foreign, provenance};
use crate::observe::names::FALLBACK_ROWS;

/// When the second store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackSettings {
    /// How long the first store may take to answer, but never more than half of the time that the call has
    /// left. Default 50 ms.
    pub after: Duration,
}

impl Default for FallbackSettings {
    fn default() -> Self {
        Self { after: Duration::from_millis(50) }
    }
}

/// Reads from a second store what the first cannot give: rows that fail with `Unavailable`,
/// `DeadlineExceeded`, `Throttled` or `Internal`, and all rows when there is no answer after a while; then
/// both are waited for, and the first good answer counts. To find out which records the second store has
/// served, [watch](crate::provenance::watch).
///
/// Rows with other errors stay as they are: a call that is wrong is wrong on any store, a record that is
/// damaged must not be hidden by an older one, and credentials or settings are somebody's to correct.
///
/// Writes and deletes go to the first store alone, and scans read it alone. The second store is kept by a
/// mirror, a replication or a pipeline of its own; it serves what it has, so a record that was deleted from
/// the first only is still served by it. A purge is of both.
#[derive(Debug)]
pub struct Fallback {
    first: Arc<dyn OnlineStoreBackend>,
    second: Arc<dyn OnlineStoreBackend>,
    settings: FallbackSettings,
    /// Rows that the second has served, by [`Reason`].
    rows: [Counter; 5],
}

impl Fallback {
    /// Reads from `second` what `first`, the store of this name, cannot give.
    pub fn new(
        first: Arc<dyn OnlineStoreBackend>,
        second: Arc<dyn OnlineStoreBackend>,
        name: &str,
        settings: FallbackSettings,
    ) -> Self {
        let reasons = ["Slow", "Unavailable", "DeadlineExceeded", "Throttled", "Internal"];
        let rows = reasons.map(|reason| FALLBACK_ROWS.counter([name, reason]));
        Self { first, second, settings, rows }
    }

    /// The second store's answers to these rows, which are not waited for up to the deadline.
    async fn second(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        timeout_at(last_moment(call), self.second.get(keys, call)).await.unwrap_or_default()
    }
}

/// Marks the rows that the second store has answered.
fn mark(keys: &[RecordKey], answers: &mut [Result<Option<VersionedRecord>>], numbers: &[usize]) {
    for number in numbers {
        if let Ok(record) = &mut answers[*number] {
            *record = record.take().map(foreign::foreign);
        }
    }
    if !numbers.is_empty() {
        provenance::note(numbers.iter().map(|number| &keys[*number]));
    }
}

/// Why rows are read from the second store.
#[derive(Clone, Copy)]
enum Reason {
    Slow,
    Unavailable,
    DeadlineExceeded,
    Throttled,
    Internal,
}

impl Reason {
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::DeadlineExceeded => Self::DeadlineExceeded,
            ErrorKind::Throttled => Self::Throttled,
            _ => Self::Internal,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Fallback {
    /// The first store's, with limits that let the second be asked the same.
    fn capabilities(&self) -> Capabilities {
        let first = self.first.capabilities();
        let both = strictest([first.clone(), self.second.capabilities()]);
        let mut all = first;
        (all.max_key_bytes, all.max_batch_rows) = (both.max_key_bytes, both.max_batch_rows);
        all
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let mut first = self.first.get(keys, call);
        let Ok(answers) = timeout(patience(self.settings.after, call), &mut first).await else {
            let (mut answers, numbers) = race(call, first, self.second.get(keys, call)).await;
            self.rows[Reason::Slow as usize].increment(numbers.len() as u64);
            mark(keys, &mut answers, &numbers);
            return answers;
        };
        let failed = in_trouble(&answers);
        if failed.is_empty() {
            return answers;
        }
        let reasons: Vec<_> = answers.iter().map(|row| row.as_ref().err().map(Reason::of)).collect();
        let second = self.second(&pick(keys, &failed), call).await;
        let (mut answers, numbers) = fill(answers, &failed, second);
        for reason in numbers.iter().filter_map(|number| reasons[*number]) {
            self.rows[reason as usize].increment(1);
        }
        mark(keys, &mut answers, &numbers);
        answers
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        foreign::put(&*self.first, puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.first.delete(keys, call).await
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        self.first.scan(scope)
    }

    /// Removes the records from both stores, since what is purged must not be served by the second either.
    /// Both are tried even if one fails. The count is the first store's.
    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let report = self.first.purge(scope, progress).await;
        let second = self.second.purge(scope, &PurgeProgress::default()).await;
        report.and_then(|report| second.map(|_| report))
    }

    /// What both stores say of themselves. One that does not answer is a warning as long as the other does.
    async fn check(&self) -> Result<Health> {
        let (first, second) = join(self.first.check(), self.second.check()).await;
        if let (Err(error), Err(_)) = (&first, &second) {
            return Err(error.clone());
        }
        let mut all = Health::default();
        for (which, health) in [("first", first), ("fallback", second)] {
            match health {
                Ok(Health { facts, warnings }) => {
                    all.facts.extend(facts.into_iter().map(|(name, fact)| (format!("{which}.{name}"), fact)));
                    all.warnings.extend(warnings.into_iter().map(|warning| format!("{which}: {warning}")));
                }
                Err(error) => all.warnings.push(format!("{which}: {error}")),
            }
        }
        Ok(all)
    }

    async fn close(&self) -> Result<()> {
        let (first, second) = join(self.first.close(), self.second.close()).await;
        first.and(second)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use feature_core::Precondition;
    use futures::TryStreamExt;
    use proptest::prelude::*;
    use store_testkit::{Call, Fault, Operation};
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::wrappers::testing::{Told, call, faulty, keys, ms, put_of, store_of, unavailable, words};
    use crate::{Circuit, CircuitSettings};

    const SETTINGS: FallbackSettings = FallbackSettings { after: ms(50) };

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_is_not_waited_for_and_the_first_answer_counts() {
        let keys = keys(2);
        // How long each store takes, how long the call may; who answers, and when.
        for (first, second, deadline, who, when) in [
            (40, 0, 1000, "first", 40),
            (60, 100, 1000, "first", 60),
            (200, 10, 1000, "second", 60),
            (200, 0, 20, "second", 10),
        ] {
            let fallback = Fallback::new(
                faulty(&keys, "first", move |_| Fault::Delay(ms(first))).await,
                faulty(&keys, "second", move |_| Fault::Delay(ms(second))).await,
                "eu",
                SETTINGS,
            );
            let began = Instant::now();
            let (answers, served) = provenance::watch(fallback.get(&keys, call(ms(deadline)))).await;
            assert_eq!((words(answers), began.elapsed()), (vec![who.to_owned(); 2], ms(when)));
            assert_eq!(served.len(), if who == "second" { 2 } else { 0 });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_store_that_hangs_costs_no_row_of_the_first() {
        let keys = keys(2);
        for delay in [0, 60] {
            let rows =
                vec![(keys[0].clone(), Ok(Some("first".to_owned()))), (keys[1].clone(), Err(unavailable()))];
            let first = Told::new(rows, ms(delay));
            let second = faulty(&keys, "second", |_| Fault::Delay(ms(3_600_000))).await;
            let fallback = Fallback::new(first, second, "eu", SETTINGS);
            let within = call(ms(200));
            let answers = timeout_at(within.deadline, fallback.get(&keys, within)).await.unwrap();
            assert_eq!(words(answers), ["first", "Unavailable"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_stopped_costs_little_and_is_read_again_when_it_goes_on() {
        let keys = keys(1);
        let stopped = Arc::new(AtomicBool::new(true));
        let switch = Arc::clone(&stopped);
        let script = move |_: Call| match switch.load(Ordering::Relaxed) {
            true => Fault::Delay(ms(3_600_000)),
            false => Fault::None,
        };
        let first = faulty(&keys, "first", script).await;
        let circuit = Arc::new(Circuit::new(first.clone(), "eu", CircuitSettings::default()));
        let fallback = Fallback::new(circuit, store_of(&keys, "second").await, "eu", SETTINGS);
        let read = || async {
            let (answers, served) = provenance::watch(fallback.get(&keys, call(ms(20)))).await;
            (words(answers).concat(), served.len())
        };
        let began = Instant::now();
        while began.elapsed() < ms(2_000) {
            assert_eq!(read().await, ("second".to_owned(), 1));
            advance(ms(1)).await;
        }
        assert!(first.count(Operation::Get) < 20, "{} reads have been tried", first.count(Operation::Get));
        stopped.store(false, Ordering::Relaxed);
        advance(ms(500)).await;
        for _ in 0..10 {
            assert_eq!(read().await, ("first".to_owned(), 0));
        }
    }

    #[tokio::test]
    async fn a_write_on_the_ground_of_the_second_store_s_record_overwrites_nothing_unseen() {
        let keys = keys(2);
        let script = |call: Call| match (call.operation, call.number) {
            (Operation::Get, 0) => Fault::Fail(unavailable()),
            _ => Fault::None,
        };
        let first = faulty(&keys[..1], "same", script).await;
        first.put(vec![put_of(&keys[1], "unseen")], call(ms(1000))).await;
        // Its versions are the first store's, too.
        let fallback = Fallback::new(first, store_of(&keys, "same").await, "eu", SETTINGS);
        let seen = fallback.get(&keys, call(ms(1000))).await;
        let puts = keys.iter().zip(seen).map(|(key, seen)| RecordPut {
            precondition: Precondition::Unchanged(seen.unwrap()),
            ..put_of(key, "new")
        });
        let outcomes = fallback.put(puts.collect(), call(ms(1000))).await;
        assert!(matches!(outcomes[0], Ok(PutOutcome::Stored)));
        assert!(matches!(&outcomes[1], Ok(PutOutcome::Refused(Some(own))) if own.bytes == "unseen"));
    }

    #[tokio::test]
    async fn writes_and_scans_are_the_first_store_s_and_a_purge_is_of_both() {
        let keys = keys(2);
        let (first, second) = (store_of(&keys, "first").await, store_of(&keys, "second").await);
        let fallback = Fallback::new(first.clone(), second.clone(), "eu", SETTINGS);
        fallback.put(vec![put_of(&keys[0], "new")], call(ms(1000))).await;
        assert!(matches!(fallback.delete(&keys[1..], call(ms(1000))).await[..], [Ok(true)]));
        assert_eq!(words(second.get(&keys, call(ms(1000))).await), ["second", "second"]);
        let rows: Vec<_> = fallback.scan(&Scope::tenant("acme").unwrap()).try_collect().await.unwrap();
        assert_eq!(rows.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&keys[0]]);
        let report =
            fallback.purge(&Scope::tenant("acme").unwrap(), &PurgeProgress::default()).await.unwrap();
        assert_eq!(report.removed, 1);
        assert_eq!(words(second.get(&keys, call(ms(1000))).await), ["-", "-"]);
    }

    #[tokio::test]
    async fn health_is_of_both_and_one_that_is_down_is_a_warning() {
        let (first, second) = (store_of(&keys(1), "first").await, store_of(&keys(2), "second").await);
        let fallback = Fallback::new(first.clone(), second, "eu", SETTINGS);
        let facts =
            [("first.records", "1"), ("fallback.records", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(fallback.check().await.unwrap(), Health { facts: facts.into(), warnings: Vec::new() });
        first.close().await.unwrap();
        assert_eq!(fallback.check().await.unwrap().warnings, ["first: Unavailable: the store is closed"]);
        fallback.close().await.unwrap();
        assert_eq!(fallback.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    /// What a store says of a record: nothing, a text, or an error.
    fn told(text: &'static str) -> impl Strategy<Value = Result<Option<String>>> {
        use ErrorKind as K;
        let kinds = [
            K::InvalidArgument,
            K::LimitExceeded,
            K::Unsupported,
            K::NotConfigured,
            K::Unauthenticated,
            K::PermissionDenied,
            K::Throttled,
            K::Unavailable,
            K::DeadlineExceeded,
            K::Conflict,
            K::Corrupt,
            K::Internal,
        ];
        prop_oneof![
            3 => Just(Ok(Some(text.to_owned()))),
            1 => Just(Ok(None)),
            4 => prop::sample::select(kinds.to_vec()).prop_map(|kind| Err(Error::new(kind, "because"))),
        ]
    }

    proptest! {
        #[test]
        fn each_row_has_its_own_store_s_answer_in_its_place(
            rows in prop::collection::vec((told("first"), told("second")), 1..12),
            first_takes in prop::sample::select(vec![0, 49, 60, 70]),
            second_takes in prop::sample::select(vec![0, 15]),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            let keys = keys(rows.len());
            let (firsts, seconds): (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
            let tell = |rows: Vec<_>, after| Told::new(keys.iter().cloned().zip(rows).collect(), ms(after));
            let fallback = Fallback::new(tell(firsts, first_takes), tell(seconds, second_takes), "eu", SETTINGS);
            let (answers, served) = runtime.block_on(provenance::watch(fallback.get(&keys, call(ms(1000)))));

            let trouble = |row: &Result<_>| row.as_ref().err().is_some_and(|error| {
                ["Unavailable", "DeadlineExceeded", "Throttled", "Internal"].contains(&error.kind().name())
            });
            let second_is_first = first_takes > 50 + second_takes && rows.iter().all(|(_, second)| second.is_ok());
            let from_second = |(first, second): &(Result<_>, Result<_>)| {
                second_is_first || (trouble(first) && second.is_ok())
            };
            let expected = rows.iter().map(|row| if from_second(row) { &row.1 } else { &row.0 });
            let expected: Vec<String> = expected.map(|row| match row {
                Ok(text) => text.clone().unwrap_or_else(|| "-".to_owned()),
                Err(error) => error.kind().to_string(),
            }).collect();
            prop_assert_eq!(words(answers), expected);
            let by_second = keys.iter().zip(&rows).filter(|(_, row)| from_second(row)).map(|(key, _)| key.clone());
            prop_assert_eq!(served, by_second.collect::<HashSet<_>>());
        }
    }
}
