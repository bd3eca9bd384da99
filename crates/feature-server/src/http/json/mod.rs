//! Bodies in JSON, read and written without a tree between.

mod decode;
pub(crate) mod encode;
mod entities;
mod value;
mod write;

pub(crate) use decode::{DeleteSeed, ReadBody, ReadOptions, ReadSeed};
pub(crate) use entities::Text;
pub(crate) use value::Bounded;
pub(crate) use write::WriteSeed;

use feature_core::Error;
use serde::de::DeserializeSeed;

use crate::calls::{Cause, Refusal, limit_of};

/// How much a body may hold, and how much it has been found to hold.
pub(crate) struct Bounds {
    rows: usize,
    cells: usize,
    cells_seen: std::cell::Cell<usize>,
    beyond: std::cell::RefCell<Option<Refusal>>,
}

impl Bounds {
    pub(crate) fn new(limits: &crate::settings::Limits) -> Self {
        Self {
            rows: limits.rows,
            cells: limits.cells,
            cells_seen: std::cell::Cell::new(0),
            beyond: std::cell::RefCell::new(None),
        }
    }

    /// So many rows are there.
    fn rows<E: serde::de::Error>(&self, rows: usize) -> Result<(), E> {
        self.check(limit_of("the request", rows, self.rows, "rows or more (limits.rows)"))
    }

    /// One more value is there.
    fn cell<E: serde::de::Error>(&self) -> Result<(), E> {
        let seen = self.cells_seen.get() + 1;
        self.cells_seen.set(seen);
        if seen <= self.cells {
            return Ok(());
        }
        self.check(limit_of("the request", seen, self.cells, "values or more (limits.cells)"))
    }

    fn check<E: serde::de::Error>(&self, within: Result<(), Refusal>) -> Result<(), E> {
        within.map_err(|refusal| {
            self.beyond.borrow_mut().get_or_insert(refusal);
            E::custom("beyond a limit")
        })
    }
}

/// Reads a body.
///
/// # Errors
/// `InvalidArgument` that says where the body is not what it should be; `LimitExceeded`.
pub(crate) fn read<'a, S: DeserializeSeed<'a>>(
    body: &'a [u8],
    bounds: &Bounds,
    seed: S,
) -> Result<S::Value, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| match bounds.beyond.borrow_mut().take() {
        Some(refusal) => refusal,
        None => {
            let message = format!("the body is not what it should be: {error}");
            Refusal::new(Cause::Malformed(offset(body, &error)), Error::invalid_argument(message))
        }
    })
}

/// Where in the body an error is.
fn offset(body: &[u8], error: &serde_json::Error) -> usize {
    let lines = body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1));
    lines.map(<[u8]>::len).sum::<usize>() + error.column()
}

/// A key that no object like this has.
fn unknown_key<E: serde::de::Error>(key: &str, known: &'static [&'static str]) -> E {
    // As serde says it, with what there is.
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    E::custom(format!("unknown key `{}`, expected {}", crate::calls::shown(key), known.join(", ")))
}
