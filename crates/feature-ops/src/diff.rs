//! Whether two stores or exports have the same records.
//!
//! Neither side need be ordered, or fit the memory. Each record adds a hash to one of many sums, by its key; where
//! the sums of a key's bucket agree on both sides, so do its records. Those of the other buckets are then compared
//! one by one, in rounds of so many as the memory takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use feature_core::{
    CallContext, Clock, ErrorKind, OnlineStoreBackend, RecordHeader, RecordKey, Scope, Timestamp, ViewKey,
};
use futures::StreamExt;
use twox_hash::XxHash3_128;

use crate::error::{OpsError, Result};
use crate::export::hash;
use crate::files::Row;
use crate::is_gone;
use crate::source::Source;

const BUCKETS: usize = 1 << 16;
/// How many records are compared one by one in a round.
const ROUND: u64 = 500_000;
/// How many records are read again in a call.
const ROWS: usize = 1_000;
/// After what time records of a store that differ are looked at again: a write may have been under way.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What is compared.
#[derive(Clone, Debug)]
pub struct Diff {
    /// Which records.
    pub scope: Scope,
    /// How many of those that differ are named.
    pub examples: usize,
    /// How long a call on a store may take.
    pub patience: Duration,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// A record that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which record.
    pub key: RecordKey,
    /// Its event time in the first; `None` where it is missing.
    pub a: Option<Timestamp>,
    /// Its event time in the second.
    pub b: Option<Timestamp>,
}

impl Difference {
    /// The only side that has it; `None` where both do, but not the same.
    pub fn only_in(&self) -> Option<Side> {
        match (self.a, self.b) {
            (Some(_), None) => Some(Side::A),
            (None, Some(_)) => Some(Side::B),
            _ => None,
        }
    }
}

/// What a comparison has found. Expired records are as good as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffReport {
    /// Records of the first.
    pub records_a: u64,
    /// Records of the second.
    pub records_b: u64,
    /// Records that the first has alone.
    pub only_a: u64,
    /// Records that the second has alone.
    pub only_b: u64,
    /// Records that both have, but not the same.
    pub differing: u64,
    /// Some of those that differ in one way or another.
    pub examples: Vec<Difference>,
}

impl DiffReport {
    /// Whether both have the same.
    pub fn is_equal(&self) -> bool {
        self.only_a + self.only_b + self.differing == 0
    }
}

/// How far a comparison is, to be read while it runs. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct DiffProgress(Arc<AtomicU64>);

impl DiffProgress {
    /// Records read, in all passes.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The records of a bucket on one side.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    sum: u128,
    records: u64,
}

/// A record of a side: what its bytes come to, and its event time.
type Seen = (u128, Timestamp);

/// A record on either side.
#[derive(Default)]
struct Both([Option<Seen>; 2]);

impl Diff {
    /// Compares the records of the views that `keep` names.
    ///
    /// # Errors
    /// What either side reports: what could not be read has not been compared.
    pub async fn run(
        &self,
        a: &Source,
        b: &Source,
        clock: &dyn Clock,
        keep: impl Fn(&ViewKey) -> bool,
        progress: &DiffProgress,
    ) -> Result<DiffReport> {
        let sides = Sides { diff: self, sides: [a, b], now: clock.now(), keep: &keep, progress };
        let [sums_a, sums_b] = [sides.sums(a).await?, sides.sums(b).await?];
        let count = |sums: &[Bucket]| sums.iter().map(|bucket| bucket.records).sum();
        let mut report =
            DiffReport { records_a: count(&sums_a), records_b: count(&sums_b), ..DiffReport::default() };
        let mut round = vec![false; BUCKETS];
        let mut records = 0;
        for (at, (a, b)) in sums_a.iter().zip(&sums_b).enumerate() {
            if a == b {
                continue;
            }
            round[at] = true;
            records += a.records + b.records;
            if records >= ROUND {
                sides.round(&round, &mut report).await?;
                (round, records) = (vec![false; BUCKETS], 0);
            }
        }
        if records > 0 {
            sides.round(&round, &mut report).await?;
        }
        report.examples.sort_by_cached_key(|example| example.key.to_string());
        Ok(report)
    }
}

/// The two, and what their records are seen by.
struct Sides<'a, K> {
    diff: &'a Diff,
    sides: [&'a Source; 2],
    now: Timestamp,
    keep: &'a K,
    progress: &'a DiffProgress,
}

impl<K: Fn(&ViewKey) -> bool> Sides<'_, K> {
    /// Calls `each` with the records of a side that count.
    async fn each(&self, side: &Source, mut each: impl FnMut(RecordKey, u128, Seen)) -> Result<()> {
        let mut rows = side.scan(&self.diff.scope);
        while let Some(row) = rows.next().await {
            let Row { key, bytes } = row?;
            self.progress.0.fetch_add(1, Ordering::Relaxed);
            if !(self.keep)(key.view()) {
                continue;
            }
            if let Some(seen) = self.seen(&bytes).map_err(|e| e.with_key(&key))? {
                let hash = hash(&key);
                each(key, hash, seen);
            }
        }
        Ok(())
    }

    /// What there is to say of a record; `None` where it is as good as none.
    fn seen(&self, bytes: &Bytes) -> feature_core::Result<Option<Seen>> {
        let header = RecordHeader::parse(bytes)?;
        Ok((!is_gone(&header, self.now)).then(|| (XxHash3_128::oneshot(bytes), header.event_time)))
    }

    async fn sums(&self, side: &Source) -> Result<Vec<Bucket>> {
        let mut sums = vec![Bucket::default(); BUCKETS];
        self.each(side, |_, hash, (bytes, _)| {
            let bucket = &mut sums[bucket(hash)];
            bucket.sum = bucket.sum.wrapping_add(pair(hash, bytes));
            bucket.records += 1;
        })
        .await?;
        Ok(sums)
    }

    /// Compares the records of these buckets one by one.
    async fn round(&self, buckets: &[bool], report: &mut DiffReport) -> Result<()> {
        let mut records: HashMap<RecordKey, Both> = HashMap::new();
        for (at, side) in self.sides.into_iter().enumerate() {
            let mut twice = 0;
            self.each(side, |key, hash, seen| {
                if buckets[bucket(hash)] {
                    twice += u64::from(records.entry(key).or_default().0[at].replace(seen).is_some());
                }
            })
            .await?;
            let count = if at == 0 { &mut report.records_a } else { &mut report.records_b };
            *count = count.saturating_sub(twice);
        }
        records.retain(|_, Both([a, b])| a.map(|a| a.0) != b.map(|b| b.0));
        self.look_again(&mut records).await?;
        for (key, Both([a, b])) in records {
            let difference = Difference { key, a: a.map(|a| a.1), b: b.map(|b| b.1) };
            *match difference.only_in() {
                Some(Side::A) => &mut report.only_a,
                Some(Side::B) => &mut report.only_b,
                None => &mut report.differing,
            } += 1;
            if report.examples.len() < self.diff.examples {
                report.examples.push(difference);
            }
        }
        Ok(())
    }

    /// Reads what differs again where it is in a store, and forgets what no longer does.
    async fn look_again(&self, records: &mut HashMap<RecordKey, Both>) -> Result<()> {
        if records.is_empty() || self.sides.iter().all(|side| matches!(side, Source::Export(_))) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        let keys: Vec<RecordKey> = records.keys().cloned().collect();
        for (at, side) in self.sides.into_iter().enumerate() {
            let Source::Store(store) = side else { continue };
            let most = store.capabilities().max_batch_rows.unwrap_or(ROWS).clamp(1, ROWS);
            for keys in keys.chunks(most) {
                for (key, seen) in keys.iter().zip(self.get(&**store, keys).await?) {
                    if let Some(Both(both)) = records.get_mut(key) {
                        both[at] = seen;
                    }
                }
            }
        }
        records.retain(|_, Both([a, b])| a.map(|a| a.0) != b.map(|b| b.0));
        Ok(())
    }

    async fn get(&self, store: &dyn OnlineStoreBackend, keys: &[RecordKey]) -> Result<Vec<Option<Seen>>> {
        let call = CallContext::with_timeout(self.diff.patience);
        let rows = tokio::time::timeout_at(call.deadline, store.get(keys, call)).await.map_err(|_| {
            OpsError::Store(feature_core::Error::new(ErrorKind::DeadlineExceeded, "a read took too long"))
        })?;
        let seen = |(key, row): (&RecordKey, feature_core::Result<Option<_>>)| {
            let record: Option<feature_core::VersionedRecord> = row.map_err(|e| e.with_key(key))?;
            let seen = record.map(|record| self.seen(&record.bytes)).transpose();
            Ok(seen.map_err(|e| e.with_key(key))?.flatten())
        };
        keys.iter().zip(rows).map(seen).collect()
    }
}

fn bucket(key: u128) -> usize {
    (key >> 112) as usize
}

/// What a record adds to the sum of its bucket.
fn pair(key: u128, bytes: u128) -> u128 {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&key.to_be_bytes());
    both[16..].copy_from_slice(&bytes.to_be_bytes());
    XxHash3_128::oneshot(&both)
}
