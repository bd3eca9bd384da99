//! A complete backend on a sorted map: the smallest store that keeps every promise.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Clock, Error, ErrorKind, Health, OnlineStoreBackend, Precondition,
    PurgeProgress, PurgeReport, PutOutcome, RecordKey, RecordPut, Result, Scope, Timestamp, VersionedRecord,
};
use futures::stream::{self, BoxStream, StreamExt};

/// A store in the memory of this process, for tests and as an example of a backend.
#[derive(Debug)]
pub struct MapStore {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// By canonical text, so that a scope is a range.
    records: BTreeMap<String, Stored>,
    /// Given to the next put.
    next_version: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    key: RecordKey,
    record: VersionedRecord,
    event_time: Timestamp,
    shape: u64,
    /// From when on the record may go.
    reclaim_at: Option<Timestamp>,
}

impl MapStore {
    /// An empty store that reclaims expired records by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let mut capabilities = Capabilities::new("map");
        capabilities.durable = false;
        Self { state: Arc::default(), clock, capabilities, closed: AtomicBool::new(false) }
    }

    /// Another store over the same records, as another client of a server is. Each is closed by itself.
    #[must_use]
    pub fn share(&self) -> Self {
        let (state, clock) = (Arc::clone(&self.state), Arc::clone(&self.clock));
        Self { state, clock, capabilities: self.capabilities.clone(), closed: AtomicBool::new(false) }
    }

    /// The same store with other limits.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The records, unless the store is closed.
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::new(ErrorKind::Unavailable, "the store is closed")),
            false => Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// One outcome for each row, or the same error for all of them.
    fn rows<A, T>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        mut row: impl FnMut(&mut State, A) -> T,
    ) -> Vec<Result<T>> {
        match self.open() {
            Ok(mut state) => arguments.into_iter().map(|argument| Ok(row(&mut state, argument))).collect(),
            Err(error) => arguments.into_iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl State {
    fn put(&mut self, put: RecordPut, now: Timestamp) -> PutOutcome {
        let text = put.key.to_string();
        if let Some(stored) = self.records.get(&text) {
            let not_newer = stored.event_time <= put.event_time;
            let holds = match put.precondition {
                Precondition::NotNewerSameShape => not_newer && stored.shape == put.shape,
                Precondition::NotNewer => not_newer,
                Precondition::Unchanged(expected) => expected.as_ref() == Some(&stored.record),
            };
            if !holds {
                return PutOutcome::Refused(Some(stored.record.clone()));
            }
        } else if matches!(put.precondition, Precondition::Unchanged(Some(_))) {
            return PutOutcome::Refused(None);
        }
        self.next_version += 1;
        let stored = Stored {
            record: VersionedRecord { bytes: put.bytes, version: self.next_version },
            event_time: put.event_time,
            shape: put.shape,
            reclaim_at: put.ttl.map(|ttl| now.saturating_add(ttl)),
            key: put.key,
        };
        self.records.insert(text, stored);
        PutOutcome::Stored
    }

    /// The texts of a scope's records.
    fn texts(&self, scope: &Scope) -> Vec<String> {
        let prefix = scope.prefix();
        let from_here_on = self.records.range(prefix.clone()..);
        from_here_on.map(|(text, _)| text).take_while(|text| text.starts_with(&prefix)).cloned().collect()
    }

    fn reclaim(&mut self, now: Timestamp) {
        self.records.retain(|_, stored| stored.reclaim_at.is_none_or(|at| at > now));
    }
}

#[async_trait]
impl OnlineStoreBackend for MapStore {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.rows(keys, |state, key| state.records.get(&key.to_string()).map(|stored| stored.record.clone()))
    }

    async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        let now = self.clock.now();
        self.rows(puts, |state, put| state.put(put, now))
    }

    async fn delete(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        self.rows(keys, |state, key| state.records.remove(&key.to_string()).is_some())
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let found: Vec<_> = match self.open() {
            Ok(mut state) => {
                // Reclaiming looks at every record, so it is done where that is the work anyway.
                state.reclaim(self.clock.now());
                let texts = state.texts(scope);
                let stored = texts.iter().filter_map(|text| state.records.get(text));
                stored.map(|stored| Ok((stored.key.clone(), stored.record.clone()))).collect()
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(found).boxed()
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let mut state = self.open()?;
        let texts = state.texts(scope);
        texts.iter().for_each(|text| drop(state.records.remove(text)));
        progress.add(texts.len() as u64);
        Ok(PurgeReport { removed: texts.len() as u64 })
    }

    async fn check(&self) -> Result<Health> {
        let records = self.open()?.records.len();
        Ok(Health { facts: vec![("records".to_owned(), records.to_string())], warnings: Vec::new() })
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
