//! From bytes to a [`Record`], or to the few features of it that were asked for.

use std::sync::Arc;

use super::header::{HAS_FLOOR, HAS_TIMES, RecordHeader, shape, verify};
use super::names::NamesView;
use super::value::{MIXED, Reader, ValueSink, fixed_width};
use super::{GROUP, Record, damaged, unbiased};
use crate::error::Result;
use crate::features::Features;
use crate::names::FeatureNames;
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// A record read in place: its parts are found, its features not yet decoded.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) floor: Option<Timestamp>,
    /// Event times of those features that have their own, by index, 10 bytes each.
    times: &'a [[u8; 10]],
    /// Tells records with the same names apart from others by a comparison of bytes.
    pub(crate) names_section: &'a [u8],
    offsets: &'a [u8],
    values: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Finds the parts of a record and verifies its checksum.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header = RecordHeader::parse(bytes)?;
        verify(bytes)?;
        let count = usize::from(header.features);
        let mut reader = Reader::new(&bytes[RecordHeader::LEN..]);
        let floor = match header.flags & HAS_FLOOR {
            0 => None,
            _ => Some(unbiased(u64::from_be_bytes(reader.array()?))),
        };
        let times = match header.flags & HAS_TIMES {
            0 => &[],
            _ => {
                let n = usize::from(u16::from_be_bytes(reader.array()?));
                reader.take(n * 10)?.as_chunks().0
            }
        };
        let names_length = u32::from_be_bytes(reader.array()?) as usize;
        let names_section = reader.take(names_length)?;
        let offsets = reader.take(count.div_ceil(GROUP) * 4)?;
        let values = reader.take(reader.remaining())?;
        let view = Self { header, floor, times, names_section, offsets, values };
        view.check_times()?;
        Ok(view)
    }

    fn check_times(&self) -> Result<()> {
        let index = |entry: &[u8; 10]| u16::from_be_bytes([entry[0], entry[1]]);
        let ascending = self.times.windows(2).all(|pair| index(&pair[0]) < index(&pair[1]));
        let inside = self.times.last().is_none_or(|last| index(last) < self.header.features);
        // The header's time is the newest; a feature from after it would outlive what replaces it.
        let not_newer = self.own_times().all(|(_, time)| time < self.header.event_time);
        let floor = self.floor.is_none_or(|floor| floor <= self.header.event_time);
        if ascending && inside && not_newer && floor {
            Ok(())
        } else {
            Err(damaged("event times are inconsistent"))
        }
    }

    /// The event times of those features that do not have the record's, by index, ascending.
    pub(crate) fn own_times(&self) -> impl Iterator<Item = (usize, Timestamp)> {
        self.times.iter().map(|&[a, b, ref time @ ..]| {
            (usize::from(u16::from_be_bytes([a, b])), unbiased(u64::from_be_bytes(*time)))
        })
    }

    /// The event time of a feature.
    pub(crate) fn time(&self, index: usize) -> Timestamp {
        if self.times.is_empty() {
            return self.header.event_time;
        }
        let at = self.times.binary_search_by_key(&index, |e| usize::from(u16::from_be_bytes([e[0], e[1]])));
        at.ok().and_then(|at| self.own_times().nth(at)).map_or(self.header.event_time, |(_, time)| time)
    }

    pub(crate) fn names(&self) -> Result<FeatureNames> {
        if shape(self.names_section, self.floor.is_some()) != self.header.shape {
            return Err(damaged("the shape is not that of the names"));
        }
        NamesView::new(self.names_section, usize::from(self.header.features))?.all()
    }

    /// Where the feature of this name stands.
    pub(crate) fn find(&self, name: &str) -> Result<Option<usize>> {
        NamesView::new(self.names_section, usize::from(self.header.features))?.find(name)
    }

    fn group_offset(&self, group: usize) -> Result<usize> {
        let bytes = self.offsets.get(group * 4..).and_then(|b| b.first_chunk::<4>());
        bytes.map(|b| u32::from_be_bytes(*b) as usize).ok_or_else(|| damaged("a group of values is missing"))
    }

    /// Hands over every value, in order.
    pub(crate) fn values(&self, to: &mut impl ValueSink) -> Result<()> {
        let count = usize::from(self.header.features);
        let mut reader = Reader::new(self.values);
        for (group, start) in (0..count).step_by(GROUP).enumerate() {
            if self.group_offset(group)? != self.values.len() - reader.remaining() {
                return Err(damaged("a group of values is not where it should be"));
            }
            let group = start..count.min(start + GROUP);
            match reader.byte()? {
                MIXED => {
                    for at in group {
                        let tag = reader.byte()?;
                        to.value(at, reader.value(tag, 0)?);
                    }
                }
                tag => reader.run(tag, group, to)?,
            }
        }
        if reader.remaining() == 0 { Ok(()) } else { Err(damaged("bytes follow the last value")) }
    }

    /// The value of one feature; what stands before it is passed over, not built.
    pub(crate) fn value(&self, index: usize) -> Result<FeatureValue> {
        let bytes = self.values.get(self.group_offset(index / GROUP)?..);
        let mut reader = Reader::new(bytes.ok_or_else(|| damaged("a group of values is cut off"))?);
        let before = index % GROUP;
        match reader.byte()? {
            MIXED => {
                for _ in 0..before {
                    let tag = reader.byte()?;
                    reader.skip(tag, 0)?;
                }
                let tag = reader.byte()?;
                reader.value(tag, 0)
            }
            tag => {
                match fixed_width(tag) {
                    Some(width) => drop(reader.take(before * width)?),
                    None => (0..before).try_for_each(|_| reader.skip(tag, 0))?,
                }
                reader.value(tag, 0)
            }
        }
    }

    /// The whole record.
    pub(crate) fn record(&self) -> Result<Record> {
        let count = usize::from(self.header.features);
        // Each group has a byte of its own, so memory is reserved for what may be there.
        let mut values: Vec<FeatureValue> = Vec::with_capacity(count.min(self.values.len() * GROUP));
        self.values(&mut values)?;
        Ok(Record {
            event_time: self.header.event_time,
            expires_at: self.header.expires_at,
            floor: self.floor,
            features: Features::from_parts(Arc::new(self.names()?), values),
            times: self.own_times().collect(),
        })
    }
}
