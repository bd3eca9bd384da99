//! Stores that break one promise each, so that the suite can show that it notices.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_lossless,
    reason = "what casts lose is what these stores do wrong"
)]

mod flaw;
mod judge;
mod keys;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feature_core::{
    CallContext, Capabilities, Clock, Error, ErrorKind, OnlineStoreBackend, Precondition, PutOutcome,
    RecordHeader, RecordKey, RecordPut, Result, Scope, Timestamp, VersionedRecord,
};
use futures::stream::StreamExt;

pub use self::flaw::Flaw;
use crate::map_store::MapStore;

/// A [`MapStore`] with a [`Flaw`].
#[derive(Debug)]
pub struct BrokenStore {
    inner: MapStore,
    clock: Arc<dyn Clock>,
    flaw: Flaw,
    /// What all instances over the same data remember.
    shared: Arc<Mutex<Shared>>,
    own: Mutex<Own>,
}

/// What a broken store remembers in order to do wrong.
#[derive(Debug, Default)]
struct Shared {
    /// For each wrong name of a key the first key that had it: keys of one name share a record.
    names: HashMap<String, RecordKey>,
    goes_at: HashMap<RecordKey, Option<Timestamp>>,
    /// The record before the stored one.
    before: HashMap<RecordKey, VersionedRecord>,
    /// The version before a record's first.
    created: HashMap<RecordKey, u64>,
    purged: Vec<(Scope, Timestamp)>,
    puts: usize,
    latest_version: u64,
    closed: bool,
}

/// What an instance remembers for itself.
#[derive(Debug, Default)]
struct Own {
    reads: HashMap<RecordKey, VersionedRecord>,
    misses: HashSet<RecordKey>,
    /// The latest version when it was opened.
    opened_at: u64,
    /// The records, for an instance that is not closed where it should be.
    open: Option<MapStore>,
}

impl BrokenStore {
    /// An empty store with this flaw.
    pub fn new(flaw: Flaw, clock: Arc<dyn Clock>) -> Self {
        let mut inner = MapStore::new(clock.clone());
        inner = match flaw {
            Flaw::LosesTheLargestRecord
            | Flaw::LosesTheLongestKey
            | Flaw::LosesTheLongestTtl
            | Flaw::LosesTheLastOfTheLargestBatch => inner.with_capabilities(limits()),
            _ => inner,
        };
        Self { inner, clock, flaw, shared: Arc::default(), own: Mutex::default() }
    }

    /// Another instance over the same data.
    #[must_use]
    pub fn share(&self) -> Self {
        let own = Own { opened_at: self.shared().latest_version, ..Own::default() };
        let (clock, shared) = (Arc::clone(&self.clock), Arc::clone(&self.shared));
        Self { inner: self.inner.share(), clock, flaw: self.flaw, shared, own: Mutex::new(own) }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key whose record a key of a wrongly named store reaches.
    fn meant(&self, key: &RecordKey) -> RecordKey {
        match keys::wrong_name(self.flaw, key) {
            Some(name) => self.shared().names.entry(name).or_insert_with(|| key.clone()).clone(),
            None => key.clone(),
        }
    }

    /// Removes what is gone by the flaw's own reckoning.
    async fn reclaim(&self, keys: &[RecordKey], call: CallContext) {
        let now = self.clock.now();
        let gone: Vec<RecordKey> = {
            let shared = self.shared();
            let expired =
                |key: &RecordKey| shared.goes_at.get(key).is_some_and(|at| at.is_some_and(|at| at <= now));
            let purged =
                |key: &RecordKey| shared.purged.iter().any(|(scope, at)| *at <= now && scope.contains(key));
            keys.iter().filter(|key| expired(key) || purged(key)).cloned().collect()
        };
        if !gone.is_empty() {
            self.inner.delete(&gone, call).await;
        }
    }

    async fn stored(&self, key: &RecordKey, call: CallContext) -> Option<VersionedRecord> {
        self.inner.get(std::slice::from_ref(key), call).await.pop()?.ok()?
    }

    /// The version that the flaw gives a record for its own.
    fn version(&self, key: &RecordKey, version: u64) -> u64 {
        match self.flaw {
            Flaw::VersionsAsDoubles => version + (1 << 53),
            Flaw::ReusesVersionsAfterDelete => {
                version - self.shared().created.get(key).copied().unwrap_or(0).min(version)
            }
            Flaw::VersionsBeginAnew => {
                let opened_at = self.own().opened_at;
                if version > opened_at { version - opened_at } else { version }
            }
            _ => version,
        }
    }

    fn shown(&self, key: &RecordKey, record: VersionedRecord) -> VersionedRecord {
        VersionedRecord { version: self.version(key, record.version), ..record }
    }

    /// A put after the flaw has had its say; `None` is one that is acknowledged and not done.
    async fn spoilt(
        &self,
        mut put: RecordPut,
        row: usize,
        rows: usize,
        call: CallContext,
    ) -> Option<RecordPut> {
        put.key = self.meant(&put.key);
        self.reclaim(std::slice::from_ref(&put.key), call).await;
        let stored = self.stored(&put.key, call).await;
        if self.judges() {
            let judged = stored.as_ref().map(|stored| (stored, self.version(&put.key, stored.version)));
            let holds = self.flaw.holds(&put, judged);
            let found = match self.flaw {
                Flaw::ChecksThenActs => {
                    // Long enough for all who race to have looked.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    self.stored(&put.key, call).await
                }
                _ => stored.clone(),
            };
            let impossible = VersionedRecord { bytes: put.bytes.clone(), version: u64::MAX };
            put.precondition = Precondition::Unchanged(if holds { found } else { Some(impossible) });
        }
        match self.flaw {
            Flaw::ChecksTheFirstRowsOnly if row >= 1_000 => {
                put.precondition = Precondition::Unchanged(stored);
            }
            Flaw::LosesWrites => {
                let mut shared = self.shared();
                shared.puts += 1;
                if shared.puts.is_multiple_of(7) {
                    return None;
                }
            }
            _ => {}
        }
        rows::spoil(self.flaw, &mut put.bytes);
        let limits = self.inner.capabilities();
        match self.flaw {
            Flaw::CutsLargeBatches if row >= 5_000 => return None,
            Flaw::LosesTheLongestKey if Some(put.key.text_len()) == limits.max_key_bytes => return None,
            Flaw::LosesTheLongestTtl if put.ttl.is_some() && put.ttl == limits.max_ttl => return None,
            Flaw::LosesTheLastOfTheLargestBatch if Some(rows) == limits.max_batch_rows && row + 1 == rows => {
                return None;
            }
            Flaw::LosesTheLargestRecord if Some(put.bytes.len()) == limits.max_record_bytes => {
                put.bytes.truncate(put.bytes.len() - 1);
            }
            _ => {}
        }
        self.note_life(&put);
        Some(put)
    }

    /// Whether this store decides by itself whether a precondition holds.
    const fn judges(&self) -> bool {
        matches!(
            self.flaw,
            Flaw::IgnoresPreconditions
                | Flaw::IgnoresShape
                | Flaw::LastArrivalWins
                | Flaw::RefusesTies
                | Flaw::LosesConcurrentUpdates
                | Flaw::TimesInSeconds
                | Flaw::TimesInUnsignedSeconds
                | Flaw::TimesAsDoubles
                | Flaw::TimesInMilliseconds
                | Flaw::TimesWithoutSign
                | Flaw::ShapesAsDoubles
                | Flaw::ShapesIn32Bits
                | Flaw::VersionsAsDoubles
                | Flaw::VersionsIn32Bits
                | Flaw::ReusesVersionsAfterDelete
                | Flaw::VersionsBeginAnew
                | Flaw::ChecksThenActs
        )
    }

    /// Remembers when the record goes by the flaw's own reckoning.
    fn note_life(&self, put: &RecordPut) {
        let hour = Duration::from_secs(3_600);
        let lifetime = match self.flaw {
            Flaw::ReclaimsEarly => put.ttl.map(|ttl| ttl.saturating_sub(Duration::from_secs(60))),
            Flaw::ReclaimsByLocalTime => put.ttl.map(|ttl| if ttl > hour { ttl - hour } else { ttl }),
            Flaw::TtlInMilliseconds => put.ttl.map(|ttl| ttl / 1_000),
            Flaw::HasADefaultTtl => put.ttl.or(Some(Duration::from_secs(86_400))),
            Flaw::KeepsTheFirstTtl | Flaw::KeepsTheTtlWithoutOne | Flaw::ScanStopsAtTheExpired => put.ttl,
            _ => return,
        };
        let goes_at = lifetime.map(|lifetime| self.clock.now().saturating_add(lifetime));
        let mut shared = self.shared();
        match self.flaw {
            Flaw::KeepsTheFirstTtl => drop(shared.goes_at.entry(put.key.clone()).or_insert(goes_at)),
            Flaw::KeepsTheTtlWithoutOne if goes_at.is_none() => {}
            _ => drop(shared.goes_at.insert(put.key.clone(), goes_at)),
        }
    }

    async fn put_one(
        &self,
        put: RecordPut,
        row: usize,
        rows: usize,
        call: CallContext,
    ) -> Result<PutOutcome> {
        let Some(put) = self.spoilt(put, row, rows, call).await else { return Ok(PutOutcome::Stored) };
        let (key, before) = (put.key.clone(), self.stored(&put.key, call).await);
        let outcome = self.put_inside(put.clone(), call).await?;
        if outcome == PutOutcome::Stored {
            self.note_put(&key, before, call).await;
        }
        match (self.flaw, &outcome) {
            (Flaw::WritesInTwoSteps, PutOutcome::Stored) => {
                self.inner.delete(std::slice::from_ref(&key), call).await;
                tokio::task::yield_now().await;
                self.put_inside(RecordPut { precondition: Precondition::Unchanged(None), ..put }, call).await
            }
            (Flaw::StoresWhatItRefuses, PutOutcome::Refused(_)) => {
                let precondition = Precondition::Unchanged(self.stored(&key, call).await);
                self.put_inside(RecordPut { precondition, ..put }, call).await?;
                Ok(outcome)
            }
            (Flaw::NeverSaysRefused, _) => Ok(PutOutcome::Stored),
            (_, PutOutcome::Refused(Some(record))) => {
                let shown = self.shown(&key, record.clone());
                let bytes = self.shared().before.get(&key).map(|before| before.bytes.clone());
                Ok(PutOutcome::Refused(Some(match bytes {
                    Some(bytes) if self.flaw == Flaw::CarriesAnOutdatedRecord => {
                        VersionedRecord { bytes, ..shown }
                    }
                    _ => shown,
                })))
            }
            _ => Ok(outcome),
        }
    }

    /// Remembers what a put has replaced.
    async fn note_put(&self, key: &RecordKey, before: Option<VersionedRecord>, call: CallContext) {
        let version = self.stored(key, call).await.map_or(0, |record| record.version);
        if self.flaw != Flaw::ServesStaleReads {
            self.own().reads.remove(key);
        }
        let mut shared = self.shared();
        shared.latest_version = shared.latest_version.max(version);
        match before {
            Some(before) => drop(shared.before.insert(key.clone(), before)),
            None => drop(shared.created.insert(key.clone(), version.saturating_sub(1))),
        }
    }

    async fn put_inside(&self, put: RecordPut, call: CallContext) -> Result<PutOutcome> {
        self.inner.put(vec![put], call).await.pop().unwrap_or(Ok(PutOutcome::Refused(None)))
    }

    /// Whether one of these would be refused.
    async fn refuses_one_of(&self, puts: &[RecordPut], call: CallContext) -> bool {
        for put in puts {
            let stored = self.stored(&put.key, call).await;
            let header = stored.as_ref().and_then(|record| RecordHeader::parse(&record.bytes).ok());
            if header.is_some_and(|header| header.event_time > put.event_time) {
                return true;
            }
        }
        false
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

    /// An error where another instance's close has closed this one too.
    fn closed(&self) -> Option<Error> {
        self.shared().closed.then(|| Error::new(ErrorKind::Unavailable, "the store is closed"))
    }
}

/// A limit of every kind.
fn limits() -> Capabilities {
    let mut limits = Capabilities::new("limited");
    limits.max_record_bytes = Some(100_000);
    limits.max_key_bytes = Some(300);
    limits.max_ttl = Some(Duration::from_secs(400 * 86_400));
    limits.max_batch_rows = Some(700);
    limits
}
