//! The store itself: what becomes of the rows of a call, of scans, purges and the end.

use std::time::Duration;

use bytes::Bytes;
use feature_core::{
    BackendWrapper, CallContext, Error, ErrorKind, OnlineStoreBackend, PurgeProgress, PurgeReport,
    PutOutcome, RecordKey, RecordPut, Result, Scope, VersionedRecord,
};
use futures::executor::block_on;
use futures::stream::{self, BoxStream, StreamExt};

use super::{BrokenStore, Flaw};
use crate::map_store::MapStore;

/// What becomes of a record's bytes.
pub(super) fn spoil(flaw: Flaw, bytes: &mut Bytes) {
    match flaw {
        Flaw::TruncatesRecords => bytes.truncate(4_096),
        Flaw::CutsAtPowersOfTwo if bytes.len().is_power_of_two() => bytes.truncate(bytes.len() - 1),
        Flaw::KeepsBytesAsText => *bytes = String::from_utf8_lossy(bytes).into_owned().into_bytes().into(),
        Flaw::TrimsZeros => {
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        }
        Flaw::TurnsLineEnds => {
            let mut turned = Vec::with_capacity(bytes.len());
            for (at, byte) in bytes.iter().enumerate() {
                if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
                    turned.push(*byte);
                }
            }
            *bytes = turned.into();
        }
        _ => {}
    }
}

impl BrokenStore {
    /// What the instance remembers of a row, in place of what is stored.
    fn remembered(&self, key: &RecordKey, record: Option<VersionedRecord>) -> Option<VersionedRecord> {
        let mut own = self.own();
        match self.flaw {
            Flaw::ServesStaleReads
            | Flaw::CacheForgetsDeletes
            | Flaw::CacheForgetsPurges
            | Flaw::CachesPrivately => {
                let known = own.reads.get(key).cloned().or_else(|| record.clone());
                known.inspect(|known| drop(own.reads.insert(key.clone(), known.clone())))
            }
            Flaw::CachesMisses if own.misses.contains(key) => None,
            Flaw::CachesMisses if record.is_none() => {
                own.misses.insert(key.clone());
                None
            }
            _ => record,
        }
    }

    /// Where an instance reads: a closed one, too, that should not.
    fn readable(&self) -> MapStore {
        self.own().open.as_ref().map(MapStore::share).unwrap_or_else(|| self.inner.share())
    }

    /// The records of a scope, page by page, each page counted off from the beginning.
    fn counted_off(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let (records, scope) = (self.inner.share(), scope.clone());
        let page = move |offset: usize| {
            let rows: Vec<_> = block_on(records.scan(&scope).skip(offset).take(100).collect());
            let rows = (!rows.is_empty()).then_some(rows)?;
            let next = offset + rows.len();
            Some((stream::iter(rows), next))
        };
        stream::unfold(0, move |offset| std::future::ready(page(offset))).flatten().boxed()
    }
}

impl BackendWrapper for BrokenStore {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.inner
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        if let Some(error) = self.closed() {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        let mut meant: Vec<RecordKey> = keys.iter().map(|key| self.meant(key)).collect();
        if self.flaw == Flaw::AnswersInKeyOrder {
            meant.sort_by_key(ToString::to_string);
        }
        self.reclaim(&meant, call).await;
        let mut rows = match self.flaw {
            Flaw::CloseStopsWritesAlone => self.readable().get(&meant, call).await,
            _ => self.inner.get(&meant, call).await,
        };
        let mut previous = None;
        for (number, (key, row)) in meant.iter().zip(&mut rows).enumerate() {
            let Ok(record) = row else { continue };
            match self.flaw {
                Flaw::CutsLargeBatches if number >= 5_000 => *record = None,
                Flaw::RepeatsThePreviousRow if record.is_none() => record.clone_from(&previous),
                _ => {}
            }
            let shown = record.take().map(|record| self.shown(key, record));
            *record = self.remembered(key, shown);
            previous.clone_from(record);
        }
        if self.flaw == Flaw::LeavesMissingRowsOut {
            rows.retain(|row| !matches!(row, Ok(None)));
        }
        rows
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let fails = |error: &Error| puts.iter().map(|_| Err(error.clone())).collect();
        if let Some(error) = self.closed() {
            return fails(&error);
        }
        if matches!(self.flaw, Flaw::AllOrNothing | Flaw::FailsAllForOne)
            && self.refuses_one_of(&puts, call).await
        {
            return match self.flaw {
                Flaw::AllOrNothing => puts.iter().map(|_| Ok(PutOutcome::Refused(None))).collect(),
                _ => fails(&Error::new(ErrorKind::Unavailable, "a row was refused")),
            };
        }
        let rows = puts.len();
        let mut outcomes = Vec::with_capacity(rows);
        for (row, put) in puts.into_iter().enumerate() {
            outcomes.push(self.put_one(put, row, rows, call).await);
        }
        if self.flaw == Flaw::ShiftsOutcomes && rows > 0 {
            outcomes.rotate_right(1);
        }
        outcomes
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let meant: Vec<RecordKey> = keys.iter().map(|key| self.meant(key)).collect();
        if matches!(self.flaw, Flaw::CacheForgetsPurges | Flaw::CachesPrivately) {
            self.own().reads.retain(|key, _| !meant.contains(key));
        }
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
                let mut records: Vec<_> = block_on(records.collect());
                records.pop();
                stream::iter(records).boxed()
            }
            Flaw::ScanEndsAtAThousand => records.take(1_000).boxed(),
            Flaw::ScanNeverEnds => {
                let records: Vec<_> = block_on(records.collect());
                stream::iter(records.into_iter().cycle()).boxed()
            }
            Flaw::ScanLeaksNeighbours => {
                let all = block_on(self.everything());
                let falls = |row: &Result<(RecordKey, _)>| {
                    row.as_ref().map_or(true, |(key, _)| self.falls_to(scope, key))
                };
                stream::iter(all.into_iter().filter(falls).collect::<Vec<_>>()).boxed()
            }
            Flaw::ScanCountsOff => self.counted_off(scope),
            Flaw::ScanStopsAtTheExpired => {
                let now = self.clock.now();
                let shared = self.shared();
                let expired = shared.goes_at.iter().filter(|(_, at)| at.is_some_and(|at| at <= now));
                let first = expired.map(|(key, _)| key.to_string()).min();
                let is_before = move |row: &Result<(RecordKey, _)>| {
                    let key = row.as_ref().map(|(key, _)| key.to_string()).unwrap_or_default();
                    std::future::ready(first.as_ref().is_none_or(|first| key < *first))
                };
                records.take_while(is_before).boxed()
            }
            _ => records,
        }
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let all: Vec<_> = self.everything().await.into_iter().collect::<Result<_>>()?;
        let mut keys: Vec<RecordKey> =
            all.into_iter().map(|(key, _)| key).filter(|key| self.falls_to(scope, key)).collect();
        match self.flaw {
            Flaw::PurgeEndsAtAThousand => keys.truncate(1_000),
            Flaw::PurgeTakesWhatComesLater => {
                let later = self.clock.now().saturating_add(Duration::from_secs(3_600));
                self.shared().purged.push((scope.clone(), later));
            }
            Flaw::CacheForgetsDeletes | Flaw::CachesPrivately => self.own().reads.clear(),
            _ => {}
        }
        if self.flaw != Flaw::OnlySaysItPurges {
            let call = CallContext::with_timeout(Duration::from_secs(60));
            self.inner.delete(&keys, call).await.into_iter().collect::<Result<Vec<_>>>()?;
        }
        let mut removed = keys.len() as u64;
        if self.flaw == Flaw::PurgeCountsOneLess {
            removed = removed.saturating_sub(1);
        }
        progress.add(removed);
        Ok(PurgeReport { removed })
    }

    async fn close(&self) -> Result<()> {
        match self.flaw {
            Flaw::CloseDoesNothing => return Ok(()),
            Flaw::CloseStopsWritesAlone => self.own().open = Some(self.inner.share()),
            Flaw::CloseClosesAll => self.shared().closed = true,
            Flaw::LeaksATask => drop(tokio::spawn(std::future::pending::<()>())),
            Flaw::ForgetsAtClose => {
                let all = self.everything().await.into_iter().filter_map(|row| Some(row.ok()?.0));
                let call = CallContext::with_timeout(Duration::from_secs(60));
                self.inner.delete(&all.collect::<Vec<_>>(), call).await;
            }
            _ => {}
        }
        self.inner.close().await
    }
}
