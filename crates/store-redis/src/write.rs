//! Conditional writes, by a script: what it compares, what it writes and the time to live are one step.

use std::iter::once;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use feature_core::{Precondition, PutOutcome, RecordPut};
use sha1_smol::Sha1;
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::connect::Node;
use crate::error::{Failure, Next, from_server};
use crate::key::Keys;
use crate::read::record;
use crate::request::{Operation, Part};
use crate::resp::{Reply, Request};

const CODE: &str = include_str!("put.lua");

/// The name under which a server knows the script.
static HASH: LazyLock<String> = LazyLock::new(|| Sha1::from(CODE).digest().to_string());

/// A record to write.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    new: Bytes,
    /// The bytes that are expected to be there, where the precondition names them.
    old: Option<Bytes>,
}

/// What all rows of a call have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The script's name for the precondition.
    when: &'static str,
    /// In milliseconds; 0 is for ever.
    ttl: u64,
    /// Whether replicas have to have what is answered.
    waits: bool,
}

impl Row {
    fn new(put: RecordPut, waits: bool) -> Self {
        let (when, old) = match put.precondition {
            Precondition::NotNewerSameShape => ("not_newer_same_shape", None),
            Precondition::NotNewer => ("not_newer", None),
            Precondition::Unchanged(Some(old)) => ("unchanged", Some(old.bytes)),
            Precondition::Unchanged(None) => ("absent", None),
        };
        let kind = Kind { when, ttl: millis(put.ttl), waits };
        Self { kind, new: put.bytes, old }
    }

    /// About how many bytes it sends.
    pub(crate) fn weight(&self) -> usize {
        self.new.len() + self.old.as_ref().map_or(0, Bytes::len)
    }

    #[cfg(test)]
    pub(crate) fn of_test(ttl: u64, new: Vec<u8>) -> Self {
        Self { kind: Kind { when: "absent", ttl, waits: false }, new: new.into(), old: None }
    }
}

/// Adds the script's call for rows of one kind, each with its key.
pub(crate) fn call<'a>(
    rows: impl ExactSizeIterator<Item = (&'a str, &'a Row)> + Clone,
    request: &mut Request,
) {
    let Some((_, Row { kind, .. })) = rows.clone().next() else { return };
    let (count, ttl) = (rows.len().to_string(), kind.ttl.to_string());
    let head = ["EVALSHA", &*HASH, &count].map(str::as_bytes);
    let keys = rows.clone().map(|(key, _)| key.as_bytes());
    let waits = if kind.waits { "1" } else { "0" };
    let common = [kind.when, &ttl, waits].map(str::as_bytes);
    let values = rows.flat_map(|(_, row)| once(&row.new[..]).chain(row.old.as_deref()));
    request.push(head.into_iter().chain(keys).chain(common).chain(values));
}

/// What the script says of a row.
fn outcome(answer: Reply, server: &str) -> Result<PutOutcome, Failure> {
    match answer {
        Reply::Int(1) => Ok(PutOutcome::Stored),
        answer => record(Some(answer), server).map(PutOutcome::Refused),
    }
}

/// Writes records.
pub(crate) struct Put {
    keys: Keys,
    rows: Vec<Row>,
}

impl Put {
    pub(crate) fn new(config: &RedisConfig, puts: Vec<RecordPut>) -> Self {
        let keys = Keys::encode(&config.key_prefix, puts.iter().map(|put| &put.key));
        let waits = config.wait_replicas > 0;
        Self { keys, rows: puts.into_iter().map(|put| Row::new(put, waits)).collect() }
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
        self.keys.of(row).as_bytes()
    }

    fn weight(&self, row: usize) -> usize {
        self.rows[row].weight()
    }

    fn commands(&self, rows: &[usize], alone: bool, request: &mut Request) -> Vec<Part> {
        // Rows that agree on precondition and time to live share a call, as those of a batch mostly do.
        let mut calls: Vec<(Kind, Vec<usize>)> = Vec::new();
        for row in rows {
            let kind = self.rows[*row].kind;
            match calls.iter_mut().find(|(own, _)| *own == kind && !alone) {
                Some((_, call)) => call.push(*row),
                None => calls.push((kind, vec![*row])),
            }
        }
        let part = |(_, rows): (_, Vec<usize>)| {
            call(rows.iter().map(|row| (self.keys.of(*row), &self.rows[*row])), request);
            Part { commands: 1, rows }
        };
        calls.into_iter().map(part).collect()
    }

    fn answers(&self, rows: &[usize], replies: Vec<Reply>, server: &str) -> Vec<Result<PutOutcome, Failure>> {
        match replies.into_iter().next() {
            Some(Reply::Array(answers)) if answers.len() == rows.len() => {
                answers.into_iter().map(|answer| outcome(answer, server)).collect()
            }
            Some(Reply::Int(1)) => rows.iter().map(|_| Ok(PutOutcome::Stored)).collect(),
            _ => rows.iter().map(|_| Err(Failure::garbled(server))).collect(),
        }
    }

    async fn send_jointly(
        &self,
        node: &Node,
        row: usize,
        deadline: Instant,
    ) -> Option<Result<PutOutcome, Failure>> {
        let sent = node.send_row(self.keys.of(row).to_owned(), self.rows[row].clone(), deadline).await;
        Some(sent.and_then(|(mut replies, share)| match replies.next() {
            Some(Reply::Error(error)) => {
                let failure = from_server(&error, &node.name);
                // The rights to another's key may be what is missing.
                let next =
                    if share.of > 1 && failure.next == Next::Fail { Next::Alone } else { failure.next };
                Err(Failure { next, ..failure })
            }
            Some(Reply::Int(1)) => Ok(PutOutcome::Stored),
            Some(Reply::Array(mut answers)) if answers.len() == share.of => {
                outcome(answers.swap_remove(share.at), &node.name)
            }
            _ => Err(Failure::garbled(&node.name)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use feature_core::{EntityKey, ErrorKind, RecordKey, Timestamp, VersionedRecord, ViewKey};

    use super::*;
    use crate::connect::tests::{node, soon};
    use crate::dial::tests::server;

    #[test]
    fn a_time_to_live_is_never_shorter_and_never_nothing() {
        for (ttl, expected) in [
            (None, 0),
            (Some(Duration::from_micros(1)), 1),
            (Some(Duration::from_millis(1)), 1),
            (Some(Duration::from_micros(1_001)), 2),
            (Some(Duration::from_secs(604_800)), 604_800_000),
            (Some(Duration::MAX), 0),
        ] {
            assert_eq!(millis(ttl), expected, "{ttl:?}");
        }
    }

    const OLD: [u8; 4] = [1; 4];

    /// Three rows, of which the first and the last agree in what they have in common.
    fn put() -> Put {
        let view = ViewKey::new("t", "v").unwrap();
        let old = || Some(VersionedRecord { bytes: Bytes::from_static(&OLD), version: 0 });
        let kinds = [Precondition::NotNewer, Precondition::Unchanged(old()), Precondition::NotNewer];
        let row = |(id, precondition)| RecordPut {
            key: RecordKey::new(view.clone(), EntityKey::new("id", id).unwrap()),
            bytes: Bytes::from_static(&[0; 10]),
            event_time: Timestamp::from_micros(0),
            shape: 0,
            ttl: None,
            precondition,
        };
        Put::new(&RedisConfig::default(), (0_i64..).zip(kinds).map(row).collect())
    }

    #[test]
    fn rows_of_a_kind_share_a_call() {
        let put = put();
        assert_eq!([0, 1].map(|row| put.weight(row)), [10, 14]);
        assert_eq!(put.key(2), b"feast:t:v:id=2");
        for (alone, calls) in [(false, vec![vec![0, 2], vec![1]]), (true, vec![vec![0], vec![1], vec![2]])] {
            let mut request = Request::default();
            let parts = put.commands(&[0, 1, 2], alone, &mut request);
            assert_eq!(request.commands(), calls.len());
            assert!(parts.iter().all(|part| part.commands == 1));
            assert_eq!(parts.into_iter().map(|part| part.rows).collect::<Vec<_>>(), calls);
        }
    }

    #[test]
    fn the_script_answers_for_each_row_or_for_all_that_were_stored() {
        let stored = || Ok(PutOutcome::Stored);
        let missing = || Ok(PutOutcome::Refused(None));
        let garbled = || Err(ErrorKind::Internal);
        for (reply, rows) in [
            (Some(Reply::Int(1)), [stored(), stored()]),
            (Some(Reply::Array(vec![Reply::Int(1), Reply::Nil])), [stored(), missing()]),
            (Some(Reply::Array(vec![Reply::Nil, Reply::Int(0)])), [missing(), garbled()]),
            (Some(Reply::Array(vec![Reply::Int(1)])), [garbled(), garbled()]),
            (Some(Reply::Int(0)), [garbled(), garbled()]),
            (None, [garbled(), garbled()]),
        ] {
            let answers = put().answers(&[0, 2], reply.clone().into_iter().collect(), "h:1");
            let answers = answers.into_iter().map(|answer| answer.map_err(|failure| failure.error.kind()));
            assert_eq!(answers.collect::<Vec<_>>(), rows, "{reply:?}");
        }
    }

    #[tokio::test]
    async fn a_row_that_may_share_a_command_has_its_own_outcome() {
        for (reply, outcome) in [
            (":1", Ok(PutOutcome::Stored)),
            ("*1\r\n$-1", Ok(PutOutcome::Refused(None))),
            ("*0", Err((ErrorKind::Internal, Next::Fail))),
            (":0", Err((ErrorKind::Internal, Next::Fail))),
            ("-NOPERM no rights", Err((ErrorKind::PermissionDenied, Next::Fail))),
            ("-NOSCRIPT unknown", Err((ErrorKind::Unavailable, Next::Load))),
        ] {
            let node = node(RedisConfig::default(), server(move |_| Some(reply)).await);
            let sent = put().send_jointly(&node, 0, soon()).await.unwrap();
            assert_eq!(sent.map_err(|failure| (failure.error.kind(), failure.next)), outcome, "{reply}");
        }
    }
}
