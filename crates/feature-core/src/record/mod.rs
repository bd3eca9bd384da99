//! The record: one packed, versioned, self-describing value for each (view, entity).
//!
//! All numbers are big-endian. Times are signed microseconds with the sign bit flipped, so that their
//! bytes sort as the times do.
//!
//! ```text
//! header, 32 bytes, readable without decoding the rest
//!    0  u8   format version, 1
//!    1  u8   flags: 1 has a floor, 2 some feature has an event time of its own
//!    2  u16  number of features
//!    4  u64  newest event time
//!   12  u64  expiry instant in microseconds, 0 = never
//!   20  u64  shape
//!   28  u32  checksum: low half of XXH3-64 of every other byte of the record
//! [ 8  floor time                                        with flag 1 ]
//! [ 2  n, then n x (u16 feature index, u64 event time)   with flag 2 ]
//! u32  length of the names section
//! names section, features sorted by name, in groups of 16
//!    u32 for each group: where it begins, counted from the end of these
//!    for each name: u8 (shared << 4 | rest), the nibble 15 continued in a byte after it;
//!                   the first `shared` bytes are those of the name before it, `rest` bytes follow
//! values section, the same groups
//!    u32 for each group: where it begins, counted from the end of these
//!    u8 tag of every value of the group, or 0 when each value has a tag before it; the values
//! ```
//!
//! The *shape* is the XXH3-64 hash of the names section, inverted when there is a floor: two records of
//! equal shape name the same features, and the later can replace the earlier without a look inside.
//!
//! Names share their beginnings and types come in runs, so 50 float features take about 600 bytes; a
//! group is a restart point, so that one of 1,000 features is found in a few steps. The checksum makes
//! a damaged record an error rather than a wrong value.

mod decode;
mod encode;
mod header;
mod names;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use decode::RecordView;
pub(crate) use encode::{Encoder, KnownNames};
pub use header::RecordHeader;
pub use value::ValueSink;

use crate::error::{Error, Result};
use crate::features::Features;
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// How many features share a restart point.
const GROUP: usize = 16;

/// Most features of a record.
pub const MAX_FEATURES: usize = u16::MAX as usize;
/// Longest name of a feature, in bytes.
pub const MAX_FEATURE_NAME_BYTES: usize = 255;
/// Largest encoded record that the format can express, in bytes; stores have smaller limits.
pub const MAX_RECORD_BYTES: usize = u32::MAX as usize;

/// A whole record, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The newest event time of any write that is part of the record.
    pub event_time: Timestamp,
    /// When the record expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// The event time of the newest replace: nothing older than this belongs to the record.
    pub floor: Option<Timestamp>,
    /// The features, sorted by name.
    pub features: Features,
    /// Event times of those features whose own is older than the record's, by index, ascending.
    pub times: Vec<(usize, Timestamp)>,
}

/// A feature of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFeature<'a> {
    /// The event time of the write that the value comes from.
    pub event_time: Timestamp,
    /// The value.
    pub value: &'a FeatureValue,
}

impl Record {
    /// The record that a single write makes: every feature has its event time.
    pub fn of_write(event_time: Timestamp, expires_at: Option<Timestamp>, features: Features) -> Self {
        Self { event_time, expires_at, floor: None, features, times: Vec::new() }
    }

    /// Encodes the record.
    ///
    /// # Errors
    /// `LimitExceeded` for too many features, too long a name, or too large a record; `InvalidArgument`
    /// for an empty name, maps too deep, or times that are out of order or that the header cannot hold.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Encoder::default().encode_once(self)
    }

    /// Decodes a whole record. Any bytes give a record or an error.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are not a record; `Unsupported` for a version that this software does not
    /// know.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        RecordView::parse(bytes)?.record()
    }

    /// The record's shape, as its header has it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn shape(&self) -> Result<u64> {
        Ok(RecordHeader::parse(&self.encode()?)?.shape)
    }

    /// Whether every feature has the record's own event time, and the floor, if any, is that time too.
    /// Only such a record may replace an older one without a look at it.
    pub fn is_uniform(&self) -> bool {
        self.floor.is_none_or(|floor| floor == self.event_time) && self.times.is_empty()
    }

    /// The feature of this name.
    pub fn get(&self, name: &str) -> Option<RecordFeature<'_>> {
        let at = self.features.names().search(name).ok()?;
        Some(RecordFeature { event_time: self.time(at), value: self.features.values().get(at)? })
    }

    fn time(&self, at: usize) -> Timestamp {
        let own = self.times.binary_search_by_key(&at, |(index, _)| *index);
        own.ok().map_or(self.event_time, |own| self.times[own].1)
    }
}

/// Whether something that expires at `expires_at` has done so at `now`.
pub(crate) fn is_expired(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("the record is damaged: {what}; write the entity again or delete it"))
}

/// The bytes of a time: the sign bit flipped, so that they sort as the times do.
const fn biased(time: Timestamp) -> u64 {
    (time.as_micros() as u64) ^ (1 << 63)
}

const fn unbiased(bits: u64) -> Timestamp {
    Timestamp::from_micros((bits ^ (1 << 63)) as i64)
}
