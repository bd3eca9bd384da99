//! CSV records, with what the usual reader does not tell: whether a field was quoted.

use std::io::{self, BufRead};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

/// A record: its fields, unescaped, and which of them stood in quotes.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    quoted: Vec<bool>,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&self.ends[..]) + self.quoted.len()
    }

    pub(super) fn is_quoted(&self, at: usize) -> bool {
        self.quoted.get(at).copied().unwrap_or_default()
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        self.bytes.get(start..end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at).unwrap_or_default())
    }
}

/// Reads records one by one; empty lines are none.
pub(super) struct Records<R> {
    input: R,
    core: Reader,
    begun: bool,
    /// How many bytes a record may have: a quote that is never closed must not draw the rest of a file into
    /// memory.
    longest: usize,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R, delimiter: u8, longest: usize) -> Self {
        Self { input, core: ReaderBuilder::new().delimiter(delimiter).build(), begun: false, longest }
    }

    /// Reads the next record into `record`; false at the end.
    pub(super) fn read(&mut self, record: &mut Record) -> io::Result<bool> {
        record.ends.clear();
        record.quoted.clear();
        let mut length = 0;
        // Between records there may be empty lines, which the parser passes over.
        let (mut field_begins, mut record_begins) = (true, true);
        loop {
            let input = match self.input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if !self.begun {
                self.begun = true;
                if input.starts_with(b"\xef\xbb\xbf") {
                    self.input.consume(3);
                    continue;
                }
            }
            if record_begins {
                let lines = input.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                if lines > 0 {
                    self.input.consume(lines);
                    continue;
                }
            }
            if field_begins && !input.is_empty() {
                record.quoted.push(input[0] == b'"');
                (field_begins, record_begins) = (false, false);
            }
            if record.bytes.len() < length + 1024 {
                record.bytes.resize((length + 1024) * 2, 0);
            }
            let (result, read, written) = self.core.read_field(input, &mut record.bytes[length..]);
            self.input.consume(read);
            length += written;
            // A field that is empty has its delimiter.
            if length + record.ends.len() > self.longest {
                let longest = self.longest;
                let message = format!("a record is longer than {longest} bytes; is a quote not closed?");
                return Err(io::Error::other(message));
            }
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end } => {
                    record.ends.push(length);
                    // The last field of the last line may be empty and have no byte of its own.
                    record.quoted.resize(record.ends.len(), false);
                    if record_end {
                        return Ok(true);
                    }
                    field_begins = true;
                }
                ReadFieldResult::End => return Ok(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Fields as text, those in quotes with a `!`.
    fn read(text: &str, capacity: usize) -> Vec<Vec<String>> {
        let mut records = Records::new(BufReader::with_capacity(capacity, text.as_bytes()), b',', 64 << 20);
        let (mut record, mut all) = (Record::default(), Vec::new());
        while records.read(&mut record).unwrap() {
            let field = |at| {
                let mark = if record.is_quoted(at) { "!" } else { "" };
                format!("{}{mark}", String::from_utf8_lossy(record.get(at).unwrap()))
            };
            all.push((0..record.len()).map(field).collect());
        }
        all
    }

    #[test]
    fn fields_are_those_of_the_usual_reader_and_their_quotes_are_known() {
        let text = "\u{feff}a,b,c\r\n\r\n1,\"NA\",NA\n\"x\"\"y\",\"\",\n\n\"line\nbreak\",é,\"\"\n,,";
        // The start of a stream comes together, so a byte order mark is never cut.
        for capacity in [3, 4, 7, 64, 4096] {
            let all = read(text, capacity);
            assert_eq!(
                all,
                [
                    vec!["a", "b", "c"],
                    vec!["1", "NA!", "NA"],
                    vec!["x\"y!", "!", ""],
                    vec!["line\nbreak!", "é", "!"],
                    vec!["", "", ""],
                ],
                "{capacity}"
            );
        }
    }

    #[test]
    fn a_record_without_an_end_stops_the_reading() {
        for (start, byte) in [(&b"a\n\""[..], b'x'), (b"a\n", b','), (b"a\nb", b'x')] {
            let endless = io::Read::chain(start, io::repeat(byte));
            let mut records = Records::new(BufReader::new(endless), b',', 1000);
            let mut record = Record::default();
            assert!(records.read(&mut record).unwrap());
            let error = records.read(&mut record).unwrap_err();
            assert!(error.to_string().contains("longer than 1000 bytes"), "{error}");
        }
    }
}
