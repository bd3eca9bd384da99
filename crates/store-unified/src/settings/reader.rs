//! Reads the tree, and gathers everything that is wrong with it: nothing here stops at the first mistake.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use feature_core::{Error, format_duration, parse_duration};

use super::env::{item_path, member_path};
use super::node::{Entry, Node, Position, Value, may_be_shown};
use super::problem::Sink;

/// A value with its path. What cannot be read is a problem, and `None`.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    path: String,
    node: &'a Node,
    sink: &'a Sink,
}

impl<'a> Field<'a> {
    pub(super) fn root(node: &'a Node, sink: &'a Sink) -> Self {
        Self { path: String::new(), node, sink }
    }

    /// The line that it stands in, from 1.
    pub fn line(&self) -> usize {
        self.node.at.line
    }

    /// Whether something has been wrong, here or anywhere in the file.
    pub(super) fn has_failed(&self) -> bool {
        !self.sink.is_empty()
    }

    /// Says that something is wrong with it.
    pub fn fail(&self, message: impl Into<String>) {
        self.sink.add(self.path.as_str(), self.node.at, message);
    }

    /// Says that something is wrong with a member, which need not be there.
    pub(super) fn member_fail(&self, key: &str, message: &str) {
        self.sink.add(member_path(&self.path, key), self.node.at, message);
    }

    /// Says that there is no such thing, and what there is.
    pub fn unknown(&self, what: &str, name: &str, known: &[&str]) {
        let hidden = matches!(self.node.value, Value::Concealed(_)) || !may_be_shown(name);
        self.fail(match hidden {
            false => format!("there is no {what} `{}`; {}", name.escape_debug(), hint(name, known)),
            true => format!("there is no such {what}"),
        });
    }

    /// The same, with what was expected and what is there.
    fn unexpected<T>(&self, expected: &str) -> Option<T> {
        if self.node.value != Value::Unreadable {
            self.fail(format!("expected {expected}, found {}", self.node.describe()));
        }
        None
    }

    /// A text.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) | Value::Concealed(text) => Some(text),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {
                self.unexpected("a text: put it in quotes")
            }
            _ => self.unexpected("a text"),
        }
    }

    /// A text that is not empty.
    pub fn name(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() { self.unexpected("a name") } else { Some(text) }
    }

    /// A text that something else can read, whose error may show it.
    pub fn parsed<T: FromStr<Err = Error>>(&self, expected: &str) -> Option<T> {
        match (self.text()?.parse(), &self.node.value) {
            (Ok(value), _) => Some(value),
            (Err(error), Value::Text(text)) if may_be_shown(text) => {
                self.fail(error.message());
                None
            }
            _ => self.unexpected(expected),
        }
    }

    /// True or false.
    pub fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::Concealed(text) if text == "true" || text == "false" => Some(text == "true"),
            _ => self.unexpected("true or false"),
        }
    }

    /// A whole number within a range.
    pub fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Concealed(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).or_else(|| {
            let expected = match (range.start(), *range.end()) {
                (start, u64::MAX) => format!("a whole number of at least {start}"),
                (start, end) => format!("a whole number from {start} to {end}"),
            };
            self.unexpected(&expected)
        })
    }

    /// The same, as a type that has room for the range.
    pub fn count<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        self.whole(range)?.try_into().ok()
    }

    /// A number within a range, whole or not.
    pub fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match &self.node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Concealed(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).or_else(|| {
            let (start, end) = (range.start(), range.end());
            let expected = match end.is_finite() {
                true => format!("a number from {start} to {end}"),
                false => format!("a number of at least {start}"),
            };
            self.unexpected(&expected)
        })
    }

    /// A duration with its unit.
    pub fn duration(&self) -> Option<Duration> {
        let parsed = match &self.node.value {
            Value::Text(text) | Value::Concealed(text) => parse_duration(text).ok(),
            _ => None,
        };
        parsed.or_else(|| {
            self.unexpected("a duration, which is a whole number and one of us, ms, s, m, h, d, such as 20ms")
        })
    }

    /// A duration within a range.
    pub fn duration_within(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.duration()?;
        if range.contains(&duration) {
            return Some(duration);
        }
        self.fail(match (*range.start(), *range.end()) {
            (start, Duration::MAX) if duration.is_zero() && start <= Duration::from_micros(1) => {
                "expected a duration above zero".to_owned()
            }
            (start, Duration::MAX) => format!("expected a duration of at least {}", format_duration(start)),
            (start, end) => {
                format!("expected a duration from {} to {}", format_duration(start), format_duration(end))
            }
        });
        None
    }

    /// A duration that is not zero.
    pub fn duration_above_zero(&self) -> Option<Duration> {
        self.duration_within(Duration::from_micros(1)..=Duration::MAX)
    }

    /// A duration, or a whole number of seconds: as the declaration of a feature view has it.
    pub fn seconds_or_duration(&self) -> Option<Duration> {
        match &self.node.value {
            Value::Integer(_) => self.whole(0..=u64::MAX).map(Duration::from_secs),
            _ => self.duration(),
        }
    }

    /// A size in bytes that is not zero: a whole number, with or without a unit.
    pub fn bytes_above_zero(&self) -> Option<u64> {
        let size = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) | Value::Concealed(text) => parse_bytes(text),
            _ => None,
        };
        size.filter(|size| *size > 0).or_else(|| {
            self.unexpected(
                "a size above zero, which is a whole number of bytes or one with KiB, MiB, GiB, KB, MB or GB, \
                 such as 64MiB",
            )
        })
    }

    /// A map with known keys.
    pub fn section(&self) -> Option<Section<'a>> {
        let Value::Map(entries) = &self.node.value else { return self.unexpected("a map") };
        let left = self.members(entries);
        Some(Section { field: self.clone(), left, known: Vec::new() })
    }

    /// A map whose keys are names of the user.
    pub fn entries(&self) -> Option<Vec<(&'a str, Field<'a>)>> {
        let Value::Map(entries) = &self.node.value else { return self.unexpected("a map") };
        Some(self.members(entries).into_iter().map(|(key, _, field)| (key, field)).collect())
    }

    /// A list.
    pub fn items(&self) -> Vec<Field<'a>> {
        let Value::List(items) = &self.node.value else {
            self.unexpected::<()>("a list");
            return Vec::new();
        };
        let item = |(at, node)| Field { path: item_path(&self.path, at), node, sink: self.sink };
        items.iter().enumerate().map(item).collect()
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Whether it is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Its text, if it is one; anything else is not a mistake.
    pub fn text_if_any(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) | Value::Concealed(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a text.
    pub fn is_text(&self) -> bool {
        // A text that could not be read is one, too.
        self.text_if_any().is_some() || self.node.value == Value::Unreadable
    }

    /// The members of a map, with where their keys stand. Of a key that is there twice the first counts.
    fn members(&self, entries: &'a [Entry]) -> Vec<(&'a str, Position, Field<'a>)> {
        let mut first = std::collections::HashMap::new();
        let mut members = Vec::with_capacity(entries.len());
        for Entry { key, at, value } in entries {
            let path = member_path(&self.path, key);
            match first.entry(key) {
                std::collections::hash_map::Entry::Occupied(line) => {
                    self.sink.add(
                        path,
                        *at,
                        format!("the key is there twice; the first is in line {}", line.get()),
                    );
                }
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(at.line);
                    members.push((key.as_str(), *at, Field { path, node: value, sink: self.sink }));
                }
            }
        }
        members
    }
}

/// A map with known keys, taken one by one; what is left at the end is a mistake.
#[derive(Debug)]
pub struct Section<'a> {
    field: Field<'a>,
    left: Vec<(&'a str, Position, Field<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The section as a value, for what is wrong with all of it.
    pub fn field(&self) -> &Field<'a> {
        &self.field
    }

    /// Takes a value, if it is there.
    pub fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let at = self.left.iter().position(|(own, ..)| *own == key)?;
        Some(self.left.remove(at).2)
    }

    /// Takes a value that must be there.
    pub fn need(&mut self, key: &'static str) -> Option<Field<'a>> {
        let taken = self.take(key);
        if taken.is_none() {
            self.field.sink.add(member_path(&self.field.path, key), self.field.node.at, "it is missing");
        }
        taken
    }

    /// Takes a value into a place that has a default.
    pub fn set<T>(&mut self, key: &'static str, place: &mut T, read: impl FnOnce(Field<'a>) -> Option<T>) {
        if let Some(value) = self.take(key).and_then(read) {
            *place = value;
        }
    }

    /// Says which keys are not known.
    pub fn finish(self) {
        for (key, at, field) in &self.left {
            let hint = hint(key, &self.known);
            field.sink.add(field.path.as_str(), *at, format!("unknown key; {hint}"));
        }
    }
}

/// What somebody may have meant.
fn hint(name: &str, known: &[&str]) -> String {
    let alike = known.iter().map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    match alike.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((alike, known)) if alike > 0.6 => format!("did you mean `{known}`?"),
        Some(_) => format!("known are {}", known.join(", ")),
        None => "there is none".to_owned(),
    }
}

/// A size such as `64MiB`.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(unit)
}
