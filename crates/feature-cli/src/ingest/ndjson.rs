//! NDJSON files: an object a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use feature_core::FeatureValue;
use serde_json::{Map, Value};

use super::lines::{Count, Counted, InChunks, MAX_RECORD_BYTES, Rows, read_line};
use super::row::{Cell, Reject, Row, Source};
use super::wanted::Wanted;

/// How much of a line that cannot be read the rejects file repeats, in characters.
const EXCERPT: usize = 1000;

/// The rows of an NDJSON file of so many bytes.
pub(super) fn open(file: File, bytes: Option<u64>, wanted: Wanted) -> Source {
    let (reader, count) = Counted::new(file);
    let reader = BufReader::with_capacity(1 << 16, reader);
    let rows = NdjsonRows { reader, count, wanted, names: HashMap::new(), line: Vec::new(), number: 0 };
    Source { total: bytes, chunks: Box::new(InChunks::new(rows)) }
}

struct NdjsonRows {
    reader: BufReader<Counted<File>>,
    count: Count,
    wanted: Wanted,
    /// The features' names, shared by all rows.
    names: HashMap<String, Arc<str>>,
    line: Vec<u8>,
    number: u64,
}

impl Rows for NdjsonRows {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        let mut line = std::mem::take(&mut self.line);
        let mut row = None;
        while row.is_none()
            && read_line(&mut self.reader, MAX_RECORD_BYTES as usize, &mut line).map_err(|e| e.to_string())?
        {
            self.count.complete();
            let bytes = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 0).unwrap_or(&line);
            if !bytes.trim_ascii().is_empty() {
                self.number += 1;
                row = Some(self.row(bytes));
            }
        }
        self.line = line;
        Ok(row)
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn position(&self) -> u64 {
        self.count.read()
    }
}

impl NdjsonRows {
    fn row(&mut self, line: &[u8]) -> Row {
        let number = self.number;
        let excerpt = || {
            String::from_utf8_lossy(&line[..line.len().min(4 * EXCERPT)])
                .chars()
                .take(EXCERPT)
                .collect::<String>()
        };
        let reject = |reason: String| Reject::new(number, reason).with_content(excerpt());
        if line.len() as u64 > MAX_RECORD_BYTES {
            return Err(reject(format!("the line is longer than {} MiB", MAX_RECORD_BYTES >> 20)));
        }
        let object: Map<String, Value> = match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(reject("the line is not a JSON object".to_owned())),
            Err(e) => return Err(reject(format!("the line is not JSON: {e}"))),
        };
        let Self { wanted, names, .. } = self;
        let natural = |name: &String| match object.get(name) {
            None => Ok(FeatureValue::Null),
            Some(value) => FeatureValue::from_json(value, None).map_err(|e| e.message().to_owned()),
        };
        let is_feature = |name: &str| match &wanted.features {
            Some(features) => features.iter().any(|own| own == name),
            None => wanted.is_feature_by_default(name),
        };
        let features = object.iter().filter(|(name, _)| is_feature(name)).map(|(name, value)| {
            let cell: Cell =
                FeatureValue::from_json(value, wanted.type_of(name)).map_err(|e| e.message().to_owned());
            let shared = match names.get(name) {
                Some(shared) => Arc::clone(shared),
                None => {
                    let shared: Arc<str> = name.as_str().into();
                    // A file whose every line has new names must not fill the memory with them.
                    if names.len() < 10_000 {
                        names.insert(name.clone(), Arc::clone(&shared));
                    }
                    shared
                }
            };
            (shared, cell)
        });
        let time = wanted.timestamp.as_ref().map(natural);
        wanted
            .row(number, wanted.entity.iter().map(natural), time, features)
            .map_err(|reject| reject.with_content(excerpt()))
    }
}
