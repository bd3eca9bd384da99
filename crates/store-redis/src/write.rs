//! Conditional writes, by a script: what it compares, what it writes and the time to live are one step.

use std::iter::once;
use std::sync::LazyLock;
use std::time::Duration;

use feature_core::{Precondition, PutOutcome, RecordPut};
use sha1_smol::Sha1;

use crate::config::RedisConfig;
use crate::error::Failure;
use crate::key;
use crate::read::record;
use crate::request::{Operation, Part};
use crate::resp::{Reply, Request};

const CODE: &str = include_str!("put.lua");

/// The name under which a server knows the script.
static HASH: LazyLock<String> = LazyLock::new(|| Sha1::from(CODE).digest().to_string());

/// Writes records.
pub(crate) struct Put {
    puts: Vec<RecordPut>,
    keys: Vec<String>,
    /// Whether replicas have to have what is answered.
    waits: bool,
}

impl Put {
    pub(crate) fn new(config: &RedisConfig, puts: Vec<RecordPut>) -> Self {
        let keys = puts.iter().map(|put| key::encode(&config.key_prefix, &put.key)).collect();
        Self { puts, keys, waits: config.wait_replicas > 0 }
    }

    fn push(&self, (when, ttl): (&str, u64), rows: &[usize], request: &mut Request) {
        let (count, ttl) = (rows.len().to_string(), ttl.to_string());
        let head = ["EVALSHA", &*HASH, &count].map(str::as_bytes);
        let keys = rows.iter().map(|row| self.keys[*row].as_bytes());
        let waits = if self.waits { "1" } else { "0" };
        let common = [when, &ttl, waits].map(str::as_bytes);
        let values = rows.iter().flat_map(|row| {
            let put = &self.puts[*row];
            once(&put.bytes[..]).chain(replaced(put))
        });
        request.push(head.into_iter().chain(keys).chain(common).chain(values));
    }
}

/// The bytes that a put expects to find, where it names them.
fn replaced(put: &RecordPut) -> Option<&[u8]> {
    match &put.precondition {
        Precondition::Unchanged(Some(old)) => Some(&old.bytes),
        _ => None,
    }
}

/// The script's name for a precondition.
const fn name(precondition: &Precondition) -> &'static str {
    match precondition {
        Precondition::NotNewerSameShape => "not_newer_same_shape",
        Precondition::NotNewer => "not_newer",
        Precondition::Unchanged(Some(_)) => "unchanged",
        Precondition::Unchanged(None) => "absent",
    }
}

/// A time to live in milliseconds, rounded up; 0 is for ever.
fn millis(ttl: Option<Duration>) -> u64 {
    // The server refuses what goes beyond its clock; a few million years are for ever too.
    const LIMIT: u64 = i64::MAX as u64 / 4;
    ttl.map_or(0, |ttl| {
        let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(LIMIT);
        if millis < LIMIT { millis.max(1) } else { 0 }
    })
}

impl Operation for Put {
    type Answer = PutOutcome;

    const WRITES: bool = true;

    const SCRIPT: Option<&'static str> = Some(CODE);

    fn key(&self, row: usize) -> &[u8] {
        self.keys[row].as_bytes()
    }

    fn weight(&self, row: usize) -> usize {
        let put = &self.puts[row];
        put.bytes.len() + replaced(put).map_or(0, <[u8]>::len)
    }

    fn commands(&self, rows: &[usize], alone: bool, request: &mut Request) -> Vec<Part> {
        // Rows that agree on precondition and time to live share a call, as those of a batch mostly do.
        let mut calls: Vec<((&str, u64), Vec<usize>)> = Vec::new();
        for row in rows {
            let put = &self.puts[*row];
            let kind = (name(&put.precondition), millis(put.ttl));
            match calls.iter_mut().find(|(own, _)| *own == kind && !alone) {
                Some((_, call)) => call.push(*row),
                None => calls.push((kind, vec![*row])),
            }
        }
        let part = |(kind, rows): (_, Vec<usize>)| {
            self.push(kind, &rows, request);
            Part { commands: 1, rows }
        };
        calls.into_iter().map(part).collect()
    }

    fn answers(&self, rows: &[usize], replies: Vec<Reply>, server: &str) -> Vec<Result<PutOutcome, Failure>> {
        match replies.into_iter().next() {
            Some(Reply::Int(1)) => rows.iter().map(|_| Ok(PutOutcome::Stored)).collect(),
            Some(Reply::Array(answers)) if answers.len() == rows.len() => {
                let outcome = |answer| match answer {
                    Reply::Int(1) => Ok(PutOutcome::Stored),
                    answer => record(Some(answer), server).map(PutOutcome::Refused),
                };
                answers.into_iter().map(outcome).collect()
            }
            _ => rows.iter().map(|_| Err(Failure::garbled(server))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_never_shorter_and_never_nothing() {
        for (ttl, expected) in [
            (None, 0),
            (Some(Duration::from_micros(1)), 1),
            (Some(Duration::from_millis(1)), 1),
            (Some(Duration::from_micros(1_001)), 2),
            (Some(Duration::MAX), 0),
        ] {
            assert_eq!(millis(ttl), expected, "{ttl:?}");
        }
    }
}
