//! Makes any backend fail, on purpose and repeatably.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Error, ErrorKind, Health, OnlineStoreBackend, PurgeProgress, PurgeReport,
    PutOutcome, RecordKey, RecordPut, Result, Scope, VersionedRecord,
};
use futures::stream::{self, BoxStream, StreamExt};

/// A method of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Operation {
    Get,
    Put,
    Delete,
    Scan,
    Purge,
    Check,
    Close,
}

/// A call that a [`FaultyBackend`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which method.
    pub operation: Operation,
    /// How many calls of this method came before.
    pub number: usize,
    /// How many rows it had; 0 for a method without rows.
    pub rows: usize,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the call goes through.
    None,
    /// The call takes this long before it begins.
    Delay(Duration),
    /// The call never reaches the store, and each of its rows has this error.
    Fail(Error),
    /// This row never reaches the store and has this error; the others go through.
    FailRow(usize, Error),
    /// The call takes effect, but its answer is lost: each row has an error that says so, in doubt for
    /// what changes the store.
    LoseReply,
    /// Nothing is stored: each row of a put is refused. Other calls go through.
    Refuse,
    /// The call takes effect, but its answer has this many rows at most: a backend that breaks the
    /// contract. Calls without rows go through.
    CutAnswer(usize),
}

/// Decides, call by call.
type Script = Box<dyn Fn(Call) -> Fault + Send + Sync>;

/// A backend that does to each call what a script says, and remembers the calls.
///
/// ```
/// use std::sync::Arc;
/// use feature_core::{Error, ErrorKind, SystemClock};
/// use store_testkit::{Fault, FaultyBackend, MapStore, Operation};
///
/// let store = Arc::new(MapStore::new(Arc::new(SystemClock)));
/// let unreachable_at_first = FaultyBackend::new(store, |call| match call.number {
///     0 => Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused")),
///     _ => Fault::None,
/// });
/// assert_eq!(unreachable_at_first.count(Operation::Get), 0);
/// ```
pub struct FaultyBackend {
    inner: Arc<dyn OnlineStoreBackend>,
    script: Script,
    calls: Mutex<Vec<Call>>,
}

impl FaultyBackend {
    /// The backend, with faults as the script says.
    pub fn new(
        inner: Arc<dyn OnlineStoreBackend>,
        script: impl Fn(Call) -> Fault + Send + Sync + 'static,
    ) -> Self {
        Self { inner, script: Box::new(script), calls: Mutex::default() }
    }

    /// The backend without faults: it only remembers the calls.
    pub fn counting(inner: Arc<dyn OnlineStoreBackend>) -> Self {
        Self::new(inner, |_| Fault::None)
    }

    /// The backend with one of `faults` in about one of `every` calls; the same seed gives the same faults
    /// to the same calls.
    pub fn random(inner: Arc<dyn OnlineStoreBackend>, seed: u64, every: usize, faults: Vec<Fault>) -> Self {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Self::new(inner, move |_| {
            let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
            match random.usize(..every.max(1)) {
                0 => random.choice(&faults).cloned().unwrap_or(Fault::None),
                _ => Fault::None,
            }
        })
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls of a method there have been.
    pub fn count(&self, operation: Operation) -> usize {
        self.calls().iter().filter(|call| call.operation == operation).count()
    }

    fn fault(&self, operation: Operation, rows: usize) -> Fault {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let number = calls.iter().filter(|call| call.operation == operation).count();
        let call = Call { operation, number, rows };
        calls.push(call);
        drop(calls);
        (self.script)(call)
    }

    /// A call that has no rows.
    async fn whole<T>(&self, operation: Operation, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fault(operation, 0) {
            Fault::Fail(error) | Fault::FailRow(_, error) => Err(error),
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                work.await
            }
            Fault::LoseReply => {
                work.await?;
                Err(lost(operation))
            }
            Fault::None | Fault::Refuse | Fault::CutAnswer(_) => work.await,
        }
    }

    /// A call that has rows; `work` does it for those that reach the store.
    async fn by_row<A, T, F>(
        fault: Fault,
        operation: Operation,
        mut rows: Vec<A>,
        work: impl FnOnce(Vec<A>) -> F,
    ) -> Vec<Result<T>>
    where
        F: Future<Output = Vec<Result<T>>>,
    {
        match fault {
            Fault::None | Fault::Refuse => work(rows).await,
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                work(rows).await
            }
            Fault::Fail(error) => error.for_rows(rows.len()),
            Fault::FailRow(at, error) => {
                let failed = (at < rows.len()).then(|| rows.remove(at));
                let mut answer = work(rows).await;
                if failed.is_some() {
                    answer.insert(at.min(answer.len()), Err(error));
                }
                answer
            }
            Fault::LoseReply => {
                let answer = work(rows).await;
                answer.into_iter().map(|row| row.and(Err(lost(operation)))).collect()
            }
            Fault::CutAnswer(length) => {
                let mut answer = work(rows).await;
                answer.truncate(length);
                answer
            }
        }
    }
}

fn lost(operation: Operation) -> Error {
    let changes = matches!(operation, Operation::Put | Operation::Delete | Operation::Purge);
    Error::new(ErrorKind::Unavailable, "the connection was lost before the answer came")
        .with_in_doubt(changes)
}

impl fmt::Debug for FaultyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBackend").field("inner", &self.inner).finish_non_exhaustive()
    }
}

// A method of the contract that is added later must not slip past the script.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for FaultyBackend {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let fault = self.fault(Operation::Get, keys.len());
        let work = |keys: Vec<RecordKey>| async move { self.inner.get(&keys, call).await };
        Self::by_row(fault, Operation::Get, keys.to_vec(), work).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let fault = self.fault(Operation::Put, puts.len());
        if matches!(fault, Fault::Refuse) {
            return puts.iter().map(|_| Ok(PutOutcome::Refused(None))).collect();
        }
        Self::by_row(fault, Operation::Put, puts, |puts| self.inner.put(puts, call)).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let fault = self.fault(Operation::Delete, keys.len());
        let work = |keys: Vec<RecordKey>| async move { self.inner.delete(&keys, call).await };
        Self::by_row(fault, Operation::Delete, keys.to_vec(), work).await
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let rows = self.inner.scan(scope);
        match self.fault(Operation::Scan, 0) {
            Fault::None | Fault::Refuse => rows,
            Fault::Delay(delay) => stream::once(tokio::time::sleep(delay))
                .flat_map(move |()| stream::empty())
                .chain(rows)
                .boxed(),
            Fault::Fail(error) => stream::iter([Err(error)]).boxed(),
            Fault::FailRow(at, error) => rows
                .enumerate()
                .map(move |(number, row)| if number == at { Err(error.clone()) } else { row })
                .boxed(),
            Fault::LoseReply => stream::iter([Err(lost(Operation::Scan))]).boxed(),
            Fault::CutAnswer(length) => {
                rows.take(length).chain(stream::iter([Err(lost(Operation::Scan))])).boxed()
            }
        }
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.whole(Operation::Purge, self.inner.purge(scope, progress)).await
    }

    async fn check(&self) -> Result<Health> {
        self.whole(Operation::Check, self.inner.check()).await
    }

    async fn close(&self) -> Result<()> {
        self.whole(Operation::Close, self.inner.close()).await
    }
}
