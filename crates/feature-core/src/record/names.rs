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
        self.walk(low, |index, own| match own.cmp(name.as_bytes()) {
            // At the latest the first of the next group is greater.
            Ordering::Less => true,
            Ordering::Equal => {
                found = Some(index);
                false
            }
            Ordering::Greater => false,
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names section of 17 names: `a`, `aa`, … of which the last begins a group.
    fn section() -> Vec<u8> {
        let mut section = Vec::new();
        encode(&(1..=17).map(|length| "a".repeat(length)).collect(), &mut section).unwrap();
        section
    }

    /// With these bytes in their places, counted from the first name or, if negative, from the end.
    fn read(changes: &[(isize, u8)], appended: &[u8]) -> Result<usize> {
        let mut section = section();
        for (at, byte) in changes {
            let at = if *at < 0 { section.len() as isize + at } else { at + 8 };
            section[at as usize] = *byte;
        }
        section.extend_from_slice(appended);
        NamesView::new(&section, 17)?.all().map(|names| names.len())
    }

    #[test]
    fn names_that_no_record_has_are_refused() {
        assert_eq!(read(&[], &[]).unwrap(), 17);
        // A control byte `shared << 4 | own`, then the own bytes: `01 a`, `11 a`, `21 a`, …
        assert_eq!(section()[8..14], [0x01, b'a', 0x11, b'a', 0x21, b'a']);
        let long = 17 + 1;
        for (changes, appended, what) in [
            (&[(2, 0x21)][..], &[][..], "more in common than there is"),
            (&[(2, 0x01)], &[], "the same name twice"),
            (&[(1, b'b')], &[], "out of order"),
            (&[(-long - 1, 0x1f)], &[], "the first of a group with something in common"),
            (&[(-17, b'A')], &[], "a first of a group before the last of the other"),
            (&[(-long, 16)], &[], "a name that is cut off by its group's end"),
            (&[(-long, 18)], &[], "a name that is cut off"),
            (&[(-5, 7)], &[0], "bytes after the last name"),
            (&[(0, 0x02)], &[], "a group that is not where it should be"),
            (&[(-17, 0xff)], &[], "no UTF-8"),
        ] {
            assert!(read(changes, appended).is_err(), "{what}");
        }
    }

    #[test]
    fn a_name_longer_than_a_name_may_be_is_refused() {
        let mut section = Vec::new();
        let names = ["a".repeat(254), "a".repeat(255)];
        encode(&names.iter().collect(), &mut section).unwrap();
        assert_eq!(NamesView::new(&section, 2).unwrap().all().unwrap().len(), 2);
        // One byte of its own becomes two: 256 in all.
        let control = section.len() - 3;
        assert_eq!(section[control..], [0xf1, 254, b'a'][..]);
        section[control] = 0xf2;
        section.push(b'a');
        assert!(NamesView::new(&section, 2).unwrap().all().is_err());
    }
}
