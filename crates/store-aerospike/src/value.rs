//! What a record of the server holds: one bin, with the *order*, which filters compare, and the bytes of
//! the record after it.
//!
//! ```text
//! bin `v`, a blob
//!    0  u64  shape
//!    8  u64  event time in microseconds, the sign bit flipped, so that the bytes sort as the times do
//!   16       the record
//! ```

use std::ops::Range;

use aerospike::{Record, Value};
use bytes::Bytes;
use feature_core::{Error, RecordHeader, Result, Timestamp, VersionedRecord};

pub(crate) const BIN: &str = "v";
/// The length of an order.
pub(crate) const ORDER_BYTES: usize = 16;
/// Where in an order the time is.
pub(crate) const TIME_BYTES: Range<usize> = 8..16;
/// The length of a state: order and header. With the server's generation it tells two states of a record
/// apart, even after a delete, which restarts the generations: the header has a checksum of the rest.
pub(crate) const STATE_BYTES: usize = ORDER_BYTES + RecordHeader::LEN;

/// The order of a record of this shape and time.
pub(crate) fn order(shape: u64, event_time: Timestamp) -> [u8; ORDER_BYTES] {
    let mut order = [0; ORDER_BYTES];
    order[..TIME_BYTES.start].copy_from_slice(&shape.to_be_bytes());
    let time = (event_time.as_micros() as u64) ^ (1 << 63);
    order[TIME_BYTES].copy_from_slice(&time.to_be_bytes());
    order
}

/// The value of a record's bin.
pub(crate) fn encode(order: &[u8; ORDER_BYTES], record: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(ORDER_BYTES + record.len());
    value.extend(order);
    value.extend(record);
    value
}

/// The state of a stored record: how its value begins.
pub(crate) fn state(record: &[u8]) -> Result<[u8; STATE_BYTES]> {
    let header = RecordHeader::parse(record)?;
    let mut state = [0; STATE_BYTES];
    state[..ORDER_BYTES].copy_from_slice(&order(header.shape, header.event_time));
    state[ORDER_BYTES..].copy_from_slice(&record[..RecordHeader::LEN]);
    Ok(state)
}

/// The record that the server has given.
pub(crate) fn decode(mut record: Record) -> Result<VersionedRecord> {
    match record.bins.swap_remove(BIN) {
        Some(Value::Blob(value)) if value.len() >= ORDER_BYTES => Ok(VersionedRecord {
            bytes: Bytes::from(value).slice(ORDER_BYTES..),
            version: u64::from(record.generation),
        }),
        _ => Err(Error::corrupt(format!(
            "the server's record has no bin `{BIN}` as this store writes it; write the entity again or delete it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use aerospike::IndexMap;
    use feature_core::{Features, Record as FeatureRecord};

    use super::*;

    fn of(bins: &[(&str, Value)]) -> Record {
        let bins: IndexMap<_, _> =
            bins.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Record::new(None, bins, None, 3, 0)
    }

    #[test]
    fn values_read_back() {
        let time = Timestamp::from_micros(-5);
        let record = FeatureRecord::of_write(time, None, Features::from([("f", 1)]));
        let bytes = record.encode().unwrap();
        let value = encode(&order(record.shape().unwrap(), time), &bytes);
        assert_eq!(value[..STATE_BYTES], state(&bytes).unwrap());
        let back = decode(of(&[(BIN, Value::Blob(value))])).unwrap();
        assert_eq!((&back.bytes[..], back.version), (&bytes[..], 3));
    }

    #[test]
    fn what_this_store_has_not_written_is_corrupt() {
        for bins in [
            vec![],
            vec![("w", Value::Blob(vec![0; 16]))],
            vec![(BIN, Value::Int(7))],
            vec![(BIN, Value::Blob(vec![0; 15]))],
        ] {
            assert_eq!(decode(of(&bins)).unwrap_err().kind(), feature_core::ErrorKind::Corrupt);
        }
        assert!(decode(of(&[(BIN, Value::Blob(vec![0; 16]))])).unwrap().bytes.is_empty());
        assert!(state(&[1; 31]).is_err());
    }

    #[test]
    fn orders_of_a_shape_sort_as_their_times() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(|micros| order(7, Timestamp::from_micros(micros)));
        assert!(times.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_order_is_the_shape_and_then_the_time_each_with_its_high_bytes_first() {
        let order = order(0x0102_0304_0506_0708, Timestamp::from_micros(0x0a0b_0c0d_0e0f));
        assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f]);
    }
}
