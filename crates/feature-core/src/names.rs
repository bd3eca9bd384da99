//! The names of features, many in one text.

use std::cmp::Ordering;
use std::fmt;

/// The names of a row's features, in the row's order. Rows of one read share it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FeatureNames {
    text: String,
    /// Where each name ends in `text`.
    ends: Vec<usize>,
}

impl FeatureNames {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        self.text.get(self.start(index)..end)
    }

    /// The names in `text`, each of which ends where `ends` says: at a character boundary.
    pub(crate) fn from_text(text: String, ends: Vec<usize>) -> Self {
        Self { text, ends }
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// The position of a name among sorted ones, or where it would be.
    pub(crate) fn search(&self, name: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).unwrap_or_default().cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    pub(crate) fn insert(&mut self, index: usize, name: &str) {
        let start = self.start(index);
        self.text.insert_str(start, name);
        self.ends.insert(index, start);
        self.ends[index..].iter_mut().for_each(|end| *end += name.len());
    }

    /// The names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// The position of a name, found by looking at each.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.iter().position(|own| own == name)
    }
}

impl<S: AsRef<str>> FromIterator<S> for FeatureNames {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let names = names.into_iter();
        let mut all = Self { text: String::new(), ends: Vec::with_capacity(names.size_hint().0) };
        names.for_each(|name| all.push(name.as_ref()));
        all
    }
}

impl fmt::Debug for FeatureNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
