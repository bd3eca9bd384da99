//! Point reads and deletes.

use bytes::Bytes;
use feature_core::{RecordKey, VersionedRecord};
use redis::{Cmd, Value};

use crate::error::{Failure, from_reply, from_server};
use crate::key;
use crate::request::{Command, Operation};

/// Reads records.
pub(crate) struct Get(Vec<String>);

impl Get {
    pub(crate) fn new(prefix: &str, keys: &[RecordKey]) -> Self {
        Self(keys.iter().map(|key| key::encode(prefix, key)).collect())
    }

    fn multi(&self, command: &str, rows: &[usize]) -> Cmd {
        let bytes = rows.iter().map(|row| self.0[*row].len()).sum::<usize>();
        let mut cmd = Cmd::with_capacity(rows.len() + 1, bytes + command.len());
        cmd.arg(command);
        for row in rows {
            cmd.arg(self.0[*row].as_bytes());
        }
        cmd
    }
}

impl Operation for Get {
    type Answer = Option<VersionedRecord>;

    const WRITES: bool = false;

    fn key(&self, row: usize) -> &[u8] {
        self.0[row].as_bytes()
    }

    fn commands(&self, rows: &[usize], alone: bool) -> Vec<Command> {
        if alone || rows.len() == 1 {
            let one = |row: &usize| Command { commands: vec![self.multi("GET", &[*row])], rows: vec![*row] };
            return rows.iter().map(one).collect();
        }
        // MGET reports a key of another type as missing. The number of keys that exist tells whether there is
        // one.
        let commands = vec![self.multi("MGET", rows), self.multi("EXISTS", rows)];
        vec![Command { commands, rows: rows.to_vec() }]
    }

    fn answers(
        &self,
        rows: &[usize],
        replies: &mut dyn Iterator<Item = Value>,
        server: &str,
    ) -> Vec<Result<Self::Answer, Failure>> {
        match (replies.next(), replies.next()) {
            (Some(Value::Array(values)), Some(Value::Int(exist))) if values.len() == rows.len() => {
                let found = values.iter().filter(|value| **value != Value::Nil).count();
                let suspicious = exist > found as i64;
                let row = |value| match record(value, server) {
                    Ok(None) if suspicious => Err(Failure::unclear(server)),
                    row => row,
                };
                values.into_iter().map(row).collect()
            }
            (Some(value), None) if rows.len() == 1 => vec![record(value, server)],
            _ => rows.iter().map(|_| Err(Failure::garbled(server))).collect(),
        }
    }
}

/// The record in a reply. Its version is its bytes.
pub(crate) fn record(value: Value, server: &str) -> Result<Option<VersionedRecord>, Failure> {
    match value {
        Value::BulkString(bytes) => Ok(Some(VersionedRecord { bytes: Bytes::from(bytes), version: 0 })),
        Value::Nil => Ok(None),
        Value::ServerError(error) => Err(from_server(&error, server)),
        // How a script passes on the error of one key.
        Value::SimpleString(error) => {
            let (code, details) = error.split_once(' ').unwrap_or((&error, ""));
            Err(from_reply(code, details, server))
        }
        _ => Err(Failure::garbled(server)),
    }
}

/// Removes records.
pub(crate) struct Delete(Vec<String>);

impl Delete {
    pub(crate) fn new(prefix: &str, keys: &[RecordKey]) -> Self {
        Self(keys.iter().map(|key| key::encode(prefix, key)).collect())
    }
}

impl Operation for Delete {
    type Answer = bool;

    const WRITES: bool = true;

    fn key(&self, row: usize) -> &[u8] {
        self.0[row].as_bytes()
    }

    fn commands(&self, rows: &[usize], _: bool) -> Vec<Command> {
        let one = |row: &usize| {
            let mut unlink = Cmd::new();
            unlink.arg("UNLINK").arg(self.0[*row].as_bytes());
            Command { commands: vec![unlink], rows: vec![*row] }
        };
        rows.iter().map(one).collect()
    }

    fn answers(
        &self,
        _: &[usize],
        replies: &mut dyn Iterator<Item = Value>,
        server: &str,
    ) -> Vec<Result<bool, Failure>> {
        vec![match replies.next() {
            Some(Value::Int(removed)) => Ok(removed > 0),
            _ => Err(Failure::garbled(server)),
        }]
    }
}
