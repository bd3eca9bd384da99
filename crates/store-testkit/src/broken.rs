//! Stores that break one promise each, so that the suite can show that it notices.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feature_core::{
    CallContext, Clock, OnlineStoreBackend, Precondition, PurgeProgress, PurgeReport, PutOutcome,
    RecordHeader, RecordKey, RecordPut, Result, Scope, Timestamp, VersionedRecord,
};
use futures::stream::{self, BoxStream, StreamExt};

use crate::map_store::MapStore;

/// A mistake that a backend can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// None: the store is as it should be.
    None,
    /// Every put is stored, whatever its precondition.
    IgnoresPreconditions,
    /// `NotNewerSameShape` looks at the time alone.
    IgnoresShape,
    /// `NotNewer` and `NotNewerSameShape` do not look at the time.
    LastArrivalWins,
    /// A put with exactly the stored record's time is refused.
    RefusesTies,
    /// `Unchanged` holds always.
    LosesConcurrentUpdates,
    /// A refused put is stored all the same.
    StoresWhatItRefuses,
    /// A put removes the record first and writes it a moment later.
    WritesInTwoSteps,
    /// When one put of a call is refused, all of them are.
    AllOrNothing,
    /// Every put says that it is stored, refused or not.
    NeverSaysRefused,
    /// Some puts are acknowledged and not done.
    LosesWrites,
    /// What comes after the first 5,000 rows of a call is not done.
    CutsLargeBatches,
    /// Tenant, view and entity are joined with `_`.
    JoinsNamesWithUnderscore,
    /// Names are put into keys as they are, so that separators in them separate.
    ForgetsToEscape,
    /// Keys are compared without regard to case.
    FoldsCase,
    /// Keys end at the first NUL or the last blank, as they do in some languages.
    TrimsKeys,
    /// The view is no part of the key.
    ForgetsTheView,
    /// Records end after 4 KiB.
    TruncatesRecords,
    /// Records are kept as text.
    KeepsBytesAsText,
    /// A record that was read once is served for ever.
    ServesStaleReads,
    /// A missing record is given as the one before it in the call.
    RepeatsThePreviousRow,
    /// Rows come in the order of their keys.
    AnswersInKeyOrder,
    /// Missing records are left out of the answer.
    LeavesMissingRowsOut,
    /// A delete says what it should have done, and does nothing.
    OnlySaysItDeletes,
    /// A delete says that there was a record, whether there was or not.
    DeleteAlwaysTrue,
    /// Records go up to a minute early.
    ReclaimsEarly,
    /// The TTL of the first put stays when later ones bring another.
    KeepsTheFirstTtl,
    /// Records that should stay go after a day.
    HasADefaultTtl,
    /// A scan leaves its last record out.
    ScanMissesTheLast,
    /// A scan begins again when it is through.
    ScanNeverEnds,
    /// A scan gives everything whose key begins with the scope's name.
    ScanLeaksNeighbours,
    /// A purge removes everything whose key begins with the scope's name.
    PurgesByNamePrefix,
    /// A purge removes everything whose key has the scope's name in it.
    PurgesBySubstring,
    /// A purge of a view removes the whole tenant.
    PurgesTheTenant,
    /// A purge counts and removes nothing.
    OnlySaysItPurges,
    /// A closed store goes on as before.
    CloseDoesNothing,
}

impl Flaw {
    /// Every flaw but none.
    pub const ALL: [Self; 35] = [
        Self::IgnoresPreconditions,
        Self::IgnoresShape,
        Self::LastArrivalWins,
        Self::RefusesTies,
        Self::LosesConcurrentUpdates,
        Self::StoresWhatItRefuses,
        Self::WritesInTwoSteps,
        Self::AllOrNothing,
        Self::NeverSaysRefused,
        Self::LosesWrites,
        Self::CutsLargeBatches,
        Self::JoinsNamesWithUnderscore,
        Self::ForgetsToEscape,
        Self::FoldsCase,
        Self::TrimsKeys,
        Self::ForgetsTheView,
        Self::TruncatesRecords,
        Self::KeepsBytesAsText,
        Self::ServesStaleReads,
        Self::RepeatsThePreviousRow,
        Self::AnswersInKeyOrder,
        Self::LeavesMissingRowsOut,
        Self::OnlySaysItDeletes,
        Self::DeleteAlwaysTrue,
        Self::ReclaimsEarly,
        Self::KeepsTheFirstTtl,
        Self::HasADefaultTtl,
        Self::ScanMissesTheLast,
        Self::ScanNeverEnds,
        Self::ScanLeaksNeighbours,
        Self::PurgesByNamePrefix,
        Self::PurgesBySubstring,
        Self::PurgesTheTenant,
        Self::OnlySaysItPurges,
        Self::CloseDoesNothing,
    ];
}

/// A [`MapStore`] with a [`Flaw`].
#[derive(Debug)]
pub struct BrokenStore {
    inner: MapStore,
    clock: Arc<dyn Clock>,
    flaw: Flaw,
    memory: Mutex<Memory>,
}

/// What a broken store remembers in order to do wrong.
#[derive(Debug, Default)]
struct Memory {
    /// For each wrong name of a key the first key that had it: keys of one name share a record.
    names: HashMap<String, RecordKey>,
    reads: HashMap<RecordKey, VersionedRecord>,
    goes_at: HashMap<RecordKey, Option<Timestamp>>,
    puts: usize,
}

impl BrokenStore {
    /// An empty store with this flaw.
    pub fn new(flaw: Flaw, clock: Arc<dyn Clock>) -> Self {
        Self { inner: MapStore::new(clock.clone()), clock, flaw, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key whose record a key of a wrongly named store reaches.
    fn meant(&self, key: &RecordKey) -> RecordKey {
        let (tenant, view, entity) = (key.view().tenant(), key.view().view(), key.entity());
        let name = match self.flaw {
            Flaw::JoinsNamesWithUnderscore => format!("{tenant}_{view}_{entity}"),
            Flaw::ForgetsToEscape => {
                let pairs: Vec<_> =
                    entity.join_keys().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{tenant}:{view}:{}", pairs.join("|"))
            }
            Flaw::FoldsCase => key.to_string().to_lowercase(),
            Flaw::TrimsKeys => {
                let text = key.to_string();
                text.split("%00").next().unwrap_or_default().trim_end().to_owned()
            }
            Flaw::ForgetsTheView => format!("{tenant}:{entity}"),
            _ => return key.clone(),
        };
        self.memory().names.entry(name).or_insert_with(|| key.clone()).clone()
    }

    /// Removes what is gone by the flaw's own reckoning.
    async fn reclaim(&self, keys: &[RecordKey], call: CallContext) {
        let now = self.clock.now();
        let gone = |key: &&RecordKey| {
            self.memory().goes_at.get(*key).is_some_and(|at| at.is_some_and(|at| at <= now))
        };
        let gone: Vec<RecordKey> = keys.iter().filter(gone).cloned().collect();
        self.inner.delete(&gone, call).await;
    }

    async fn stored(&self, key: &RecordKey, call: CallContext) -> Option<VersionedRecord> {
        self.inner.get(std::slice::from_ref(key), call).await.pop()?.ok()?
    }

    /// A put after the flaw has had its say; `None` is one that is acknowledged and not done.
    async fn spoilt(&self, mut put: RecordPut, call: CallContext) -> Option<RecordPut> {
        put.key = self.meant(&put.key);
        self.reclaim(std::slice::from_ref(&put.key), call).await;
        let stored = self.stored(&put.key, call).await;
        let header = stored.as_ref().and_then(|record| RecordHeader::parse(&record.bytes).ok());
        let not_newer =
            put.precondition == Precondition::NotNewer || put.precondition == Precondition::NotNewerSameShape;
        match self.flaw {
            Flaw::IgnoresPreconditions => put.precondition = Precondition::Unchanged(stored),
            Flaw::IgnoresShape if not_newer => put.precondition = Precondition::NotNewer,
            Flaw::LastArrivalWins if not_newer => {
                let same_shape = header.is_none_or(|header| header.shape == put.shape);
                if same_shape || put.precondition == Precondition::NotNewer {
                    put.precondition = Precondition::Unchanged(stored);
                }
            }
            Flaw::RefusesTies if not_newer && header.is_some_and(|h| h.event_time == put.event_time) => {
                let impossible = VersionedRecord { bytes: put.bytes.clone(), version: u64::MAX };
                put.precondition = Precondition::Unchanged(Some(impossible));
            }
            Flaw::LosesConcurrentUpdates if !not_newer => put.precondition = Precondition::Unchanged(stored),
            Flaw::LosesWrites => {
                let mut memory = self.memory();
                memory.puts += 1;
                if memory.puts.is_multiple_of(7) {
                    return None;
                }
            }
            Flaw::TruncatesRecords => put.bytes.truncate(4096),
            Flaw::KeepsBytesAsText => {
                put.bytes = String::from_utf8_lossy(&put.bytes).into_owned().into_bytes().into();
            }
            _ => {}
        }
        let lifetime = match self.flaw {
            Flaw::ReclaimsEarly => put.ttl.map(|ttl| ttl.saturating_sub(Duration::from_secs(60))),
            Flaw::HasADefaultTtl => put.ttl.or(Some(Duration::from_secs(86_400))),
            Flaw::KeepsTheFirstTtl => put.ttl,
            _ => return Some(put),
        };
        let goes_at = lifetime.map(|lifetime| self.clock.now().saturating_add(lifetime));
        let mut memory = self.memory();
        match self.flaw {
            Flaw::KeepsTheFirstTtl => drop(memory.goes_at.entry(put.key.clone()).or_insert(goes_at)),
            _ => drop(memory.goes_at.insert(put.key.clone(), goes_at)),
        }
        drop(memory);
        Some(put)
    }

    async fn put_one(&self, put: RecordPut, call: CallContext) -> Result<PutOutcome> {
        let Some(put) = self.spoilt(put, call).await else { return Ok(PutOutcome::Stored) };
        let outcome = self.put_inside(put.clone(), call).await?;
        match (self.flaw, &outcome) {
            (Flaw::WritesInTwoSteps, PutOutcome::Stored) => {
                self.inner.delete(std::slice::from_ref(&put.key), call).await;
                tokio::task::yield_now().await;
                self.put_inside(RecordPut { precondition: Precondition::Unchanged(None), ..put }, call).await
            }
            (Flaw::StoresWhatItRefuses, PutOutcome::Refused(_)) => {
                let stored = self.stored(&put.key, call).await;
                self.put_inside(RecordPut { precondition: Precondition::Unchanged(stored), ..put }, call)
                    .await?;
                Ok(outcome)
            }
            (Flaw::NeverSaysRefused, _) => Ok(PutOutcome::Stored),
            _ => Ok(outcome),
        }
    }

    async fn put_inside(&self, put: RecordPut, call: CallContext) -> Result<PutOutcome> {
        self.inner.put(vec![put], call).await.pop().unwrap_or(Ok(PutOutcome::Refused(None)))
    }

    /// Every record of the store.
    async fn everything(&self) -> Vec<Result<(RecordKey, VersionedRecord)>> {
        self.inner.scan(&Scope::Store).collect().await
    }

    /// Whether a purge takes this record for one of the scope's.
    fn falls_to(&self, scope: &Scope, key: &RecordKey) -> bool {
        let (name, text) = (scope.prefix(), key.to_string());
        let name = name.trim_end_matches(':');
        match (self.flaw, scope) {
            (Flaw::PurgesByNamePrefix | Flaw::ScanLeaksNeighbours, _) => text.starts_with(name),
            (Flaw::PurgesBySubstring, Scope::View(view)) => {
                key.view().tenant() == view.tenant() && key.view().view().contains(view.view())
            }
            (Flaw::PurgesBySubstring, _) => text.contains(name),
            (Flaw::PurgesTheTenant, Scope::View(view)) => key.view().tenant() == view.tenant(),
            _ => scope.contains(key),
        }
    }
}

impl feature_core::BackendWrapper for BrokenStore {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.inner
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let mut meant: Vec<RecordKey> = keys.iter().map(|key| self.meant(key)).collect();
        if self.flaw == Flaw::AnswersInKeyOrder {
            meant.sort_by_key(ToString::to_string);
        }
        self.reclaim(&meant, call).await;
        let mut rows = self.inner.get(&meant, call).await;
        let mut memory = self.memory();
        let mut previous = None;
        for (number, (key, row)) in meant.iter().zip(&mut rows).enumerate() {
            let Ok(record) = row else { continue };
            match self.flaw {
                Flaw::CutsLargeBatches if number >= 5_000 => *record = None,
                Flaw::RepeatsThePreviousRow if record.is_none() => record.clone_from(&previous),
                Flaw::ServesStaleReads => match (memory.reads.get(key), &record) {
                    (Some(known), _) => *record = Some(known.clone()),
                    (None, Some(found)) => drop(memory.reads.insert(key.clone(), found.clone())),
                    (None, None) => {}
                },
                _ => {}
            }
            previous.clone_from(record);
        }
        if self.flaw == Flaw::LeavesMissingRowsOut {
            rows.retain(|row| !matches!(row, Ok(None)));
        }
        rows
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        if self.flaw == Flaw::AllOrNothing {
            let mut dry = Vec::new();
            for put in &puts {
                let stored = self.stored(&put.key, call).await;
                let header = stored.as_ref().and_then(|record| RecordHeader::parse(&record.bytes).ok());
                dry.push(header.is_none_or(|header| header.event_time <= put.event_time));
            }
            if dry.contains(&false) {
                return puts.iter().map(|_| Ok(PutOutcome::Refused(None))).collect();
            }
        }
        let mut outcomes = Vec::with_capacity(puts.len());
        for (number, put) in puts.into_iter().enumerate() {
            outcomes.push(match self.flaw {
                Flaw::CutsLargeBatches if number >= 5_000 => Ok(PutOutcome::Stored),
                _ => self.put_one(put, call).await,
            });
        }
        outcomes
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let meant: Vec<RecordKey> = keys.iter().map(|key| self.meant(key)).collect();
        match self.flaw {
            Flaw::OnlySaysItDeletes => {
                self.inner.get(&meant, call).await.into_iter().map(|row| row.map(|r| r.is_some())).collect()
            }
            Flaw::DeleteAlwaysTrue => {
                self.inner.delete(&meant, call).await.into_iter().map(|row| row.map(|_| true)).collect()
            }
            _ => self.inner.delete(&meant, call).await,
        }
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let records = self.inner.scan(scope);
        match self.flaw {
            Flaw::ScanMissesTheLast => {
                let mut records: Vec<_> = futures::executor::block_on(records.collect());
                records.pop();
                stream::iter(records).boxed()
            }
            Flaw::ScanNeverEnds => {
                let records: Vec<_> = futures::executor::block_on(records.collect());
                stream::iter(records.into_iter().cycle()).boxed()
            }
            Flaw::ScanLeaksNeighbours => {
                let all = futures::executor::block_on(self.everything());
                let falls = |row: &Result<(RecordKey, _)>| {
                    row.as_ref().map_or(true, |(key, _)| self.falls_to(scope, key))
                };
                stream::iter(all.into_iter().filter(falls).collect::<Vec<_>>()).boxed()
            }
            _ => records,
        }
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let all: Vec<_> = self.everything().await.into_iter().collect::<Result<_>>()?;
        let keys: Vec<RecordKey> =
            all.into_iter().map(|(key, _)| key).filter(|key| self.falls_to(scope, key)).collect();
        if self.flaw != Flaw::OnlySaysItPurges {
            let call = CallContext::with_timeout(Duration::from_secs(60));
            self.inner.delete(&keys, call).await.into_iter().collect::<Result<Vec<_>>>()?;
        }
        progress.add(keys.len() as u64);
        Ok(PurgeReport { removed: keys.len() as u64 })
    }

    async fn close(&self) -> Result<()> {
        if self.flaw == Flaw::CloseDoesNothing { Ok(()) } else { self.inner.close().await }
    }
}
