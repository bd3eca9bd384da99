//! Point reads and deletes.

use std::iter::once;
use std::sync::atomic::{AtomicU32, Ordering};

use feature_core::{RecordKey, VersionedRecord};

use crate::error::{Failure, from_server};
use crate::key::Keys;
use crate::request::{Operation, Part};
use crate::resp::{Reply, Request};

/// Batches after one with a missing record that are taken to have one too.
const MISSES_AGAIN: u32 = 100;

/// Whether records were missing lately.
#[derive(Debug, Default)]
pub(crate) struct Misses(AtomicU32);

impl Misses {
    fn are_likely(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn note(&self, any: bool) {
        match self.0.load(Ordering::Relaxed) {
            _ if any => self.0.store(MISSES_AGAIN, Ordering::Relaxed),
            0 => {}
            // Calls that do this at the same time count as one.
            left => self.0.store(left - 1, Ordering::Relaxed),
        }
    }
}

/// Reads records.
pub(crate) struct Get<'a> {
    keys: Keys,
    misses: &'a Misses,
}

impl<'a> Get<'a> {
    pub(crate) fn new(prefix: &str, keys: &[RecordKey], misses: &'a Misses) -> Self {
        Self { keys: Keys::encode(prefix, keys.iter()), misses }
    }

    fn push(&self, command: &'static str, rows: &[usize], request: &mut Request) {
        let keys = rows.iter().map(|row| self.keys.of(*row).as_bytes());
        request.push(once(command.as_bytes()).chain(keys));
    }
}

impl Operation for Get<'_> {
    type Answer = Option<VersionedRecord>;

    const WRITES: bool = false;

    fn key(&self, row: usize) -> &[u8] {
        self.keys.of(row).as_bytes()
    }

    fn commands(&self, rows: &[usize], alone: bool, request: &mut Request) -> Vec<Part> {
        if alone || rows.len() == 1 {
            rows.iter().for_each(|row| self.push("GET", &[*row], request));
            return rows.iter().map(|row| Part { commands: 1, rows: vec![*row] }).collect();
        }
        // MGET reports a key of another type as missing. The number of keys that exist tells whether there is
        // one; where hardly a record is ever missing, one that is is rather asked for again.
        self.push("MGET", rows, request);
        let exists = self.misses.are_likely();
        if exists {
            self.push("EXISTS", rows, request);
        }
        vec![Part { commands: 1 + usize::from(exists), rows: rows.to_vec() }]
    }

    fn answers(
        &self,
        rows: &[usize],
        replies: Vec<Reply>,
        server: &str,
    ) -> Vec<Result<Self::Answer, Failure>> {
        let mut replies = replies.into_iter();
        match (replies.next(), replies.next()) {
            (Some(Reply::Array(values)), exist) if values.len() == rows.len() => {
                let found = values.iter().filter(|value| **value != Reply::Nil).count();
                self.misses.note(found < values.len());
                let suspicious = match exist {
                    Some(Reply::Int(exist)) => exist > found as i64,
                    _ => true,
                };
                let row = |value| match record(Some(value), server) {
                    Ok(None) if suspicious => Err(Failure::unclear(server)),
                    row => row,
                };
                values.into_iter().map(row).collect()
            }
            (value, None) if rows.len() == 1 => vec![record(value, server)],
            _ => rows.iter().map(|_| Err(Failure::garbled(server))).collect(),
        }
    }
}

/// The record in a reply. Its version is its bytes.
pub(crate) fn record(value: Option<Reply>, server: &str) -> Result<Option<VersionedRecord>, Failure> {
    match value {
        Some(Reply::Text(bytes)) => Ok(Some(VersionedRecord { bytes, version: 0 })),
        Some(Reply::Nil) => Ok(None),
        // A script passes on the error of one key as a status.
        Some(Reply::Error(error) | Reply::Status(error)) => Err(from_server(&error, server)),
        _ => Err(Failure::garbled(server)),
    }
}

/// Removes records.
pub(crate) struct Delete(Keys);

impl Delete {
    pub(crate) fn new(prefix: &str, keys: &[RecordKey]) -> Self {
        Self(Keys::encode(prefix, keys.iter()))
    }
}

impl Operation for Delete {
    type Answer = bool;

    const WRITES: bool = true;

    fn key(&self, row: usize) -> &[u8] {
        self.0.of(row).as_bytes()
    }

    fn commands(&self, rows: &[usize], _: bool, request: &mut Request) -> Vec<Part> {
        rows.iter().for_each(|row| request.push([b"UNLINK", self.key(*row)]));
        rows.iter().map(|row| Part { commands: 1, rows: vec![*row] }).collect()
    }

    fn answers(&self, _: &[usize], replies: Vec<Reply>, server: &str) -> Vec<Result<bool, Failure>> {
        vec![match replies.first() {
            Some(Reply::Int(removed)) => Ok(*removed > 0),
            _ => Err(Failure::garbled(server)),
        }]
    }
}
