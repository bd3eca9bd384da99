//! The protocol that servers speak, RESP 2: requests are packed into one text, replies are slices of what came in.

use bytes::Bytes;

/// How deep arrays may lie in each other: the replies that are asked for here need three.
const DEPTH: usize = 8;
/// A server sends no longer text than this; what says it does is no answer of one.
const LONGEST: usize = 1 << 30;
/// Nor has the line of a status, an error or a length more bytes.
const LONGEST_LINE: usize = 64 << 10;

/// Commands that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    commands: usize,
    asking: bool,
}

impl Request {
    /// With a word before each command that it may concern a slot that is on its way here.
    pub(crate) fn asking(self, asking: bool) -> Self {
        Self { asking, ..self }
    }

    /// A single command.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> Self {
        let mut request = Self::default();
        request.push(parts);
        request
    }

    /// Adds a command: its name and arguments.
    pub(crate) fn push<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) {
        if self.asking {
            self.bytes.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
            self.commands += 1;
        }
        let parts = parts.into_iter();
        let (count, bytes) =
            parts.clone().fold((0, 0), |(count, bytes), part| (count + 1, bytes + part.len()));
        // Around each part there are a few bytes more.
        self.bytes.reserve(bytes + 12 * count + 16);
        self.line(b'*', count);
        for part in parts {
            self.line(b'$', part.len());
            self.bytes.extend_from_slice(part);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.commands += 1;
    }

    fn line(&mut self, kind: u8, mut number: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// How many replies it will have.
    pub(crate) fn commands(&self) -> usize {
        self.commands
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Text(Bytes),
    /// A short text, such as `OK`.
    Status(Bytes),
    /// A code, which is the first word, and details.
    Error(Bytes),
    Array(Vec<Reply>),
}

impl Reply {
    /// The text, where it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Status(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }
}

/// The replies to a request, in order. Clones share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    bytes: Bytes,
    at: usize,
}

impl Replies {
    /// Of bytes that a [`Boundary`] has found.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    fn parse(&mut self, depth: usize) -> Option<Reply> {
        let (kind, start, end) = line(&self.bytes, self.at)?;
        self.at = end + 2;
        let text = &self.bytes[start..end];
        Some(match kind {
            b'+' => Reply::Status(self.bytes.slice(start..end)),
            b'-' => Reply::Error(self.bytes.slice(start..end)),
            b':' => Reply::Int(number(text)?),
            b'$' => match usize::try_from(number(text)?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let start = self.at;
                    self.at = start.checked_add(length)?.checked_add(2)?;
                    self.bytes.get(start..self.at)?;
                    Reply::Text(self.bytes.slice(start..start + length))
                }
            },
            b'*' => match usize::try_from(number(text)?) {
                Err(_) => Reply::Nil,
                Ok(_) if depth == DEPTH => return None,
                Ok(length) => {
                    // Each part has three bytes at least.
                    let mut parts = Vec::with_capacity(length.min((self.bytes.len() - self.at) / 3));
                    for _ in 0..length {
                        parts.push(self.parse(depth + 1)?);
                    }
                    Reply::Array(parts)
                }
            },
            _ => return None,
        })
    }
}

impl Iterator for Replies {
    type Item = Reply;

    /// The next reply; `None` at the end, and where it makes no sense.
    fn next(&mut self) -> Option<Reply> {
        self.parse(0)
    }
}

/// Finds where the replies to a request end, as their bytes come in.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    at: usize,
    /// Replies, and parts of those that have begun, that are still to come.
    missing: usize,
}

/// What came in is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbled;

impl Boundary {
    /// Of so many replies.
    pub(crate) fn of(replies: usize) -> Self {
        Self { at: 0, missing: replies }
    }

    /// Where they end in these bytes, which begin with them and have what there was before; `None` before they
    /// are complete.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Garbled> {
        while self.missing > 0 {
            let Some((kind, start, end)) = line(bytes, self.at) else {
                return if bytes.len() - self.at > LONGEST_LINE { Err(Garbled) } else { Ok(None) };
            };
            let (mut after, mut parts) = (end + 2, 0);
            match kind {
                b'+' | b'-' | b':' => {}
                b'$' | b'*' => {
                    let length = number(&bytes[start..end]).ok_or(Garbled)?;
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    match (kind, length) {
                        // Less than nothing is nil.
                        (_, usize::MAX) => {}
                        (_, length) if length > LONGEST => return Err(Garbled),
                        (b'$', length) => after += length + 2,
                        (_, length) => parts = length,
                    }
                }
                _ => return Err(Garbled),
            }
            if after > bytes.len() {
                return Ok(None);
            }
            self.at = after;
            self.missing = self.missing.checked_add(parts).ok_or(Garbled)? - 1;
        }
        Ok(Some(self.at))
    }
}

/// The line that begins at `at`: its kind, and where its text begins and ends; `None` while it has no end.
fn line(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    // The kind, then the text, then a return and the new line.
    (end >= 2 && rest[end - 1] == b'\r').then(|| (rest[0], at + 1, at + end - 1))
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(bytes: &'static [u8]) -> Vec<Reply> {
        Replies::new(Bytes::from_static(bytes)).collect()
    }

    #[test]
    fn requests_are_packed_as_the_protocol_says() {
        let mut request = Request::default().asking(true);
        request.push([&b"SET"[..], b"key", b"a\r\nb"]);
        let expected = "*1\r\n$6\r\nASKING\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\na\r\nb\r\n";
        assert_eq!((request.commands(), request.into_bytes()), (2, expected.into()));
        let long = vec![b'x'; 1_234];
        let bytes = Request::of([&long[..]]).into_bytes();
        assert!(bytes.starts_with(b"*1\r\n$1234\r\nxxx") && bytes.ends_with(b"x\r\n"));
    }

    #[test]
    fn replies_of_each_kind_are_taken_apart() {
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let bytes =
            b"+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\nb\r\n$0\r\n\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n";
        let inner = Reply::Array(vec![Reply::Text(text("x"))]);
        let expected = [
            Reply::Status(text("OK")),
            Reply::Error(text("ERR no")),
            Reply::Int(-7),
            Reply::Text(text("a\nb")),
            Reply::Text(text("")),
            Reply::Nil,
            Reply::Nil,
            Reply::Array(vec![Reply::Int(1), inner]),
        ];
        assert_eq!(replies(bytes), expected);
        let texts: Vec<_> = expected.iter().map(Reply::text).collect();
        assert_eq!(texts, [Some("OK"), None, None, Some("a\nb"), Some(""), None, None, None]);
        assert_eq!(Boundary::of(8).find(bytes), Ok(Some(bytes.len())));
    }

    #[test]
    fn an_end_is_found_wherever_the_bytes_are_cut() {
        let bytes = b"*3\r\n$5\r\nhello\r\n*0\r\n*1\r\n:1\r\n$2\r\n\r\n\r\n+next\r\n";
        let end = bytes.len() - b"+next\r\n".len();
        for cut in 0..bytes.len() {
            let mut boundary = Boundary::of(2);
            let first = boundary.find(&bytes[..cut]).unwrap();
            assert_eq!(first, (cut >= end).then_some(end), "{cut}");
            for until in cut..=bytes.len() {
                assert_eq!(boundary.find(&bytes[..until]).unwrap(), (until >= end).then_some(end));
            }
        }
    }

    #[test]
    fn what_may_still_become_a_reply_is_waited_for() {
        let line = [b'+'; LONGEST_LINE];
        let second = [b":1\r\n", &line[..]].concat();
        for (replies, bytes) in
            [(1, &line[..]), (2, &second), (1, b"$1073741824\r\n"), (1, b"\r\n"), (1, b"+OK\n")]
        {
            assert_eq!(Boundary::of(replies).find(bytes), Ok(None));
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"$x\r\n", b"$2000000000\r\n", b"*99999999999\r\n"]
        {
            assert_eq!(Boundary::of(1).find(bytes), Err(Garbled), "{}", bytes.escape_ascii());
        }
        assert_eq!(Boundary::of(1).find(&[b'+'; LONGEST_LINE + 1]), Err(Garbled));
        let deep: Vec<u8> = b"*1\r\n".repeat(100_000).into_iter().chain(*b":1\r\n").collect();
        assert_eq!(Boundary::of(1).find(&deep), Ok(Some(deep.len())));
        assert_eq!(Replies::new(deep.into()).next(), None);
    }
}
