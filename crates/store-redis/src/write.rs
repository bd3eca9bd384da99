//! Conditional writes, by a script: what it compares, what it writes and the time to live are one step.

use std::sync::LazyLock;
use std::time::Duration;

use feature_core::{Precondition, PutOutcome, RecordPut};
use redis::{Cmd, Script, Value};

use crate::error::Failure;
use crate::key;
use crate::read::record;
use crate::request::{Command, Operation};

const CODE: &str = include_str!("put.lua");

/// The name under which a server knows the script.
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(CODE).get_hash().to_owned());

/// Writes records.
pub(crate) struct Put {
    puts: Vec<RecordPut>,
    keys: Vec<String>,
}

impl Put {
    pub(crate) fn new(prefix: &str, puts: Vec<RecordPut>) -> Self {
        let keys = puts.iter().map(|put| key::encode(prefix, &put.key)).collect();
        Self { puts, keys }
    }

    fn command(&self, (when, ttl): (&str, u64), rows: Vec<usize>) -> Command {
        let bytes = rows.iter().map(|row| self.keys[*row].len() + self.weight(*row)).sum::<usize>();
        let mut cmd = Cmd::with_capacity(rows.len() * 3 + 5, bytes + 128);
        cmd.arg("EVALSHA").arg(HASH.as_str()).arg(rows.len());
        for row in &rows {
            cmd.arg(self.keys[*row].as_bytes());
        }
        cmd.arg(when).arg(ttl);
        for row in &rows {
            let put = &self.puts[*row];
            cmd.arg(&put.bytes[..]);
            if let Precondition::Unchanged(Some(old)) = &put.precondition {
                cmd.arg(&old.bytes[..]);
            }
        }
        Command { commands: vec![cmd], rows }
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
        let old = match &put.precondition {
            Precondition::Unchanged(Some(old)) => old.bytes.len(),
            _ => 0,
        };
        put.bytes.len() + old
    }

    fn commands(&self, rows: &[usize], alone: bool) -> Vec<Command> {
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
        calls.into_iter().map(|(kind, rows)| self.command(kind, rows)).collect()
    }

    fn answers(
        &self,
        rows: &[usize],
        replies: &mut dyn Iterator<Item = Value>,
        server: &str,
    ) -> Vec<Result<PutOutcome, Failure>> {
        match replies.next() {
            Some(Value::Int(1)) => rows.iter().map(|_| Ok(PutOutcome::Stored)).collect(),
            Some(Value::Array(answers)) if answers.len() == rows.len() => {
                let outcome = |answer| match answer {
                    Value::Int(1) => Ok(PutOutcome::Stored),
                    answer => record(answer, server).map(PutOutcome::Refused),
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
