//! From a [`Record`] to bytes.

use std::sync::{Arc, RwLock};

use super::header::{HAS_FLOOR, HAS_TIMES, RecordHeader, seal, shape};
use super::names;
use super::{GROUP, MAX_FEATURES, MAX_RECORD_BYTES, Record, biased, value};
use crate::error::{Error, Result};
use crate::names::FeatureNames;
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// Encodes records. Those that name the same features, as the rows of a write usually do, share the work
/// on the names.
#[derive(Default)]
pub(crate) struct Encoder<'a> {
    /// Names of earlier writes.
    known: Option<&'a KnownNames>,
    /// The names of the record before.
    last: Option<Arc<Names>>,
    /// The record.
    out: Vec<u8>,
}

/// Feature names and their section of a record.
pub(crate) struct Names {
    names: Arc<FeatureNames>,
    section: Vec<u8>,
    /// The shape of a record without a floor.
    shape: u64,
}

/// The names that were written lately, kept from write to write: to encode them is most of what it takes to
/// encode a record alone.
#[derive(Default)]
pub(crate) struct KnownNames(RwLock<Vec<Arc<Names>>>);

impl KnownNames {
    /// No more sets of names than this, so that looking through them costs less than encoding.
    const MOST: usize = 16;
    /// None whose section is longer, so that they do not fill the memory.
    const LONGEST: usize = 16 << 10;

    fn find(&self, names: &Arc<FeatureNames>) -> Option<Arc<Names>> {
        self.0.read().ok()?.iter().find(|own| own.names == *names).cloned()
    }

    fn learn(&self, names: &Arc<Names>) {
        // Whoever would have to wait leaves it to a later write.
        let Ok(mut known) = self.0.try_write() else { return };
        if names.section.len() > Self::LONGEST || known.iter().any(|own| own.names == names.names) {
            return;
        }
        if known.len() == Self::MOST {
            known.remove(0);
        }
        known.push(Arc::clone(names));
    }
}

impl<'a> Encoder<'a> {
    /// One that begins with the names of earlier writes.
    pub(crate) fn knowing(known: &'a KnownNames) -> Self {
        Self { known: Some(known), ..Self::default() }
    }

    fn names(&self, names: &Arc<FeatureNames>) -> Result<Arc<Names>> {
        if let Some(known) = self.known.and_then(|known| known.find(names)) {
            return Ok(known);
        }
        let names = Arc::new(Names::new(names)?);
        if let Some(known) = self.known {
            known.learn(&names);
        }
        Ok(names)
    }

    /// The encoded record, and its shape.
    pub(crate) fn encode(&mut self, record: &Record) -> Result<(&[u8], u64)> {
        let shape = self.write(record)?;
        Ok((&self.out, shape))
    }

    /// The encoded record, where no other is to follow.
    pub(super) fn encode_once(mut self, record: &Record) -> Result<Vec<u8>> {
        self.write(record)?;
        Ok(self.out)
    }

    fn write(&mut self, record: &Record) -> Result<u64> {
        check(record)?;
        let Record { floor, times, features, .. } = record;
        let names = match self.last.take().filter(|last| last.names == *features.names()) {
            Some(known) => known,
            None => self.names(features.names())?,
        };
        let Names { section, shape, .. } = &**self.last.insert(names);
        let flags =
            if floor.is_some() { HAS_FLOOR } else { 0 } | if times.is_empty() { 0 } else { HAS_TIMES };
        let header = RecordHeader {
            event_time: record.event_time,
            expires_at: record.expires_at,
            shape: if floor.is_some() { !*shape } else { *shape },
            // `check` has counted them.
            features: features.len() as u16,
            flags,
        };

        let out = &mut self.out;
        out.clear();
        out.reserve(room(section, features.len()));
        header.write(out);
        if let Some(floor) = floor {
            out.extend(biased(*floor).to_be_bytes());
        }
        if !times.is_empty() {
            out.extend((times.len() as u16).to_be_bytes());
            for (index, time) in times {
                out.extend((*index as u16).to_be_bytes());
                out.extend(biased(*time).to_be_bytes());
            }
        }
        // 65,535 names of 255 bytes fit 32 bits.
        out.extend((section.len() as u32).to_be_bytes());
        out.extend_from_slice(section);
        encode_values(features.values(), out)?;
        if out.len() > MAX_RECORD_BYTES {
            let limit = MAX_RECORD_BYTES as u64;
            return Err(Error::limit_exceeded("the record", out.len() as u64, limit, "bytes"));
        }
        seal(out);
        Ok(header.shape)
    }
}

impl Names {
    fn new(names: &Arc<FeatureNames>) -> Result<Self> {
        let mut section = Vec::with_capacity(names.len() * 8);
        names::encode(names, &mut section)?;
        let shape = shape(&section, false);
        Ok(Self { names: names.clone(), section, shape })
    }
}

/// How many bytes to reserve: enough for numbers; a record of texts makes its own room.
fn room(section: &[u8], features: usize) -> usize {
    RecordHeader::LEN + 64 + section.len() + features * 10
}

/// Refuses what the header cannot express.
fn check(record: &Record) -> Result<()> {
    let count = record.features.len();
    if count > MAX_FEATURES {
        let what = "the number of features in the record";
        return Err(Error::limit_exceeded(what, count as u64, MAX_FEATURES as u64, "features"));
    }
    if record.expires_at.is_some_and(|at| at <= Timestamp::from_micros(0)) {
        return Err(Error::invalid_argument("the expiry instant is not after 1970-01-01T00:00:00Z"));
    }
    let older = record.times.iter().all(|(_, time)| *time < record.event_time);
    if !older || record.floor.is_some_and(|floor| floor > record.event_time) {
        return Err(Error::invalid_argument("a feature or the floor is newer than the record"));
    }
    let ascending = record.times.is_sorted_by(|(a, _), (b, _)| a < b);
    if !ascending || record.times.last().is_some_and(|(last, _)| *last >= count) {
        return Err(Error::invalid_argument("the features' own event times are out of order"));
    }
    Ok(())
}

fn encode_values(values: &[FeatureValue], out: &mut Vec<u8>) -> Result<()> {
    let offsets = out.len();
    let start = offsets + values.len().div_ceil(GROUP) * 4;
    out.resize(start, 0);
    for (group, values) in values.chunks(GROUP).enumerate() {
        // An offset that does not fit belongs to a record that is refused as too large.
        let offset = (out.len() - start) as u32;
        out[offsets + group * 4..][..4].copy_from_slice(&offset.to_be_bytes());
        let first = value::tag(&values[0]);
        let common = values.iter().all(|value| value::tag(value) == first);
        out.push(if common { first } else { value::MIXED });
        if common {
            value::encode_run(first, values, out)?;
            continue;
        }
        for value in values {
            out.push(value::tag(value));
            value::encode(value, 0, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;

    fn names(number: usize, section: usize) -> Arc<Names> {
        let names = Arc::new([format!("name_{number}")].iter().collect());
        Arc::new(Names { names, section: vec![0; section], shape: 0 })
    }

    #[test]
    fn names_are_kept_from_write_to_write() {
        let known = KnownNames::default();
        let record = Record::of_write(Timestamp::from_micros(1), None, Features::from([("a", 1)]));
        Encoder::knowing(&known).encode(&record).unwrap();
        let kept = known.find(record.features.names()).unwrap();
        let mut other = Encoder::knowing(&known);
        other.encode(&record).unwrap();
        assert!(Arc::ptr_eq(&kept, other.last.as_ref().unwrap()));
        known.learn(&kept);
        assert_eq!(known.0.read().unwrap().len(), 1);
    }

    #[test]
    fn of_many_names_those_of_late_are_kept_and_none_that_are_long() {
        let known = KnownNames::default();
        known.learn(&names(0, KnownNames::LONGEST + 1));
        assert!(known.find(&names(0, 0).names).is_none());
        for number in 0..=KnownNames::MOST {
            known.learn(&names(number, 16 << 10));
        }
        let is_known = |number| known.find(&names(number, 0).names).is_some();
        assert!(!is_known(0) && (1..=KnownNames::MOST).all(is_known));
    }
}
