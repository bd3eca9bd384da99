//! Filters: what a stored record must be for a write to happen. The server judges them atomically with the
//! write, and does not ask them about a record that does not exist.
//!
//! The client would build a filter as a tree and encode it again for each row, which takes longer than
//! everything else about the row. So each kind of filter is encoded once, with holes where a row has bytes of
//! its own.

use std::ops::Range;

use aerospike::expressions::{
    Expression, and, bitwise, blob_bin, blob_val, from_packed_bytes, ge, int_val, le, lt,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use feature_core::{Error, ErrorKind, Result};

use crate::value::{BIN, ORDER_BYTES, STATE_BYTES, TIME_BYTES};

/// The kinds of filters.
#[derive(Debug)]
pub(crate) struct Filters {
    same_shape: Template,
    not_newer: Template,
    state: Template,
}

impl Filters {
    pub(crate) fn new() -> Result<Self> {
        let value = || blob_bin(BIN);
        // As a value begins with shape and time, to have a shape and not be newer is to be between two
        // texts of bytes; so is to begin with certain ones. That is cheaper than to cut out bytes.
        let between = |low, high| {
            let bounds = vec![ge(value(), blob_val(hole(low))), lt(value(), blob_val(hole(high)))];
            Template::new(&and(bounds), &[low, high])
        };
        let bits = |bytes: usize| int_val(bytes as i64 * 8);
        let time = bitwise::get(bits(TIME_BYTES.start), bits(TIME_BYTES.len()), value());
        Ok(Self {
            same_shape: between(TIME_BYTES.start, ORDER_BYTES + 1)?,
            not_newer: Template::new(&le(time, blob_val(hole(TIME_BYTES.len()))), &[TIME_BYTES.len()])?,
            state: between(STATE_BYTES, STATE_BYTES)?,
        })
    }

    /// The stored value has this order's shape and is not newer.
    pub(crate) fn same_shape(&self, order: &[u8; ORDER_BYTES]) -> Expression {
        // No record begins with the byte 255, so this is more than any value of this order, and less than
        // any of the next.
        let mut high = [u8::MAX; ORDER_BYTES + 1];
        high[..ORDER_BYTES].copy_from_slice(order);
        self.same_shape.fill(&[&order[..TIME_BYTES.start], &high])
    }

    /// The stored value is not newer than this order, whatever its shape.
    pub(crate) fn not_newer(&self, order: &[u8; ORDER_BYTES]) -> Expression {
        self.not_newer.fill(&[&order[TIME_BYTES]])
    }

    /// The stored value begins with this.
    pub(crate) fn state(&self, state: &[u8; STATE_BYTES]) -> Expression {
        let mut next = *state;
        for byte in next.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            // The version of the record's format, which is among them, is never 255: it does not overflow.
            if *byte != 0 {
                break;
            }
        }
        self.state.fill(&[state, &next])
    }
}

/// An encoded filter with holes.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    holes: Vec<Range<usize>>,
}

const HOLE: u8 = 0xa5;

fn hole(bytes: usize) -> Vec<u8> {
    vec![HOLE; bytes]
}

impl Template {
    /// `lengths` are those of the filter's holes, in their order.
    fn new(filter: &Expression, lengths: &[usize]) -> Result<Self> {
        let defect = || Error::new(ErrorKind::Internal, "the client encodes filters in an unknown way");
        let encoded = filter.base64().map_err(|_| defect())?;
        let bytes = STANDARD.decode(encoded).map_err(|_| defect())?;
        let mut holes = Vec::new();
        let mut from = 0;
        for length in lengths {
            let rest = bytes[from..].windows(*length);
            let at = rest.into_iter().position(|bytes| bytes.iter().all(|byte| *byte == HOLE));
            let start = from + at.ok_or_else(defect)?;
            from = start + length;
            holes.push(start..from);
        }
        Ok(Self { bytes, holes })
    }

    fn fill(&self, parts: &[&[u8]]) -> Expression {
        let mut bytes = self.bytes.clone();
        for (hole, part) in self.holes.iter().zip(parts) {
            bytes[hole.clone()].copy_from_slice(part);
        }
        from_packed_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_template_is_the_filter_that_the_client_would_encode() {
        let filters = Filters::new().unwrap();
        let order: [u8; ORDER_BYTES] = std::array::from_fn(|at| at as u8);
        let high = [&order[..], &[255]].concat();
        let value = || blob_bin(BIN);
        let expected = and(vec![ge(value(), blob_val(order[..8].to_vec())), lt(value(), blob_val(high))]);
        assert_eq!(filters.same_shape(&order).base64().unwrap(), expected.base64().unwrap());

        let time = bitwise::get(int_val(64), int_val(64), value());
        let expected = le(time, blob_val(order[8..].to_vec()));
        assert_eq!(filters.not_newer(&order).base64().unwrap(), expected.base64().unwrap());

        let mut state = [7; STATE_BYTES];
        state[STATE_BYTES - 2..].copy_from_slice(&[8, 255]);
        let mut next = state;
        next[STATE_BYTES - 2..].copy_from_slice(&[9, 0]);
        let bounds = vec![ge(value(), blob_val(state.to_vec())), lt(value(), blob_val(next.to_vec()))];
        assert_eq!(filters.state(&state).base64().unwrap(), and(bounds).base64().unwrap());
    }
}
