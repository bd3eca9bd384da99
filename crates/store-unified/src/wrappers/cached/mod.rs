//! Records that are read often are kept in memory for a while.

#[cfg(test)]
mod interleavings;
mod reads;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod traffic;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Clock, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome,
    RecordKey, RecordPut, Result, Scope, Timestamp, VersionedRecord, ViewKey,
};
use foldhash::fast::RandomState;
use futures::stream::BoxStream;
use metrics::{Counter, Gauge};
use moka::sync::Cache;

use self::traffic::{Marks, Row, Traffic, Writing};
use super::rows::{by_view, unanswered};
use crate::observe::names::{CACHE_BYTES, CACHE_ROWS};
use crate::pattern::Pattern;

/// What a cache may keep, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Memory that it may take, in bytes. Default 64 MiB.
    pub max_bytes: u64,
    /// For how long a record is served after it was read from the store; `None` is not at all. Default
    /// `None`, so that only the views in `views` are cached.
    pub ttl: Option<Duration>,
    /// The same for views by name, where that is different; the first that matches counts.
    pub views: Vec<(Pattern, Option<Duration>)>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, ttl: None, views: Vec::new() }
    }
}

/// What an entry takes besides the bytes of its key and record: the structures of the cache, and what the
/// allocator adds to each of some ten allocations.
const ENTRY_OVERHEAD: usize = 640;

/// Keeps encoded records in memory, so that what is read often is not read from the store each time. That
/// there is no record is kept likewise.
///
/// A record is served for its view's time to live at most, counted from the moment its read began, and never
/// beyond its own expiry. (A feature's max age needs no care here: the handle judges it at each read.) Within
/// that time a read may miss what *another* process has written. What this process writes, deletes or
/// purges through the same cache is seen by every read that begins after the write was answered. A write in
/// doubt may take effect later, and is then seen as one of another process.
///
/// A record that several calls want at the same time is read once. A call that waits for another's read, and
/// sees it fail or take longer than the other would have waited, reads for itself. Errors are not kept, nor
/// what a [fallback](super::fallback::Fallback) has answered: the store itself is asked again, as soon as it
/// can be.
///
/// Uses no more than `max_bytes`; beyond that, the least used records are dropped.
pub struct Cached {
    shared: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn OnlineStoreBackend>,
    clock: Arc<dyn Clock>,
    settings: CacheSettings,
    records: Cache<RecordKey, Entry, RandomState>,
    traffic: Traffic,
    counts: Counts,
    bytes: Gauge,
}

/// A record that was read, or that there was none.
#[derive(Clone)]
struct Entry {
    record: Option<VersionedRecord>,
    /// From the moment its read began, so that a clock that is set back cannot lengthen its life.
    served: Range<Timestamp>,
    marks: Arc<Marks>,
    number: usize,
}

/// A record that is not in the cache.
struct Wanted<'a> {
    /// Its number in the call.
    number: usize,
    key: &'a RecordKey,
    /// For how long it may be served; `None` is not at all, and then nobody joins its read.
    ttl: Option<Duration>,
}

/// What a cache has done so far, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Served from memory.
    pub hits: u64,
    /// Read from the store.
    pub misses: u64,
    /// Read from the store by another call, at the same time.
    pub joined: u64,
    /// What it holds, in bytes.
    pub bytes: u64,
}

impl Cached {
    /// Caches what the settings say; "now" comes from this clock, which should be the handle's.
    pub fn new(store: Arc<dyn OnlineStoreBackend>, clock: Arc<dyn Clock>, settings: CacheSettings) -> Self {
        let longest = settings.views.iter().filter_map(|(_, ttl)| *ttl).chain(settings.ttl).max();
        let records = Cache::builder()
            .max_capacity(settings.max_bytes)
            .weigher(weight)
            // Entries are judged when they are read; this frees the memory of those that never are.
            .time_to_live(longest.unwrap_or_default().min(Duration::from_secs(86_400)))
            .support_invalidation_closures()
            .build_with_hasher(RandomState::default());
        let counts = Counts::new();
        let bytes = CACHE_BYTES.gauge([]);
        let traffic = Traffic::default();
        Self { shared: Arc::new(Inner { store, clock, settings, records, traffic, counts, bytes }) }
    }

    /// What it has done so far.
    pub fn stats(&self) -> CacheStats {
        let [hits, misses, joined] = self.shared.counts.rows.each_ref().map(|n| n.load(Ordering::Relaxed));
        CacheStats { hits, misses, joined, bytes: self.shared.records.weighted_size() }
    }

    /// Marks the records of cached views as being written until the guard is dropped.
    fn writing<'a>(&self, keys: impl Iterator<Item = &'a RecordKey>) -> Writing<'_> {
        let mut ttl_of = self.shared.ttl_by_key();
        let writing = self.shared.traffic.write(keys.filter(|key| ttl_of(key).is_some()).cloned().collect());
        for key in &writing.keys {
            self.shared.records.invalidate(key);
        }
        writing
    }
}

fn weight(key: &RecordKey, entry: &Entry) -> u32 {
    // A key's view holds the names once as such and once encoded.
    let key = key.text_len() + key.view().prefix().len();
    let record = entry.record.as_ref().map_or(0, |record| record.bytes.len());
    u32::try_from(key + record + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
}

impl Inner {
    fn ttl_of(&self, view: &ViewKey) -> Option<Duration> {
        let own = self.settings.views.iter().find(|(pattern, _)| pattern.matches(view.view()));
        own.map_or(self.settings.ttl, |(_, ttl)| *ttl).filter(|ttl| !ttl.is_zero())
    }

    fn ttl_by_key(&self) -> impl FnMut(&RecordKey) -> Option<Duration> {
        by_view(|view| self.ttl_of(view))
    }

    fn cached(&self, key: &RecordKey, now: Timestamp) -> Option<Row> {
        let entry = self.records.get(key)?;
        (entry.served.contains(&now) && !entry.marks.is_stale(entry.number)).then_some(Ok(entry.record))
    }

    fn forget(&self, scope: &Scope) {
        let scope = scope.clone();
        // Fails only where closures are not supported, which they are.
        let _ = self.records.invalidate_entries_if(move |key, _| scope.contains(key));
    }

    /// The records of these keys that are in the cache, and what else is wanted.
    fn look_up<'a>(&self, keys: &'a [RecordKey]) -> (Vec<Option<Row>>, Vec<Wanted<'a>>) {
        let now = self.clock.now();
        let mut ttl_of = self.ttl_by_key();
        let mut wanted = Vec::new();
        let mut row = |(number, key)| {
            let ttl = ttl_of(key);
            let row = ttl.and_then(|_| self.cached(key, now));
            if row.is_none() {
                wanted.push(Wanted { number, key, ttl });
            }
            row
        };
        let rows = keys.iter().enumerate().map(&mut row).collect();
        (rows, wanted)
    }
}

/// Where a row of a read came from.
#[derive(Clone, Copy)]
enum Outcome {
    /// From memory.
    Hit,
    /// From the store.
    Miss,
    /// From a read of another call.
    Joined,
}

/// Rows so far, by [`Outcome`].
struct Counts {
    rows: [AtomicU64; 3],
    counters: [Counter; 3],
}

impl Counts {
    fn new() -> Self {
        let counters = ["hit", "miss", "joined"].map(|outcome| CACHE_ROWS.counter([outcome]));
        Self { rows: Default::default(), counters }
    }

    fn add(&self, outcome: Outcome, rows: usize) {
        self.rows[outcome as usize].fetch_add(rows as u64, Ordering::Relaxed);
        self.counters[outcome as usize].increment(rows as u64);
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("store", &self.shared.store)
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Cached {
    fn capabilities(&self) -> Capabilities {
        self.shared.store.capabilities()
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let shared = &self.shared;
        let mut ttl_of = shared.ttl_by_key();
        if keys.iter().all(|key| ttl_of(key).is_none()) {
            return shared.store.get(keys, call).await;
        }
        let (mut rows, mut wanted) = shared.look_up(keys);
        shared.counts.add(Outcome::Hit, keys.len() - wanted.len());
        // What was joined in vain is read again, on its own.
        for may_join in [true, false] {
            if !wanted.is_empty() {
                let trips = shared.board(&wanted, may_join, call, &mut rows);
                trips.wait(keys, &mut rows).await;
                wanted.retain(|wanted| rows[wanted.number].is_none());
            }
        }
        rows.into_iter().map(|row| row.unwrap_or_else(|| Err(unanswered()))).collect()
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let writing = self.writing(puts.iter().map(|put| &put.key));
        let answers = self.shared.store.put(puts, call).await;
        drop(writing);
        answers
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let writing = self.writing(keys.iter());
        let answers = self.shared.store.delete(keys, call).await;
        drop(writing);
        answers
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        self.shared.store.scan(scope)
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let purging = self.shared.traffic.purge(scope);
        self.shared.forget(scope);
        let report = self.shared.store.purge(scope, progress).await;
        drop(purging);
        report
    }

    /// Adds what the cache has done to the store's own facts.
    async fn check(&self) -> Result<Health> {
        let mut health = self.shared.store.check().await?;
        let CacheStats { hits, misses, joined, bytes } = self.stats();
        let facts = [
            ("cache_hits", hits),
            ("cache_misses", misses),
            ("cache_joined", joined),
            ("cache_bytes", bytes),
        ];
        health.facts.extend(facts.map(|(name, value)| (name.to_owned(), value.to_string())));
        Ok(health)
    }

    async fn close(&self) -> Result<()> {
        self.shared.traffic.close();
        self.shared.forget(&Scope::Store);
        self.shared.store.close().await
    }
}
