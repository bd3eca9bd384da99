//! Values as bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::damaged;
use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::value::FeatureValue;

/// No common tag: each value of the group has its own.
pub(super) const MIXED: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INT32: u8 = 4;
const INT64: u8 = 5;
const FLOAT32: u8 = 6;
const FLOAT64: u8 = 7;
const STRING: u8 = 8;
const BYTES: u8 = 9;
const TIMESTAMP: u8 = 10;
const MAP: u8 = 11;
const BOOL_LIST: u8 = 16;
const INT32_LIST: u8 = 17;
const INT64_LIST: u8 = 18;
const FLOAT32_LIST: u8 = 19;
const FLOAT64_LIST: u8 = 20;
const STRING_LIST: u8 = 21;
const BYTES_LIST: u8 = 22;
const TIMESTAMP_LIST: u8 = 23;

pub(super) fn tag(value: &FeatureValue) -> u8 {
    match value {
        FeatureValue::Null => NULL,
        FeatureValue::Bool(false) => FALSE,
        FeatureValue::Bool(true) => TRUE,
        FeatureValue::Int32(_) => INT32,
        FeatureValue::Int64(_) => INT64,
        FeatureValue::Float32(_) => FLOAT32,
        FeatureValue::Float64(_) => FLOAT64,
        FeatureValue::String(_) => STRING,
        FeatureValue::Bytes(_) => BYTES,
        FeatureValue::Timestamp(_) => TIMESTAMP,
        FeatureValue::Map(_) => MAP,
        FeatureValue::BoolList(_) => BOOL_LIST,
        FeatureValue::Int32List(_) => INT32_LIST,
        FeatureValue::Int64List(_) => INT64_LIST,
        FeatureValue::Float32List(_) => FLOAT32_LIST,
        FeatureValue::Float64List(_) => FLOAT64_LIST,
        FeatureValue::StringList(_) => STRING_LIST,
        FeatureValue::BytesList(_) => BYTES_LIST,
        FeatureValue::TimestampList(_) => TIMESTAMP_LIST,
    }
}

/// Bytes of every value with this tag, where that is fixed.
pub(super) fn fixed_width(tag: u8) -> Option<usize> {
    match tag {
        NULL | FALSE | TRUE => Some(0),
        INT32 | FLOAT32 => Some(4),
        INT64 | FLOAT64 | TIMESTAMP => Some(8),
        _ => None,
    }
}

/// Appends a value without its tag. `depth` counts the maps around it.
pub(super) fn encode(value: &FeatureValue, depth: usize, out: &mut Vec<u8>) -> Result<()> {
    fn list<T: Copy, const N: usize>(items: &[T], bytes: impl Fn(T) -> [u8; N], out: &mut Vec<u8>) {
        length(items.len(), out);
        items.iter().for_each(|item| out.extend(bytes(*item)));
    }
    match value {
        FeatureValue::Null | FeatureValue::Bool(_) => {}
        FeatureValue::Int32(v) => out.extend(v.to_be_bytes()),
        FeatureValue::Int64(v) => out.extend(v.to_be_bytes()),
        FeatureValue::Float32(v) => out.extend(v.to_bits().to_be_bytes()),
        FeatureValue::Float64(v) => out.extend(v.to_bits().to_be_bytes()),
        FeatureValue::String(v) => bytes(v.as_bytes(), out),
        FeatureValue::Bytes(v) => bytes(v, out),
        FeatureValue::Timestamp(v) => out.extend(v.as_micros().to_be_bytes()),
        FeatureValue::BoolList(v) => list(v, |b| [u8::from(b)], out),
        FeatureValue::Int32List(v) => list(v, i32::to_be_bytes, out),
        FeatureValue::Int64List(v) => list(v, i64::to_be_bytes, out),
        FeatureValue::Float32List(v) => list(v, |f| f.to_bits().to_be_bytes(), out),
        FeatureValue::Float64List(v) => list(v, |f| f.to_bits().to_be_bytes(), out),
        FeatureValue::TimestampList(v) => list(v, |t| t.as_micros().to_be_bytes(), out),
        FeatureValue::StringList(v) => {
            length(v.len(), out);
            v.iter().for_each(|item| bytes(item.as_bytes(), out));
        }
        FeatureValue::BytesList(v) => {
            length(v.len(), out);
            v.iter().for_each(|item| bytes(item, out));
        }
        FeatureValue::Map(v) => {
            if depth >= FeatureValue::MAX_DEPTH {
                return Err(Error::invalid_argument(format!(
                    "maps stand more than {} deep inside one another",
                    FeatureValue::MAX_DEPTH
                )));
            }
            length(v.len(), out);
            for (name, item) in v {
                bytes(name.as_bytes(), out);
                out.push(tag(item));
                encode(item, depth + 1, out)?;
            }
        }
    }
    Ok(())
}

/// Appends values of one tag; floats, which most features are, without a check of space for each.
pub(super) fn encode_run(tag: u8, values: &[FeatureValue], out: &mut Vec<u8>) -> Result<()> {
    if tag != FLOAT64 {
        return values.iter().try_for_each(|value| encode(value, 0, out));
    }
    let start = out.len();
    out.resize(start + values.len() * 8, 0);
    for (value, bytes) in values.iter().zip(out[start..].as_chunks_mut().0) {
        if let FeatureValue::Float64(v) = value {
            *bytes = v.to_bits().to_be_bytes();
        }
    }
    Ok(())
}

fn bytes(v: &[u8], out: &mut Vec<u8>) {
    length(v.len(), out);
    out.extend_from_slice(v);
}

/// LEB128, seven bits a byte, the lowest first.
fn length(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads values from bytes that may be anything.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(|| damaged("a value is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| damaged("a value is cut off"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn length(&mut self) -> Result<usize> {
        let mut n = 0usize;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            n |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(damaged("a length is out of range"))
    }

    /// The number of items that follow, each of at least `width` bytes: no memory is reserved for items
    /// that are not there.
    fn items(&mut self, width: usize) -> Result<usize> {
        let n = self.length()?;
        if n.checked_mul(width).is_some_and(|bytes| bytes <= self.rest.len()) {
            Ok(n)
        } else {
            Err(damaged("a list is cut off"))
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.length()?;
        self.take(n)
    }

    fn text(&mut self) -> Result<String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn list<T, const N: usize>(&mut self, item: impl Fn([u8; N]) -> Result<T>) -> Result<Vec<T>> {
        let n = self.items(N)?;
        let (items, _) = self.take(n * N)?.as_chunks();
        items.iter().map(|bytes| item(*bytes)).collect()
    }

    /// Reads a value whose tag has been read. `depth` counts the maps around it.
    pub(super) fn value(&mut self, tag: u8, depth: usize) -> Result<FeatureValue> {
        Ok(match tag {
            NULL => FeatureValue::Null,
            FALSE => FeatureValue::Bool(false),
            TRUE => FeatureValue::Bool(true),
            INT32 => FeatureValue::Int32(i32::from_be_bytes(self.array()?)),
            INT64 => FeatureValue::Int64(i64::from_be_bytes(self.array()?)),
            FLOAT32 => FeatureValue::Float32(float32(self.array()?)),
            FLOAT64 => FeatureValue::Float64(float64(self.array()?)),
            STRING => FeatureValue::String(self.text()?),
            BYTES => FeatureValue::Bytes(self.bytes()?.to_vec()),
            TIMESTAMP => FeatureValue::Timestamp(timestamp(self.array()?)),
            BOOL_LIST => FeatureValue::BoolList(self.list(|[b]| match b {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(damaged("a boolean is neither true nor false")),
            })?),
            INT32_LIST => FeatureValue::Int32List(self.list(|b| Ok(i32::from_be_bytes(b)))?),
            INT64_LIST => FeatureValue::Int64List(self.list(|b| Ok(i64::from_be_bytes(b)))?),
            FLOAT32_LIST => FeatureValue::Float32List(self.list(|b| Ok(float32(b)))?),
            FLOAT64_LIST => FeatureValue::Float64List(self.list(|b| Ok(float64(b)))?),
            TIMESTAMP_LIST => FeatureValue::TimestampList(self.list(|b| Ok(timestamp(b)))?),
            STRING_LIST => {
                let n = self.items(1)?;
                FeatureValue::StringList((0..n).map(|_| self.text()).collect::<Result<_>>()?)
            }
            BYTES_LIST => {
                let n = self.items(1)?;
                let items = (0..n).map(|_| self.bytes().map(<[u8]>::to_vec));
                FeatureValue::BytesList(items.collect::<Result<_>>()?)
            }
            MAP => {
                if depth >= FeatureValue::MAX_DEPTH {
                    return Err(damaged("maps are too deep"));
                }
                let n = self.items(2)?;
                let mut map = BTreeMap::new();
                for _ in 0..n {
                    let name = self.text()?;
                    if map.last_key_value().is_some_and(|(last, _)| *last >= name) {
                        return Err(damaged("the names of a map are out of order"));
                    }
                    let tag = self.byte()?;
                    map.insert(name, self.value(tag, depth + 1)?);
                }
                FeatureValue::Map(map)
            }
            unknown => return Err(damaged(&format!("a value has the unknown tag {unknown}"))),
        })
    }

    /// Passes over a value without building it.
    pub(super) fn skip(&mut self, tag: u8, depth: usize) -> Result<()> {
        let bytes = match tag {
            STRING | BYTES => self.length()?,
            BOOL_LIST => self.items(1)?,
            INT32_LIST | FLOAT32_LIST => self.items(4)? * 4,
            INT64_LIST | FLOAT64_LIST | TIMESTAMP_LIST => self.items(8)? * 8,
            STRING_LIST | BYTES_LIST => {
                for _ in 0..self.items(1)? {
                    self.bytes()?;
                }
                0
            }
            MAP if depth < FeatureValue::MAX_DEPTH => {
                for _ in 0..self.items(2)? {
                    self.bytes()?;
                    let tag = self.byte()?;
                    self.skip(tag, depth + 1)?;
                }
                0
            }
            scalar => fixed_width(scalar).ok_or_else(|| {
                damaged(&format!("a value has the unknown tag {scalar}, or maps are too deep"))
            })?,
        };
        self.take(bytes).map(drop)
    }

    /// Hands over values of one tag; floats, which most features are, without a branch for each.
    pub(super) fn run(&mut self, tag: u8, places: Range<usize>, to: &mut impl ValueSink) -> Result<()> {
        if tag == FLOAT64 {
            let (items, _) = self.take(places.len() * 8)?.as_chunks();
            to.floats(places.start, items.iter().map(|bytes| float64(*bytes)));
            return Ok(());
        }
        for at in places {
            to.value(at, self.value(tag, 0)?);
        }
        Ok(())
    }
}

/// Takes the values of a record, in order.
pub trait ValueSink {
    /// The value of the feature number `at`.
    fn value(&mut self, at: usize, value: FeatureValue);
    /// The values of features of type `float64`, which most features are, from number `first` on.
    fn floats(&mut self, first: usize, values: impl ExactSizeIterator<Item = f64>);
}

impl ValueSink for Vec<FeatureValue> {
    fn value(&mut self, _: usize, value: FeatureValue) {
        self.push(value);
    }

    fn floats(&mut self, _: usize, values: impl ExactSizeIterator<Item = f64>) {
        self.extend(values.map(FeatureValue::Float64));
    }
}

fn float32(bytes: [u8; 4]) -> f32 {
    f32::from_bits(u32::from_be_bytes(bytes))
}

fn float64(bytes: [u8; 8]) -> f64 {
    f64::from_bits(u64::from_be_bytes(bytes))
}

fn timestamp(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps in maps, this many, around a null.
    fn maps(depth: usize) -> Vec<u8> {
        let mut bytes = [1, 1, b'a', MAP].repeat(depth);
        *bytes.last_mut().unwrap() = NULL;
        bytes
    }

    #[test]
    fn maps_deeper_than_a_map_may_be_are_refused_before_the_stack_ends() {
        let read = |bytes: &[u8]| Reader::new(bytes).value(MAP, 0).map(drop);
        let skip = |bytes: &[u8]| Reader::new(bytes).skip(MAP, 0);
        let deepest = maps(FeatureValue::MAX_DEPTH);
        assert!(read(&deepest).is_ok() && skip(&deepest).is_ok());
        for depth in [FeatureValue::MAX_DEPTH + 1, 1_000] {
            assert!(read(&maps(depth)).is_err() && skip(&maps(depth)).is_err(), "{depth}");
        }
    }
}
