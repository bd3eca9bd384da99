//! Reading text files: how far, and never more of it in memory than a record may need.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::row::{CHUNK_ROWS, Chunk, Row};
use crate::exit::Failure;

/// How long a line or a CSV record may be, in bytes. A quote that is never closed must not draw the rest of a
/// file into memory.
pub(super) const MAX_RECORD_BYTES: u64 = 64 << 20;

/// A reader that counts what it gives and fails when a record has no end.
pub(super) struct Counted<R> {
    inner: R,
    count: Count,
}

/// What a [`Counted`] reader has given.
#[derive(Clone, Default)]
pub(super) struct Count(Arc<Counters>);

#[derive(Default)]
struct Counters {
    read: AtomicU64,
    /// What had been read when the latest record was complete.
    complete: AtomicU64,
}

impl Count {
    /// How many bytes were read.
    pub(super) fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Says that a record is complete.
    pub(super) fn complete(&self) {
        self.0.complete.store(self.read(), Ordering::Relaxed);
    }
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R) -> (Self, Count) {
        let count = Count::default();
        (Self { inner, count: count.clone() }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Counters { read, complete } = &*self.count.0;
        if read.load(Ordering::Relaxed) - complete.load(Ordering::Relaxed) > MAX_RECORD_BYTES {
            return Err(io::Error::other(format!(
                "a record is longer than {} MiB; is a quote not closed?",
                MAX_RECORD_BYTES >> 20
            )));
        }
        let n = self.inner.read(buffer)?;
        read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Reads a line without its end into `line`; false at the end of the file. Of a line longer than `limit`
/// bytes the rest is passed over, and one byte more than `limit` is given.
pub(super) fn read_line(reader: &mut impl BufRead, limit: usize, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|b| *b == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = (limit + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The rows of a text file, one by one.
pub(super) trait Rows {
    /// The next row, `None` at the end; or why the file cannot be read on.
    fn next_row(&mut self) -> Result<Option<Row>, String>;

    /// The number of the latest row.
    fn number(&self) -> u64;

    /// How many bytes are read.
    fn position(&self) -> u64;
}

/// The rows of a text file, in chunks.
pub(super) struct InChunks<R> {
    rows: R,
    ended: bool,
    /// Why it ended, to be said after the last rows.
    failure: Option<Failure>,
}

impl<R> InChunks<R> {
    pub(super) fn new(rows: R) -> Self {
        Self { rows, ended: false, failure: None }
    }
}

impl<R: Rows> Iterator for InChunks<R> {
    type Item = crate::exit::Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = Vec::with_capacity(CHUNK_ROWS);
        while !self.ended && rows.len() < CHUNK_ROWS {
            match self.rows.next_row() {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => self.ended = true,
                Err(e) => {
                    self.ended = true;
                    let number = self.rows.number();
                    self.failure = Some(Failure::Other(format!("reading stopped after row {number}: {e}")));
                }
            }
        }
        if rows.is_empty() {
            return self.failure.take().map(Err);
        }
        Some(Ok(Chunk { rows, position: self.rows.position() }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_are_whole_or_cut_and_the_next_begins_where_it_should() {
        let mut reader = BufReader::with_capacity(3, &b"ab\n\nabcdefgh\nlast"[..]);
        let mut line = Vec::new();
        for expected in ["ab", "", "abcde", "last"] {
            assert!(read_line(&mut reader, 4, &mut line).unwrap());
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
        assert!(!read_line(&mut reader, 4, &mut line).unwrap());
    }

    #[test]
    fn a_record_without_an_end_stops_the_reading() {
        let (mut reader, count) = Counted::new(io::repeat(b'x'));
        let mut read = |bytes| io::copy(&mut (&mut reader).take(bytes), &mut io::sink());
        read(MAX_RECORD_BYTES - 1).unwrap();
        count.complete();
        read(MAX_RECORD_BYTES - 1).unwrap();
        let error = read(MAX_RECORD_BYTES).unwrap_err();
        assert!(error.to_string().contains("longer than 64 MiB"), "{error}");
    }
}
