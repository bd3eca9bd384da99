//! Whether a precondition holds, by a flaw's own reckoning.

use feature_core::{Precondition, RecordHeader, RecordPut, VersionedRecord};

use super::Flaw;

const SECOND: i64 = 1_000_000;

impl Flaw {
    /// Whether the put may replace what is stored; `version` is the stored record's, as the flaw counts.
    pub(super) fn holds(self, put: &RecordPut, stored: Option<(&VersionedRecord, u64)>) -> bool {
        let Some((stored, version)) = stored else {
            return !matches!(put.precondition, Precondition::Unchanged(Some(_)));
        };
        let header = RecordHeader::parse(&stored.bytes);
        let not_newer = || {
            let time = header.as_ref().map(|header| header.event_time.as_micros());
            time.is_ok_and(|time| self.is_not_newer(time, put.event_time.as_micros()))
        };
        match &put.precondition {
            _ if self == Self::IgnoresPreconditions => true,
            Precondition::NotNewer => not_newer(),
            Precondition::NotNewerSameShape => {
                not_newer() && header.as_ref().is_ok_and(|header| self.is_same_shape(header.shape, put.shape))
            }
            Precondition::Unchanged(None) => self == Self::LosesConcurrentUpdates,
            Precondition::Unchanged(Some(expected)) => match self {
                Self::LosesConcurrentUpdates => true,
                Self::VersionsAsDoubles => version as f64 == expected.version as f64,
                Self::VersionsIn32Bits => version as u32 == expected.version as u32,
                _ => version == expected.version,
            },
        }
    }

    fn is_not_newer(self, stored: i64, incoming: i64) -> bool {
        let seconds = |time: i64| (time.div_euclid(SECOND), time.rem_euclid(SECOND));
        match self {
            Self::LastArrivalWins => true,
            Self::RefusesTies => stored < incoming,
            Self::TimesInSeconds => {
                let room = |time| (seconds(time).0 as i32, seconds(time).1);
                room(stored) <= room(incoming)
            }
            Self::TimesInUnsignedSeconds => {
                let room = |time| (seconds(time).0 as u32, seconds(time).1);
                room(stored) <= room(incoming)
            }
            Self::TimesAsDoubles => stored as f64 <= incoming as f64,
            Self::TimesInMilliseconds => stored.div_euclid(1_000) <= incoming.div_euclid(1_000),
            Self::TimesWithoutSign => stored as u64 <= incoming as u64,
            _ => stored <= incoming,
        }
    }

    fn is_same_shape(self, stored: u64, incoming: u64) -> bool {
        match self {
            Self::IgnoresShape => true,
            Self::ShapesAsDoubles => stored as f64 == incoming as f64,
            Self::ShapesIn32Bits => stored as u32 == incoming as u32,
            _ => stored == incoming,
        }
    }
}
