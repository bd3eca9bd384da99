//! A stream of Arrow, each message of which is looked at before the decoder has it: that takes as much memory
//! as a message says, at once.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::calls::{Refusal, Reservation};
use crate::http::arrow::message::{CONTINUATION, Message};

/// The most that the head of a message may be.
const HEAD: usize = 4 << 20;

/// Reads a stream whose messages are right and for which there is memory.
pub(super) struct Checked<R> {
    inner: R,
    memory: Reservation,
    /// The beginning of a message, which has been looked at.
    head: io::Cursor<Vec<u8>>,
    /// How much of its body is to come.
    body: u64,
    /// The dictionaries that the decoder keeps, by their ids.
    kept: HashMap<i64, usize>,
    /// The longest body of another message.
    longest: usize,
    ended: bool,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(inner: R, memory: Reservation) -> Self {
        let (kept, head) = (HashMap::new(), io::Cursor::default());
        Self { inner, memory, head, body: 0, kept, longest: 0, ended: false }
    }

    /// Looks at the next message; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        let mut head = Vec::with_capacity(8);
        self.inner.by_ref().take(4).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(false);
        }
        if head == CONTINUATION {
            self.inner.by_ref().take(4).read_to_end(&mut head)?;
        }
        let size = head.last_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize);
        let size = size.filter(|_| head.len() % 4 == 0).ok_or_else(cut_off)?;
        if size > HEAD {
            return Err(io::Error::other(format!("the head of a message has {size} bytes; at most {HEAD}")));
        }
        self.ended = size == 0;
        let at = head.len();
        self.inner.by_ref().take(size as u64).read_to_end(&mut head)?;
        let message = head.get(at..).filter(|message| message.len() == size).ok_or_else(cut_off)?;
        if size > 0 {
            let message = Message::of(message).map_err(|refusal| refused(&refusal))?;
            self.make_room(&message).map_err(|refusal| refused(&refusal))?;
            self.body = message.body as u64;
        }
        self.head = io::Cursor::new(head);
        Ok(true)
    }

    fn make_room(&mut self, message: &Message) -> Result<(), Refusal> {
        match message.dictionary {
            Some((id, more)) => {
                let own = self.kept.entry(id).or_default();
                *own = if more { *own + message.body } else { message.body };
            }
            None => self.longest = self.longest.max(message.body),
        }
        // One message is decoded while the rows of another are made.
        self.memory.resize(self.kept.values().sum::<usize>() + 2 * self.longest)
    }
}

fn cut_off() -> io::Error {
    io::Error::other("it is cut off")
}

fn refused(refusal: &Refusal) -> io::Error {
    io::Error::other(refusal.to_string())
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.head.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            if self.body > 0 {
                let length = self.inner.by_ref().take(self.body).read(buffer)?;
                self.body -= length as u64;
                return if length == 0 { Err(cut_off()) } else { Ok(length) };
            }
            if self.ended || !self.next()? {
                return Ok(0);
            }
        }
    }
}
