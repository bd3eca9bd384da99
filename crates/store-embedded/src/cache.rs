//! Records that were read lately, so that reading them again asks the database nothing.
//!
//! A hit is always the latest record that was committed. The writer takes out what it changes before it
//! commits, and until it has, nothing is put into the shards concerned: a reader may hold a snapshot from
//! before the commit, or see what no other reader sees yet. What a reader wants to put in later it may only
//! while nothing of that kind has begun since before its snapshot.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::unsync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

/// Readers and the writer share little; a bit of a word marks each.
const SHARDS: usize = u64::BITS as usize;
/// What an entry takes besides its key and its record, in bytes, about.
const OVERHEAD: u64 = 120;
/// What a record and its key take, about, in bytes: how many entries room is made for in the beginning.
const TYPICAL: u64 = 4_096;

pub(crate) struct RecordCache {
    hasher: DefaultHashBuilder,
    /// None when nothing may be kept.
    shards: Box<[Mutex<Shard>]>,
}

struct Shard {
    records: Cache<Box<[u8]>, Bytes, Weight>,
    /// Grows whenever the writer begins to change a record of the shard, and again when it is done: it is odd
    /// in between.
    generation: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Bytes> for Weight {
    fn weight(&self, key: &Box<[u8]>, record: &Bytes) -> u64 {
        key.len() as u64 + record.len() as u64 + OVERHEAD
    }
}

/// What the cache says of a key.
pub(crate) enum Lookup {
    Hit(Bytes),
    /// Not there. A record that is read in a snapshot begun from now on may be put in with this.
    Miss(Place),
}

/// Where a record may be put in, and on which condition.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    shard: usize,
    generation: u64,
}

impl RecordCache {
    pub(crate) fn new(bytes: usize) -> Self {
        let each = (bytes / SHARDS) as u64;
        let shard = || {
            let records = Cache::with_weighter((each / TYPICAL) as usize, each, Weight);
            Mutex::new(Shard { records, generation: 0 })
        };
        let shards = if each == 0 { 0 } else { SHARDS };
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: std::iter::repeat_with(shard).take(shards).collect(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Lookup {
        let place = self.place(key);
        let Some(shard) = self.shard(place) else {
            return Lookup::Miss(Place { shard: place, generation: 1 });
        };
        match shard.records.get(key) {
            Some(record) => Lookup::Hit(record.clone()),
            None => Lookup::Miss(Place { shard: place, generation: shard.generation }),
        }
    }

    /// Keeps a record, unless it may have changed since.
    pub(crate) fn put(&self, place: Place, key: &[u8], record: &[u8]) {
        if place.generation.is_multiple_of(2)
            && let Some(mut shard) = self.shard(place.shard)
            && shard.generation == place.generation
        {
            shard.records.insert(key.into(), Bytes::copy_from_slice(record));
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.generation += 2;
            shard.records.clear();
        }
    }

    /// To be held by the writer until the records that it changes are committed.
    pub(crate) fn changes(self: &Arc<Self>) -> Changing {
        Changing { cache: Arc::clone(self), shards: 0 }
    }

    fn place(&self, key: &[u8]) -> usize {
        // The upper bits: the shard itself goes by the lower ones.
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }

    fn shard(&self, place: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(place).map(lock)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes that are under way.
pub(crate) struct Changing {
    cache: Arc<RecordCache>,
    /// A bit for each shard concerned.
    shards: u64,
}

impl Changing {
    /// A record is about to change.
    pub(crate) fn change(&mut self, key: &[u8]) {
        let place = self.cache.place(key);
        let Some(mut shard) = self.cache.shard(place) else { return };
        if self.shards & (1 << place) == 0 {
            self.shards |= 1 << place;
            shard.generation += 1;
        }
        shard.records.remove(key);
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        for (place, shard) in self.cache.shards.iter().enumerate() {
            if self.shards & (1 << place) != 0 {
                lock(shard).generation += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(cache: &RecordCache, key: &[u8]) -> Option<Bytes> {
        match cache.get(key) {
            Lookup::Hit(record) => Some(record),
            Lookup::Miss(_) => None,
        }
    }

    fn miss(cache: &RecordCache, key: &[u8]) -> Place {
        match cache.get(key) {
            Lookup::Hit(record) => panic!("{record:?}"),
            Lookup::Miss(place) => place,
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept() {
        let cache = Arc::new(RecordCache::new(1 << 20));
        let before = miss(&cache, b"a");
        let mut changes = cache.changes();
        changes.change(b"a");
        let during = miss(&cache, b"a");
        cache.put(before, b"a", b"old");
        cache.put(during, b"a", b"old");
        assert_eq!(hit(&cache, b"a"), None);
        drop(changes);
        cache.put(before, b"a", b"old");
        cache.put(during, b"a", b"old");
        assert_eq!(hit(&cache, b"a"), None);
        cache.put(miss(&cache, b"a"), b"a", b"new");
        assert_eq!(hit(&cache, b"a").as_deref(), Some(&b"new"[..]));
        let mut changes = cache.changes();
        changes.change(b"a");
        assert_eq!(hit(&cache, b"a"), None, "the next reader sees what is committed meanwhile");
        drop(changes);
    }

    #[test]
    fn a_record_that_changes_twice_is_not_kept_in_between() {
        let cache = Arc::new(RecordCache::new(1 << 20));
        for key in [b"a", b"b", b"c"] {
            let mut changes = cache.changes();
            changes.change(key);
            changes.change(key);
            cache.put(miss(&cache, key), key, b"old");
            assert_eq!(hit(&cache, key), None);
            drop(changes);
            cache.put(miss(&cache, key), key, b"new");
            assert_eq!(hit(&cache, key).as_deref(), Some(&b"new"[..]));
        }
    }

    #[test]
    fn what_is_forgotten_does_not_come_back() {
        let cache = RecordCache::new(1 << 20);
        let before = miss(&cache, b"b");
        cache.put(miss(&cache, b"a"), b"a", b"1");
        cache.clear();
        cache.put(before, b"b", b"1");
        assert_eq!((hit(&cache, b"a"), hit(&cache, b"b")), (None, None));
    }

    #[test]
    fn it_keeps_no_more_than_it_may() {
        let cache = RecordCache::new(64 << 10);
        for n in 0..10_000_u32 {
            let key = n.to_be_bytes();
            cache.put(miss(&cache, &key), &key, &[0; 200]);
        }
        let held: u64 = cache.shards.iter().map(|shard| lock(shard).records.weight()).sum();
        assert!((16 << 10..=64 << 10).contains(&held), "{held}");
        let long = [7; 2_000];
        cache.put(miss(&cache, &long), &long, b"");
        assert_eq!(hit(&cache, &long), None, "a key counts as a record does");
        let nothing = RecordCache::new(0);
        nothing.put(miss(&nothing, b"a"), b"a", b"1");
        assert_eq!(hit(&nothing, b"a"), None);
    }
}
