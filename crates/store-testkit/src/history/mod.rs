//! Concurrent histories of single records, recorded against a backend and checked.
//!
//! Some clients put, read and delete one record at the same time. What each was told must be what it would have been
//! told had one operation happened after the other, in an order that agrees with time; see [`check`].

pub mod check;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use feature_core::{
    EntityKey, Features, OnlineStoreBackend, Precondition, PutOutcome, Record, RecordHeader, RecordKey,
    RecordPut, Result, VersionedRecord, ViewKey,
};
use tokio::task::JoinSet;

use self::check::{Condition, Event, History, Operation, State, Written};
use crate::case::{at, call};

/// How many histories, and of what size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPlan {
    /// Histories, each of a record of its own.
    pub histories: usize,
    /// Clients that work on a record at the same time.
    pub clients: usize,
    /// What each does; all of a history together are at most 64.
    pub operations: usize,
    /// Decides what the clients do; how they meet is up to the machine.
    pub seed: u64,
}

impl Default for HistoryPlan {
    fn default() -> Self {
        Self { histories: 100, clients: 4, operations: 6, seed: 1 }
    }
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryReport {
    /// Operations whose outcome is known.
    pub answered: usize,
    /// Operations whose outcome is in doubt.
    pub in_doubt: usize,
    /// Operations that failed, and so did not happen.
    pub failed: usize,
}

impl fmt::Display for HistoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, in_doubt, failed } = self;
        write!(f, "{answered} operations answered, {in_doubt} in doubt, {failed} failed")
    }
}

/// Records histories and checks that each is linearizable. The tenant should hold nothing yet.
///
/// # Errors
/// The first history that is not, cut down to what is wrong with it.
pub async fn histories(
    backend: &Arc<dyn OnlineStoreBackend>,
    tenant: &str,
    plan: &HistoryPlan,
) -> Result<HistoryReport, String> {
    let mut report = HistoryReport::default();
    for number in 0..plan.histories {
        let seed = plan.seed.wrapping_add(number as u64);
        let recorded = record(backend, tenant, number, plan, seed).await.map_err(|e| e.to_string())?;
        if !recorded.is_linearizable() {
            let minimal = recorded.minimal();
            return Err(format!(
                "no order of these operations explains what they were told (seed {seed}):\n{minimal}"
            ));
        }
        let planned = plan.clients * plan.operations;
        let doubtful = |op: &&Operation| matches!(op.event, Event::PutInDoubt(..) | Event::DeleteInDoubt);
        let in_doubt = recorded.operations.iter().filter(doubtful).count();
        report.in_doubt += in_doubt;
        report.answered += recorded.operations.len() - in_doubt;
        report.failed += planned - recorded.operations.len();
    }
    Ok(report)
}

/// What the clients of a history share.
struct Recorder {
    backend: Arc<dyn OnlineStoreBackend>,
    key: RecordKey,
    now: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    history: History,
    /// Which put wrote these bytes.
    numbers: HashMap<Bytes, u32>,
}

async fn record(
    backend: &Arc<dyn OnlineStoreBackend>,
    tenant: &str,
    number: usize,
    plan: &HistoryPlan,
    seed: u64,
) -> Result<History> {
    let key = RecordKey::new(ViewKey::new(tenant, "histories")?, EntityKey::new("record", number as u64)?);
    let (backend, now, log) = (Arc::clone(backend), AtomicU64::new(0), Mutex::default());
    let recorder = Arc::new(Recorder { backend, key, now, log });
    let mut clients = JoinSet::new();
    for client in 0..plan.clients {
        let random = fastrand::Rng::with_seed(seed.wrapping_mul(64).wrapping_add(client as u64));
        clients
            .spawn(Client { recorder: recorder.clone(), client, random, seen: None }.work(plan.operations));
    }
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|e| feature_core::Error::corrupt(format!("a client ended early: {e}")))??;
    }
    Ok(recorder.log().history.clone())
}

impl Recorder {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    /// Which put a record comes from. What nobody has put is a number that no put has.
    fn state(&self, record: Option<&VersionedRecord>) -> State {
        record.map(|record| self.log().numbers.get(&record.bytes).copied().unwrap_or(u32::MAX))
    }

    /// A record that no other put writes, and its number.
    fn write(&self, random: &mut fastrand::Rng) -> Result<(u32, Bytes, Written)> {
        let mut log = self.log();
        let number = u32::try_from(log.history.records.len()).unwrap_or(u32::MAX);
        let time = random.i64(0..6);
        let feature = if random.u8(..4) == 0 { "other" } else { "feature" };
        let record = Record::of_write(at(time), None, Features::new().with(feature, i64::from(number)));
        let bytes: Bytes = record.encode()?.into();
        let written = Written { time, shape: RecordHeader::parse(&bytes)?.shape };
        log.history.records.push(written);
        log.numbers.insert(bytes.clone(), number);
        Ok((number, bytes, written))
    }
}

struct Client {
    recorder: Arc<Recorder>,
    client: usize,
    random: fastrand::Rng,
    /// The record that it has read last.
    seen: Option<VersionedRecord>,
}

impl Client {
    async fn work(mut self, operations: usize) -> Result<()> {
        for _ in 0..operations {
            for _ in 0..self.random.u8(..3) {
                tokio::task::yield_now().await;
            }
            match self.random.u8(..10) {
                0..5 => self.put().await?,
                5..9 => self.get().await,
                _ => self.delete().await,
            }
        }
        Ok(())
    }

    fn note(&self, invoked: u64, event: Event) {
        let answered = self.recorder.tick();
        let operation = Operation { client: self.client, invoked, answered, event };
        self.recorder.log().history.operations.push(operation);
    }

    async fn get(&mut self) {
        let Recorder { backend, key, .. } = &*self.recorder;
        let invoked = self.recorder.tick();
        if let Some(Ok(found)) = backend.get(std::slice::from_ref(key), call()).await.pop() {
            self.note(invoked, Event::Get(self.recorder.state(found.as_ref())));
            self.seen = found;
        }
    }

    async fn delete(&self) {
        let Recorder { backend, key, .. } = &*self.recorder;
        let invoked = self.recorder.tick();
        match backend.delete(std::slice::from_ref(key), call()).await.pop() {
            Some(Ok(existed)) => self.note(invoked, Event::Deleted(existed)),
            Some(Err(error)) if error.in_doubt() => self.note(invoked, Event::DeleteInDoubt),
            _ => {}
        }
    }

    async fn put(&mut self) -> Result<()> {
        let (number, bytes, Written { time, shape }) = self.recorder.write(&mut self.random)?;
        let (condition, precondition) = match self.random.u8(..3) {
            0 => (Condition::NotNewerSameShape, Precondition::NotNewerSameShape),
            1 => (Condition::NotNewer, Precondition::NotNewer),
            _ => {
                let expected = self.recorder.state(self.seen.as_ref());
                (Condition::Unchanged(expected), Precondition::Unchanged(self.seen.clone()))
            }
        };
        let Recorder { backend, key, .. } = &*self.recorder;
        let (key, event_time) = (key.clone(), at(time));
        let put = RecordPut { key, bytes, event_time, shape, ttl: None, precondition };
        let invoked = self.recorder.tick();
        match backend.put(vec![put], call()).await.pop() {
            Some(Ok(PutOutcome::Stored)) => self.note(invoked, Event::Stored(number, condition)),
            Some(Ok(PutOutcome::Refused(because))) => {
                let because = self.recorder.state(because.as_ref());
                self.note(invoked, Event::Refused(number, condition, because));
            }
            Some(Err(error)) if error.in_doubt() => self.note(invoked, Event::PutInDoubt(number, condition)),
            _ => {}
        }
        Ok(())
    }
}
