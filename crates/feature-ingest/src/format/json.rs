//! JSON: an object a line, or an array of objects.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufReader, Read};
use std::sync::Arc;

use feature_core::{Features, ValueType};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lines::{InChunks, Rows, read_line};
use super::{Reading, SAMPLE_BYTES, Source};
use crate::error::Result;
use crate::input::{Count, Input, Stream};
use crate::layout::{At, From, Layout};
use crate::mapping::Mapping;
use crate::options::Decimals;
use crate::row::{Cell, Chunks, Reject, Row};
use crate::schema::{Kind, SourceColumn, TimeKind};
use crate::text::{is_exact_float, json_in};
use crate::time::{Instant, NEEDS_UNIT};

/// How much of a line that cannot be read the rejects repeat, in characters.
const EXCERPT: usize = 1000;
/// How many rows are looked at to say what the columns are.
const SAMPLE_ROWS: usize = 1000;

type Reader = BufReader<Box<dyn Read + Send>>;

struct JsonSource {
    texts: Texts,
    /// Rows already read.
    sample: VecDeque<Vec<u8>>,
    mapping: Arc<Mapping>,
}

pub(super) fn open(
    input: &Input,
    stream: Stream,
    mapping: &Arc<Mapping>,
    options: &Reading,
) -> Result<Box<dyn Source>> {
    let mut texts = Texts::new(stream, options.row_bytes);
    texts.begin().map_err(|e| input.unreadable(e))?;
    let mut sample = VecDeque::new();
    let (mut text, mut bytes) = (Vec::new(), 0);
    // What cannot be read on is said when the rows are.
    while sample.len() < SAMPLE_ROWS && bytes < SAMPLE_BYTES && matches!(texts.next(&mut text), Ok(true)) {
        bytes += text.len();
        sample.push_back(text.clone());
    }
    Ok(Box::new(JsonSource { texts, sample, mapping: Arc::clone(mapping) }))
}

impl Source for JsonSource {
    fn columns(&self) -> Vec<SourceColumn> {
        let mut types: BTreeMap<String, Vec<Option<ValueType>>> = BTreeMap::new();
        for text in &self.sample {
            let Ok(members) = serde_json::from_slice::<Members<'_>>(text) else { continue };
            for (name, raw) in members.0 {
                let own = value(raw, None, &self.mapping).ok().and_then(|value| value.value_type());
                let types = types.entry(name.into_owned()).or_default();
                if !types.contains(&own) {
                    types.push(own);
                }
            }
        }
        let column = |(name, types): (String, Vec<Option<ValueType>>)| {
            let some: Vec<_> = types.into_iter().flatten().collect();
            let found = match &some[..] {
                [] => "null".to_owned(),
                types => types.iter().map(|t| t.name()).collect::<Vec<_>>().join(" or "),
            };
            let feature = Ok(some.first().copied().filter(|_| some.len() == 1));
            SourceColumn {
                name,
                found,
                kind: Kind::Typed { feature, no_entity: None, time: TimeKind::Time, as_text: true },
            }
        };
        types.into_iter().map(column).collect()
    }

    fn has_fixed_columns(&self) -> bool {
        false
    }

    fn rows(self: Box<Self>, layout: Layout, mapping: Arc<Mapping>, skip: u64) -> Result<Chunks, String> {
        let Self { texts, sample, .. } = *self;
        let rows =
            JsonRows { texts, sample, layout, mapping, names: HashMap::new(), text: Vec::new(), number: 0 };
        Ok(Box::new(InChunks::new(rows, skip)))
    }
}

/// An object's members as they are written, borrowed where nothing is escaped.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some((Name(name), raw)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct JsonRows {
    texts: Texts,
    sample: VecDeque<Vec<u8>>,
    /// Has what folders give; the rest is found by name.
    layout: Layout,
    mapping: Arc<Mapping>,
    /// The features' names, shared by all rows.
    names: HashMap<String, Arc<str>>,
    text: Vec<u8>,
    number: u64,
}

impl Rows for JsonRows {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        let mut text = std::mem::take(&mut self.text);
        let more = match self.sample.pop_front() {
            Some(sampled) => {
                text = sampled;
                true
            }
            None => self.texts.next(&mut text)?,
        };
        let row = more.then(|| {
            self.number += 1;
            self.row(&text)
        });
        self.text = text;
        Ok(row)
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn bytes(&self) -> u64 {
        self.texts.count.read()
    }
}

impl JsonRows {
    fn row(&mut self, text: &[u8]) -> Row {
        let number = self.number;
        let excerpt = || {
            String::from_utf8_lossy(&text[..text.len().min(4 * EXCERPT)])
                .chars()
                .take(EXCERPT)
                .collect::<String>()
        };
        let reject = |reason: String| Reject::new(number, reason).with_content(excerpt());
        let longest = self.texts.longest;
        if text.len() > longest {
            return Err(reject(format!("the line is longer than {longest} bytes")));
        }
        let members: Members<'_> = match serde_json::from_slice(text) {
            Ok(members) => members,
            Err(e) if e.is_data() => return Err(reject("the line is not a JSON object".to_owned())),
            Err(e) => return Err(reject(format!("the line is not JSON: {e}"))),
        };
        let Self { mapping, names, layout, .. } = self;
        // Of a name that an object has twice the later value counts.
        let find = |name: &str| members.0.iter().rev().find(|(own, _)| own == name).map(|(_, raw)| *raw);
        let mut wrong = Vec::new();
        let mut cells = Vec::with_capacity(members.0.len());
        let constant =
            |name: &str| layout.features.iter().any(|f| &*f.name == name && matches!(f.from, From::Value(_)));
        for (name, raw) in members.0.iter().filter(|(name, _)| mapping.is_feature(name) && !constant(name)) {
            match value(raw, mapping.declared(name), mapping) {
                Ok(value) => cells.push((shared(names, name), value)),
                Err(why) => wrong.push(format!("feature `{name}`: {why}")),
            }
        }
        for feature in &layout.features {
            if let From::Value(value) = &feature.from {
                cells.push((Arc::clone(&feature.name), value.clone()));
            }
        }
        let features = if wrong.is_empty() {
            Ok(cells.into_iter().collect::<Features>())
        } else {
            Err(wrong.join("; "))
        };
        let time = mapping.timestamp.as_ref().map(|name| match &layout.timestamp {
            Some(At::Constant(text)) => mapping.instant_of_text(text.as_deref()),
            _ => instant(find(name), mapping),
        });
        let entity = layout.entity.iter().zip(&mapping.entity).map(|(at, name)| match at {
            At::Constant(text) => Ok(text.as_deref().map(Cow::Borrowed)),
            At::Column(_) => find(name).map_or(Ok(None), as_key),
        });
        mapping.row(number, entity, time, features).map_err(|reject| reject.with_content(excerpt()))
    }
}

/// The name, shared with the rows before.
fn shared(names: &mut HashMap<String, Arc<str>>, name: &str) -> Arc<str> {
    if let Some(shared) = names.get(name) {
        return Arc::clone(shared);
    }
    let shared: Arc<str> = name.into();
    // A file whose every line has new names must not fill the memory with them.
    if names.len() < 10_000 {
        names.insert(name.to_owned(), Arc::clone(&shared));
    }
    shared
}

/// The value of an entity's column: text, or an integer of any size.
fn as_key(raw: &RawValue) -> Result<Option<Cow<'_, str>>, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => {
            let Name(text) = serde_json::from_str(text).map_err(|e| e.to_string())?;
            Ok(Some(text))
        }
        Some(b'-' | b'0'..=b'9') if !text.contains(['.', 'e', 'E']) => Ok(Some(Cow::Borrowed(text))),
        _ => {
            Err(format!("it is neither text nor an integer: `{}`", text.chars().take(60).collect::<String>()))
        }
    }
}

/// The value of a feature. A number that would lose digits has none, unless it was asked for.
fn value(raw: &RawValue, declared: Option<ValueType>, mapping: &Mapping) -> Cell {
    let text = raw.get();
    if declared.is_none() && matches!(text.as_bytes().first(), Some(b'-' | b'0'..=b'9')) {
        let integer = !text.contains(['.', 'e', 'E']);
        if integer && let Ok(value) = text.parse::<i64>() {
            return Ok(value.into());
        }
        return match mapping.decimals {
            Decimals::String => Ok(text.into()),
            Decimals::Exact if integer => Err(format!(
                "{text} is beyond the range of int64; declare the feature as a string in a feature view, or have decimals as strings"
            )),
            Decimals::Exact if !is_exact_float(text) => Err(format!(
                "{text} has more digits than float64 holds; declare the feature's type in a feature view, or have \
                 decimals as float64 or strings"
            )),
            _ => text.parse::<f64>().map(Into::into).map_err(|e| e.to_string()),
        };
    }
    if declared == Some(ValueType::String) && matches!(text.as_bytes().first(), Some(b'-' | b'0'..=b'9')) {
        return Ok(text.into());
    }
    let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    json_in(&json, declared, &mapping.zone).map_err(|e| e.message().to_owned())
}

/// The event time that a value means.
fn instant(raw: Option<&RawValue>, mapping: &Mapping) -> Result<Instant, String> {
    let text = raw.map_or("null", RawValue::get);
    match text.as_bytes().first() {
        Some(b'n') => mapping.instant_of_text(None),
        Some(b'"') => {
            let Name(text) = serde_json::from_str(text).map_err(|e| e.to_string())?;
            mapping.instant_of_text(Some(&text))
        }
        Some(b'-' | b'0'..=b'9') => {
            let unit = mapping.unit.ok_or(NEEDS_UNIT)?;
            unit.instant_of_text(text).unwrap_or_else(|| Err(format!("`{text}` is not a time")))
        }
        _ => Err("it is neither a time, RFC 3339 text nor a number".to_owned()),
    }
}

/// The texts of the objects, one by one: lines, or the elements of an array.
struct Texts {
    reader: Reader,
    count: Count,
    /// Whether it is an array, once that is known.
    array: Option<bool>,
    scan: Scan,
    /// How many bytes a line or an element may have.
    longest: usize,
}

/// Where in an array the reading is.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    ended: bool,
}

impl Texts {
    fn new(stream: Stream, longest: usize) -> Self {
        Self { reader: stream.reader, count: stream.count, array: None, scan: Scan::default(), longest }
    }

    /// Finds out whether it is an array.
    fn begin(&mut self) -> std::io::Result<()> {
        use std::io::BufRead;
        let mut first = true;
        let array = loop {
            let buffer = self.reader.fill_buf()?;
            let bom = if first && buffer.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            first = false;
            let blank = buffer[bom..].iter().take_while(|b| b.is_ascii_whitespace()).count();
            let (all, next) = (buffer.len(), buffer.get(bom + blank).copied());
            match next {
                Some(next) => {
                    let array = next == b'[';
                    self.reader.consume(bom + blank + usize::from(array));
                    break array;
                }
                None if all == 0 => break false,
                None => self.reader.consume(all),
            }
        };
        self.array = Some(array);
        Ok(())
    }

    /// The next text that is not empty; false at the end.
    fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, String> {
        if self.array == Some(true) {
            return self.scan.element(&mut self.reader, self.longest, text);
        }
        loop {
            if !read_line(&mut self.reader, self.longest, text).map_err(|e| e.to_string())? {
                return Ok(false);
            }
            if !text.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

impl Scan {
    /// The next element of an array, whose bracket has been read.
    fn element(&mut self, reader: &mut Reader, longest: usize, text: &mut Vec<u8>) -> Result<bool, String> {
        use std::io::BufRead;
        text.clear();
        loop {
            let buffer = match reader.fill_buf() {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(|e| e.to_string())?,
            };
            if buffer.is_empty() {
                return if self.ended { Ok(false) } else { Err("the array has no end".to_owned()) };
            }
            let mut used = 0;
            let mut complete = false;
            for byte in buffer {
                used += 1;
                if self.ended {
                    if !byte.is_ascii_whitespace() {
                        return Err("there is something after the array".to_owned());
                    }
                    continue;
                }
                if self.in_string {
                    match byte {
                        _ if self.escaped => self.escaped = false,
                        b'\\' => self.escaped = true,
                        b'"' => self.in_string = false,
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => self.in_string = true,
                        b'{' | b'[' => self.depth += 1,
                        b']' if self.depth == 0 => self.ended = true,
                        b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                }
                complete = self.ended || (*byte == b',' && self.depth == 0 && !self.in_string);
                if complete {
                    break;
                }
                text.push(*byte);
            }
            reader.consume(used);
            if text.len() > longest {
                return Err(format!("an element is longer than {longest} bytes"));
            }
            if complete && !text.trim_ascii().is_empty() {
                return Ok(true);
            }
            if complete && !self.ended {
                return Err("an element of the array is empty".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(content: &'static str) -> Result<Vec<String>, String> {
        let stream = Stream::new(Box::new(content.as_bytes())).unwrap();
        let mut texts = Texts::new(stream, 100);
        texts.begin().unwrap();
        let (mut all, mut text) = (Vec::new(), Vec::new());
        while texts.next(&mut text)? {
            all.push(String::from_utf8_lossy(text.trim_ascii()).into_owned());
        }
        Ok(all)
    }

    #[test]
    fn an_array_gives_its_elements_and_lines_give_themselves() {
        let array = "\u{feff} [ {\"a\": [1, 2]},\n{\"b\": \"},]\\\"\"} , 7 ]\n";
        assert_eq!(texts(array).unwrap(), ["{\"a\": [1, 2]}", "{\"b\": \"},]\\\"\"}", "7"]);
        assert_eq!(texts("[]").unwrap(), [""; 0]);
        assert_eq!(texts("{\"a\":1}\n\n  \n[1]\n").unwrap(), ["{\"a\":1}", "[1]"]);
        for broken in ["[{\"a\":1}", "[1,,2]", "[1] 2", "[\"a]"] {
            assert!(texts(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn numbers_keep_their_digits_or_are_refused() {
        let options =
            |decimals| crate::IngestOptions { entity: vec!["id".to_owned()], decimals, ..Default::default() };
        let read = |text: &str, declared, decimals| {
            let mapping = Mapping::new(&options(decimals), None, Default::default()).unwrap();
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            value(raw, declared, &mapping)
        };
        let (exact, wide) = (Decimals::Exact, "18446744073709551615");
        assert_eq!(read("5", None, exact), Ok(5_i64.into()));
        assert_eq!(read("0.1", None, exact), Ok(0.1.into()));
        assert!(read(wide, None, exact).unwrap_err().contains("declare the feature as a string"));
        assert!(read("0.12345678901234567890", None, exact).unwrap_err().contains("decimals as float64"));
        assert_eq!(read(wide, None, Decimals::String), Ok(wide.into()));
        assert_eq!(read(wide, None, Decimals::Float64), Ok(18_446_744_073_709_551_615.0.into()));
        assert_eq!(read(wide, Some(ValueType::String), exact), Ok(wide.into()));
    }
}
