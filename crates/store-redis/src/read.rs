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

#[cfg(test)]
pub(crate) mod tests {
    use feature_core::{EntityKey, ErrorKind, ViewKey};

    use super::*;
    use crate::error::Next;

    pub(crate) fn keys(count: i64) -> Vec<RecordKey> {
        let view = ViewKey::new("t", "v").unwrap();
        (0..count).map(|id| RecordKey::new(view.clone(), EntityKey::new("id", id).unwrap())).collect()
    }

    fn text() -> Reply {
        Reply::Text("record".into())
    }

    /// What each row is: whether there is a record, or the kind of its error.
    fn answers(rows: usize, replies: Vec<Reply>) -> Vec<Result<bool, ErrorKind>> {
        let (keys, misses) = (keys(3), Misses::default());
        let get = Get::new("p:", &keys, &misses);
        let answers = get.answers(&[0, 1, 2][..rows], replies, "h:1");
        answers.into_iter().map(|row| row.map(|row| row.is_some()).map_err(|e| e.error.kind())).collect()
    }

    #[test]
    fn a_record_is_missing_only_where_the_server_says_so() {
        let unclear = || Err(ErrorKind::Unavailable);
        let values = || Reply::Array(vec![text(), Reply::Nil]);
        for (exist, missing) in [
            (Some(Reply::Int(1)), Ok(false)),
            (Some(Reply::Int(0)), Ok(false)),
            // One of them holds something else than a text.
            (Some(Reply::Int(2)), unclear()),
            (None, unclear()),
        ] {
            let replies = [values()].into_iter().chain(exist).collect();
            assert_eq!(answers(2, replies), [Ok(true), missing]);
        }
        let corrupt = Err(ErrorKind::Corrupt);
        for (reply, row) in [
            (text(), Ok(true)),
            (Reply::Nil, Ok(false)),
            (Reply::Error("WRONGTYPE no text".into()), corrupt),
            (Reply::Status("WRONGTYPE no text".into()), corrupt),
            (Reply::Int(1), Err(ErrorKind::Internal)),
        ] {
            assert_eq!(answers(1, vec![reply]), [row]);
        }
    }

    #[test]
    fn replies_that_do_not_fit_the_rows_are_no_answer() {
        let values = |count| Reply::Array(vec![Reply::Nil; count]);
        for replies in
            [vec![values(1)], vec![values(3), Reply::Int(0)], vec![Reply::Nil], vec![Reply::Nil; 2], vec![]]
        {
            assert_eq!(answers(2, replies), [Err(ErrorKind::Internal), Err(ErrorKind::Internal)]);
        }
        assert_eq!(answers(1, vec![Reply::Nil, Reply::Nil]), [Err(ErrorKind::Internal)]);
        assert_eq!(answers(1, vec![]), [Err(ErrorKind::Internal)]);
    }

    #[test]
    fn after_a_miss_the_next_hundred_batches_expect_another() {
        let misses = Misses::default();
        misses.note(false);
        assert!(!misses.are_likely());
        misses.note(true);
        for _ in 0..MISSES_AGAIN {
            assert!(misses.are_likely());
            misses.note(false);
        }
        assert!(!misses.are_likely());
        let keys = keys(2);
        let get = Get::new("p:", &keys, &misses);
        get.answers(&[0, 1], vec![Reply::Array(vec![text(), text()])], "h:1");
        assert!(!misses.are_likely());
        get.answers(&[0, 1], vec![Reply::Array(vec![text(), Reply::Nil])], "h:1");
        assert!(misses.are_likely());
    }

    #[test]
    fn many_rows_are_one_command_and_one_more_where_misses_are_likely() {
        let (keys, misses) = (keys(3), Misses::default());
        let get = Get::new("p:", &keys, &misses);
        let parts = |rows: &[usize], alone| -> (Vec<(usize, Vec<usize>)>, usize) {
            let mut request = Request::default();
            let parts = get.commands(rows, alone, &mut request);
            (parts.into_iter().map(|part| (part.commands, part.rows)).collect(), request.commands())
        };
        assert_eq!(parts(&[0, 2], false), (vec![(1, vec![0, 2])], 1));
        assert_eq!(parts(&[0, 2], true), (vec![(1, vec![0]), (1, vec![2])], 2));
        assert_eq!(parts(&[1], false), (vec![(1, vec![1])], 1));
        misses.note(true);
        assert_eq!(parts(&[0, 2], false), (vec![(2, vec![0, 2])], 2));
        assert_eq!((get.key(1), get.weight(1)), (&b"p:t:v:id=1"[..], 0));
    }

    #[test]
    fn a_delete_is_a_command_for_each_row_which_says_whether_there_was_a_record() {
        let delete = Delete::new("p:", &keys(2));
        let mut request = Request::default();
        let parts = delete.commands(&[1, 0], false, &mut request);
        assert!(parts.iter().map(|part| (part.commands, &part.rows[..])).eq([(1, &[1][..]), (1, &[0])]));
        let expected = [delete.key(1), delete.key(0)].map(|key| Request::of([b"UNLINK", key]).into_bytes());
        assert_eq!(request.into_bytes(), expected.concat());
        assert_eq!(delete.key(0), b"p:t:v:id=0");
        for (reply, removed) in [
            (Some(Reply::Int(1)), Some(true)),
            (Some(Reply::Int(0)), Some(false)),
            (Some(Reply::Nil), None),
            (None, None),
        ] {
            let answers = delete.answers(&[0], reply.into_iter().collect(), "h:1");
            assert!(matches!(&answers[..], [answer] if answer.as_ref().ok() == removed.as_ref()));
        }
    }

    #[test]
    fn what_is_unclear_is_asked_again_alone() {
        let (keys, misses) = (keys(2), Misses::default());
        let get = Get::new("p:", &keys, &misses);
        let rows = get.answers(&[0, 1], vec![Reply::Array(vec![Reply::Nil; 2])], "h:1");
        assert!(rows.into_iter().all(|row| row.unwrap_err().next == Next::Alone));
    }
}
