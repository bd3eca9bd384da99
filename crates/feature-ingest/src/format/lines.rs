//! Reading text: never more of it in memory than a record may need.

use std::io::{self, BufRead};

use crate::row::{CHUNK_BYTES, CHUNK_ROWS, Chunk, Row, bytes_of_row};

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

/// The rows of a text, one by one.
pub(super) trait Rows: Send {
    /// The next row, `None` at the end; or why the text cannot be read on.
    fn next_row(&mut self) -> Result<Option<Row>, String>;

    /// The number of the latest row.
    fn number(&self) -> u64;

    /// How many bytes of the input are read.
    fn bytes(&self) -> u64;
}

/// The rows of a text, in chunks.
pub(super) struct InChunks<R> {
    rows: R,
    /// How many rows are passed over.
    skip: u64,
    ended: bool,
    /// Why it ended, to be said after the last rows.
    failure: Option<String>,
}

impl<R> InChunks<R> {
    pub(super) fn new(rows: R, skip: u64) -> Self {
        Self { rows, skip, ended: false, failure: None }
    }
}

impl<R: Rows> Iterator for InChunks<R> {
    type Item = Result<Chunk, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = Vec::with_capacity(CHUNK_ROWS);
        let mut bytes = 0;
        while !self.ended && rows.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            match self.rows.next_row() {
                Ok(Some(_)) if self.rows.number() <= self.skip => {}
                Ok(Some(row)) => {
                    bytes += bytes_of_row(&row);
                    rows.push(row);
                }
                Ok(None) => self.ended = true,
                Err(e) => {
                    self.ended = true;
                    let number = self.rows.number();
                    self.failure = Some(format!("reading stopped after row {number}: {e}"));
                }
            }
        }
        if rows.is_empty() {
            return self.failure.take().map(Err);
        }
        Some(Ok(Chunk { rows, bytes: self.rows.bytes() }))
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
}
