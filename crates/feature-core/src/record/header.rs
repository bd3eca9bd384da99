//! The fixed part at the beginning of a record.

use twox_hash::XxHash3_64;

use super::{biased, damaged, is_expired, unbiased};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

pub(super) const VERSION: u8 = 1;
pub(super) const HAS_FLOOR: u8 = 1;
pub(super) const HAS_TIMES: u8 = 2;
const CHECKSUM: std::ops::Range<usize> = 28..32;

/// What the first 32 bytes of a record say: enough to order, expire and compare records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Newest event time.
    pub event_time: Timestamp,
    /// When the record expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Hash of the feature names, and of whether there is a floor.
    pub shape: u64,
    /// Number of features.
    pub features: u16,
    pub(super) flags: u8,
}

impl RecordHeader {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Reads the header at the beginning of `bytes`. Does not look at the rest, so a header is no proof
    /// that the record is whole.
    ///
    /// # Errors
    /// `Corrupt` for bytes that do not begin with a header; `Unsupported` for an unknown version.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let Some(header) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(damaged(&format!("{} bytes are less than a header", bytes.len())));
        };
        let [version, flags, ..] = *header;
        if version != VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the record has format version {version}, this software reads version {VERSION}; update it"
                ),
            ));
        }
        if flags & !(HAS_FLOOR | HAS_TIMES) != 0 {
            return Err(damaged(&format!("unknown flags {flags:#04x}")));
        }
        let number = |at: usize| header[at..at + 8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let expires_at = match number(12) {
            0 => None,
            micros => Some(Timestamp::from_micros(
                i64::try_from(micros).map_err(|_| damaged("the expiry instant is out of range"))?,
            )),
        };
        Ok(Self {
            event_time: unbiased(number(4)),
            expires_at,
            shape: number(20),
            features: u16::from_be_bytes([header[2], header[3]]),
            flags,
        })
    }

    /// Whether the record has expired at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        is_expired(self.expires_at, now)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend([VERSION, self.flags]);
        out.extend(self.features.to_be_bytes());
        out.extend(biased(self.event_time).to_be_bytes());
        out.extend(self.expires_at.map_or(0, Timestamp::as_micros).to_be_bytes());
        out.extend(self.shape.to_be_bytes());
        out.extend([0; 4]);
    }
}

/// The checksum of a record of at least a header's length.
fn checksum(record: &[u8]) -> [u8; 4] {
    // The header's own bytes seed the hash of the rest: one pass, and nothing is left out.
    let (header, body) = record.split_at(RecordHeader::LEN);
    let seed = XxHash3_64::oneshot(&header[..CHECKSUM.start]);
    (XxHash3_64::oneshot_with_seed(seed, body) as u32).to_be_bytes()
}

/// Writes the checksum into a record that is otherwise complete.
pub(super) fn seal(record: &mut [u8]) {
    let sum = checksum(record);
    record[CHECKSUM].copy_from_slice(&sum);
}

/// Whether a record of at least a header's length is as it was sealed.
pub(super) fn verify(record: &[u8]) -> Result<()> {
    if record[CHECKSUM] == checksum(record) { Ok(()) } else { Err(damaged("the checksum does not match")) }
}

/// The shape of a record with this names section.
pub(super) fn shape(names_section: &[u8], has_floor: bool) -> u64 {
    let hash = XxHash3_64::oneshot(names_section);
    if has_floor { !hash } else { hash }
}
