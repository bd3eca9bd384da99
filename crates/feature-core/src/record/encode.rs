//! From a [`Record`] to bytes.

use super::header::{HAS_FLOOR, HAS_TIMES, RecordHeader, seal, shape};
use super::{GROUP, MAX_FEATURES, MAX_RECORD_BYTES, Record, biased, names, value};
use crate::error::{Error, Result};
use crate::time::Timestamp;

pub(super) fn encode(record: &Record) -> Result<Vec<u8>> {
    let count = u16::try_from(record.features.len()).map_err(|_| {
        let (count, limit) = (record.features.len() as u64, MAX_FEATURES as u64);
        Error::limit_exceeded("the number of features in the record", count, limit, "features")
    })?;
    if record.expires_at.is_some_and(|at| at <= Timestamp::from_micros(0)) {
        return Err(Error::invalid_argument("the expiry instant is not after 1970-01-01T00:00:00Z"));
    }
    let newest = record.features.iter().map(|f| f.event_time).chain(record.floor).max();
    if newest.is_some_and(|newest| newest > record.event_time) {
        return Err(Error::invalid_argument("a feature or the floor is newer than the record"));
    }
    let own_times = || record.features.iter().enumerate().filter(|(_, f)| f.event_time != record.event_time);
    let times = own_times().count() as u16;

    let mut out = Vec::with_capacity(64 + record.features.len() * 16);
    let mut header = RecordHeader {
        event_time: record.event_time,
        expires_at: record.expires_at,
        shape: 0,
        features: count,
        flags: if record.floor.is_some() { HAS_FLOOR } else { 0 } | if times > 0 { HAS_TIMES } else { 0 },
    };
    header.write(&mut out);
    if let Some(floor) = record.floor {
        out.extend(biased(floor).to_be_bytes());
    }
    if times > 0 {
        out.extend(times.to_be_bytes());
        for (index, feature) in own_times() {
            out.extend((index as u16).to_be_bytes());
            out.extend(biased(feature.event_time).to_be_bytes());
        }
    }

    let length = out.len();
    out.extend([0; 4]);
    let section = out.len();
    names::encode(record.features.iter().map(|f| &f.name), &mut out)?;
    // 65,535 names of 255 bytes fit 32 bits.
    let names_bytes = (out.len() - section) as u32;
    out[length..section].copy_from_slice(&names_bytes.to_be_bytes());
    header.shape = shape(&out[section..], record.floor.is_some());

    encode_values(record, &mut out)?;
    if out.len() > MAX_RECORD_BYTES {
        return Err(Error::limit_exceeded("the record", out.len() as u64, MAX_RECORD_BYTES as u64, "bytes"));
    }
    let mut start = Vec::with_capacity(RecordHeader::LEN);
    header.write(&mut start);
    out[..RecordHeader::LEN].copy_from_slice(&start);
    seal(&mut out);
    Ok(out)
}

fn encode_values(record: &Record, out: &mut Vec<u8>) -> Result<()> {
    let offsets = out.len();
    let start = offsets + record.features.len().div_ceil(GROUP) * 4;
    out.resize(start, 0);
    for (group, features) in record.features.chunks(GROUP).enumerate() {
        // An offset that does not fit belongs to a record that is refused as too large.
        let offset = (out.len() - start) as u32;
        out[offsets + group * 4..][..4].copy_from_slice(&offset.to_be_bytes());
        let first = value::tag(&features[0].value);
        let common = features.iter().all(|f| value::tag(&f.value) == first);
        out.push(if common { first } else { value::MIXED });
        for feature in features {
            if !common {
                out.push(value::tag(&feature.value));
            }
            value::encode(&feature.value, 0, out)?;
        }
    }
    Ok(())
}
