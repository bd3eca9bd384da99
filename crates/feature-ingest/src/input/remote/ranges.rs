//! Parts of an object for a reader of Parquet, which wants a page of this column and one of that.
//!
//! A request costs tens of milliseconds, so more is fetched than a page: windows, one for each column that is
//! read, of a size that keeps all of them in a fixed amount of memory. A file may have all its rows in one row
//! group, which need not fit in memory.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::object::Object;

/// How much is kept: two windows for each column, of which it has left one and reads the other.
const MEMORY: u64 = 32 << 20;
/// What is fetched of the end, where the footer is.
const FOOTER: u64 = 64 << 10;

/// An object of which parts are read.
#[derive(Clone)]
pub(crate) struct Ranges {
    object: Object,
    state: Arc<Mutex<State>>,
}

struct State {
    /// What is read from its start to its end, sorted by that start.
    spans: Vec<Span>,
    /// How much of a column is fetched at once.
    window: u64,
    /// How many bytes of windows are kept.
    memory: u64,
    /// What has been fetched: where it begins, and the bytes. The last used is the last.
    windows: VecDeque<(u64, Bytes)>,
}

struct Span {
    range: Range<u64>,
    /// Whether it is fetched at once.
    at_once: bool,
}

impl Ranges {
    /// `None` when the object is no Parquet file that can be read in parts. Then reading it as a whole
    /// succeeds, or says why not.
    pub(crate) fn open(object: &Object) -> Option<Self> {
        Self::with_memory(object, MEMORY)
    }

    pub(super) fn with_memory(object: &Object, memory: u64) -> Option<Self> {
        let state = State { spans: Vec::new(), window: memory, memory, windows: VecDeque::new() };
        let ranges = Self { object: object.clone(), state: Arc::new(Mutex::new(state)) };
        let end = ranges.part(object.bytes().checked_sub(4)?, 4).ok()?;
        (&end[..] == b"PAR1").then_some(ranges)
    }

    /// Prepares for reading these columns of all row groups.
    pub(crate) fn expect(&self, metadata: &ParquetMetaData, is_read: impl Fn(usize) -> bool) {
        let mut state = self.state();
        let memory = state.memory;
        let (mut spans, mut most) = (Vec::new(), 1);
        for group in metadata.row_groups() {
            let columns = group.columns().iter().enumerate().filter(|(at, _)| is_read(*at));
            let ranges = columns.map(|(_, column)| {
                let (start, length) = column.byte_range();
                start..start + length
            });
            let columns: Vec<_> = ranges.collect();
            let Some(start) = columns.iter().map(|column| column.start).min() else { continue };
            let end = columns.iter().map(|column| column.end).max().unwrap_or(start);
            let wanted: u64 = columns.iter().map(|column| column.end - column.start).sum();
            // A small row group is one request, unless most of it is not wanted.
            if end - start <= memory / 4 && wanted >= (end - start) / 2 {
                spans.push(Span { range: start..end, at_once: true });
            } else {
                most = most.max(columns.len() as u64);
                spans.extend(columns.into_iter().map(|range| Span { range, at_once: false }));
            }
        }
        spans.sort_by_key(|span| span.range.start);
        state.spans = spans;
        // So many columns that each would have next to nothing get more memory.
        state.window = (memory / 2 / most).max(memory / 128);
        state.memory = memory.max(2 * most * state.window);
    }

    /// How many bytes are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> u64 {
        self.state().size()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes from here on, at least so many, except at the end of the object.
    fn part(&self, start: u64, least: u64) -> io::Result<Bytes> {
        let end = self.object.bytes();
        if start >= end {
            return Ok(Bytes::new());
        }
        let least = least.min(end - start);
        let mut state = self.state();
        if let Some(part) = state.kept(start, least) {
            return Ok(part);
        }
        let range = state.around(start, least, end);
        let bytes = self.object.part(range.clone())?;
        let part = bytes.slice((start - range.start) as usize..);
        state.keep(range.start, bytes);
        Ok(part)
    }
}

impl State {
    /// The rest of a window that has so many bytes from here on.
    fn kept(&mut self, start: u64, least: u64) -> Option<Bytes> {
        let has = |(at, bytes): &(u64, Bytes)| *at <= start && start + least <= at + bytes.len() as u64;
        let found = self.windows.iter().position(has)?;
        let (at, bytes) = self.windows.remove(found)?;
        let part = bytes.slice((start - at) as usize..);
        self.windows.push_back((at, bytes));
        Some(part)
    }

    /// What is fetched when this much is wanted of an object that ends there.
    fn around(&self, start: u64, least: u64, end: u64) -> Range<u64> {
        let next = self.spans.partition_point(|span| span.range.start <= start);
        let span = self.spans[..next].last().filter(|span| start < span.range.end);
        let (from, to) = match span {
            Some(Span { range, at_once: true }) => (range.start, range.end),
            Some(Span { range, .. }) => (start, range.end.min(start + self.window)),
            None if start + FOOTER >= end => (end.saturating_sub(FOOTER), end),
            None => (start, start + FOOTER),
        };
        from..to.max(start + least).min(end)
    }

    fn size(&self) -> u64 {
        self.windows.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Keeps a window, in the place of those that were used longest ago.
    fn keep(&mut self, start: u64, bytes: Bytes) {
        self.windows.push_back((start, bytes));
        while self.size() > self.memory && self.windows.len() > 1 {
            self.windows.pop_front();
        }
    }
}

impl Length for Ranges {
    fn len(&self) -> u64 {
        self.object.bytes()
    }
}

impl ChunkReader for Ranges {
    type T = Rest;

    fn get_read(&self, start: u64) -> Result<Rest, ParquetError> {
        Ok(Rest { ranges: self.clone(), at: start, part: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let part = self.part(start, length as u64)?;
        match part.len() >= length {
            true => Ok(part.slice(..length)),
            false => Err(ParquetError::EOF(format!("byte {start} and {length} more are beyond its end"))),
        }
    }
}

/// The bytes from somewhere on.
pub(crate) struct Rest {
    ranges: Ranges,
    at: u64,
    /// Those that are at hand.
    part: Bytes,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() {
            self.part = self.ranges.part(self.at, 1)?;
        }
        let part = self.part.split_to(self.part.len().min(buffer.len()));
        buffer[..part.len()].copy_from_slice(&part);
        self.at += part.len() as u64;
        Ok(part.len())
    }
}
