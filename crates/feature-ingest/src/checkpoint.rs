//! Up to where everything has been written, so that a load can go on from there.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::error::{IngestError, Result};
use crate::input::Input;
use crate::progress::lock;

/// Up to where all rows of a load have been written or rejected. Some of those behind may have been too:
/// writing them again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The inputs, by name and bytes.
    inputs: Vec<(String, Option<u64>)>,
    at: Position,
}

/// A place in the inputs: so many of them are done, and so many rows of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) inputs: usize,
    pub(crate) rows: u64,
}

impl Checkpoint {
    pub(crate) fn new(inputs: &[Input], at: Position) -> Self {
        Self { inputs: inputs.iter().map(|input| (input.name().to_owned(), input.bytes())).collect(), at }
    }

    /// Where to go on, if the inputs are still the same.
    pub(crate) fn position(&self, inputs: &[Input]) -> Result<Position> {
        if let Some(once) = inputs.iter().find(|input| input.is_once()) {
            return Err(IngestError::Request(format!(
                "{} cannot be read from where a load stopped",
                once.name()
            )));
        }
        let mut pairs = self.inputs.iter().zip(inputs);
        let same = self.inputs.len() == inputs.len()
            && pairs.all(|((name, bytes), input)| name == input.name() && *bytes == input.bytes());
        match same {
            true => Ok(self.at),
            false => Err(IngestError::Request(
                "the files are not those of the load that stopped: other names, or other sizes".to_owned(),
            )),
        }
    }
}

/// Which batches of the workers are still on their way.
pub(crate) struct Marks {
    /// For each worker the position before the first row of each of its batches.
    pending: Vec<Mutex<VecDeque<Position>>>,
    /// What has been handed to the workers.
    handed_out: Mutex<Position>,
}

impl Marks {
    pub(crate) fn new(workers: usize, start: Position) -> Self {
        Self { pending: (0..workers).map(|_| Mutex::default()).collect(), handed_out: Mutex::new(start) }
    }

    /// A batch of a worker begins behind this position.
    pub(crate) fn begin(&self, worker: usize, before: Position) {
        lock(&self.pending[worker]).push_back(before);
    }

    /// The first batch of a worker is done with.
    pub(crate) fn finish(&self, worker: usize) {
        lock(&self.pending[worker]).pop_front();
    }

    /// All rows up to here are with the workers, or done with.
    pub(crate) fn hand_out(&self, up_to: Position) {
        *lock(&self.handed_out) = up_to;
    }

    /// Up to where everything is done with.
    pub(crate) fn done(&self) -> Position {
        // First this: a row that is handed out meanwhile lies behind it.
        let handed_out = *lock(&self.handed_out);
        let first = self.pending.iter().filter_map(|worker| lock(worker).front().copied()).min();
        first.map_or(handed_out, |first| first.min(handed_out))
    }
}
