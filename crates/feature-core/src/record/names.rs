//! The names section: feature names, sorted, with shared beginnings written once.

use std::cmp::Ordering;

use super::{GROUP, MAX_FEATURE_NAME_BYTES, damaged};
use crate::error::{Error, Result};
use crate::names::FeatureNames;

/// Appends the names section.
pub(super) fn encode(names: &FeatureNames, out: &mut Vec<u8>) -> Result<()> {
    let offsets = out.len();
    let start = offsets + names.len().div_ceil(GROUP) * 4;
    out.resize(start, 0);
    let mut last: &str = "";
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(Error::invalid_argument("a feature has an empty name"));
        }
        if name.len() > MAX_FEATURE_NAME_BYTES {
            return Err(Error::limit_exceeded(
                &format!("the name of the feature `{}…`", name.chars().take(40).collect::<String>()),
                name.len() as u64,
                MAX_FEATURE_NAME_BYTES as u64,
                "bytes",
            ));
        }
        if *name <= *last {
            return Err(Error::invalid_argument(format!(
                "the features `{last}` and `{name}` are out of order"
            )));
        }
        let shared = if index % GROUP == 0 {
            let at = offsets + index / GROUP * 4;
            let offset = (out.len() - start) as u32;
            out[at..at + 4].copy_from_slice(&offset.to_be_bytes());
            0
        } else {
            name.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count()
        };
        let rest = &name.as_bytes()[shared..];
        // Both fit a byte: names have at most 255 of them.
        let nibble = |n: usize| n.min(15) as u8;
        out.push(nibble(shared) << 4 | nibble(rest.len()));
        out.extend([shared, rest.len()].into_iter().filter(|n| *n >= 15).map(|n| n as u8));
        out.extend(rest);
        last = name;
    }
    Ok(())
}

/// A names section, read in place.
#[derive(Clone, Copy)]
pub(super) struct NamesView<'a> {
    offsets: &'a [u8],
    names: &'a [u8],
    count: usize,
}

impl<'a> NamesView<'a> {
    pub(super) fn new(section: &'a [u8], count: usize) -> Result<Self> {
        let (offsets, names) = section
            .split_at_checked(count.div_ceil(GROUP) * 4)
            .ok_or_else(|| damaged("the names are cut off"))?;
        // A name takes two bytes at least: nobody makes us reserve memory for names that are not there.
        if names.len() < count * 2 {
            return Err(damaged("there are fewer names than features"));
        }
        Ok(Self { offsets, names, count })
    }

    /// Calls `visit` with each name from the beginning of a group on, until it gives false.
    fn walk(&self, from_group: usize, mut visit: impl FnMut(usize, &[u8]) -> bool) -> Result<()> {
        let cut_off = || damaged("the names are cut off");
        let out_of_order = || damaged("the names are out of order");
        let mut buffer = [0u8; MAX_FEATURE_NAME_BYTES];
        let mut length = 0;
        let mut rest = self.names.get(self.offset(from_group)?..).ok_or_else(cut_off)?;
        for index in from_group * GROUP..self.count {
            let restart = index % GROUP == 0;
            if restart && self.offset(index / GROUP)? != self.names.len() - rest.len() {
                return Err(damaged("a group of names is not where it should be"));
            }
            let (&control, mut tail) = rest.split_first().ok_or_else(cut_off)?;
            let mut number = |nibble: u8| {
                if nibble < 15 {
                    return Ok(usize::from(nibble));
                }
                let (&byte, after) = tail.split_first().ok_or_else(cut_off)?;
                tail = after;
                Ok(usize::from(byte))
            };
            let (shared, own) = (number(control >> 4)?, number(control & 15)?);
            let (bytes, after) = tail.split_at_checked(own).ok_or_else(cut_off)?;
            if shared > length || (restart && shared > 0) || *bytes <= buffer[shared..length] {
                return Err(out_of_order());
            }
            buffer.get_mut(shared..shared + own).ok_or_else(out_of_order)?.copy_from_slice(bytes);
            length = shared + own;
            rest = after;
            if !visit(index, &buffer[..length]) {
                return Ok(());
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(damaged("bytes follow the last name")) }
    }

    fn offset(&self, group: usize) -> Result<usize> {
        if self.count == 0 {
            return Ok(0);
        }
        let bytes = self.offsets.get(group * 4..group * 4 + 4).and_then(|b| b.first_chunk::<4>());
        bytes.map(|b| u32::from_be_bytes(*b) as usize).ok_or_else(|| damaged("a group of names is missing"))
    }

    /// All names.
    pub(super) fn all(&self) -> Result<FeatureNames> {
        let mut text = Vec::with_capacity(self.names.len() * 2);
        let mut ends = Vec::with_capacity(self.count);
        self.walk(0, |_, name| {
            text.extend_from_slice(name);
            ends.push(text.len());
            true
        })?;
        let text = String::from_utf8(text).map_err(|_| damaged("a name is not UTF-8"))?;
        if ends.iter().any(|end| !text.is_char_boundary(*end)) {
            return Err(damaged("a name is not UTF-8"));
        }
        Ok(FeatureNames::from_text(text, ends))
    }

    /// Where the feature of this name stands: a binary search over the groups, then a walk in one.
    pub(super) fn find(&self, name: &str) -> Result<Option<usize>> {
        if self.count == 0 {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.count.div_ceil(GROUP));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut first_is_beyond = false;
            self.walk(middle, |_, first| {
                first_is_beyond = first > name.as_bytes();
                false
            })?;
            if first_is_beyond { high = middle } else { low = middle }
        }
        let mut found = None;
        let end = (low + 1) * GROUP;
        self.walk(low, |index, own| match own.cmp(name.as_bytes()) {
            Ordering::Less => index + 1 < end,
            Ordering::Equal => {
                found = Some(index);
                false
            }
            Ordering::Greater => false,
        })?;
        Ok(found)
    }
}
