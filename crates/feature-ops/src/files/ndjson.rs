//! A JSON object a line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use feature_core::{EntityKey, Error, RecordKey, Timestamp, ViewKey};
use serde::Deserialize;

use super::{CHUNK_ROWS, Chunks, Decoded, Row, Writer, write_features, write_text, write_times};

/// How long a line may be: a record of 64 MiB, its values and its bytes.
const MAX_LINE: u64 = 256 << 20;

pub(super) struct Lines<W: Write> {
    out: BufWriter<W>,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out: BufWriter::with_capacity(1 << 18, out), line: Vec::new() }
    }
}

impl<W: Write + Send> Writer for Lines<W> {
    fn write(&mut self, rows: &[Decoded]) -> io::Result<()> {
        for row in rows {
            self.line.clear();
            write_line(row, &mut self.line);
            self.out.write_all(&self.line)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_line(Decoded { row, record }: &Decoded, out: &mut Vec<u8>) {
    let member = |name: &str, out: &mut Vec<u8>| {
        out.extend(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend(name.as_bytes());
        out.extend(b"\":");
    };
    let time = |time: Option<Timestamp>, out: &mut Vec<u8>| match time {
        Some(time) => write_text(&time.to_string(), out),
        None => out.extend(b"null"),
    };
    member("tenant", out);
    write_text(row.key.view().tenant(), out);
    member("view", out);
    write_text(row.key.view().view(), out);
    member("entity", out);
    for (at, (name, value)) in row.key.entity().join_keys().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        write_text(&name, out);
        out.push(b':');
        write_text(&value, out);
    }
    out.push(b'}');
    member("event_time", out);
    time(Some(record.event_time), out);
    member("expires_at", out);
    time(record.expires_at, out);
    member("floor", out);
    time(record.floor, out);
    member("features", out);
    write_features(record, out);
    member("event_times", out);
    write_times(record, out);
    member("record", out);
    write_text(&BASE64.encode(&row.bytes), out);
    out.extend(b"}\n");
}

/// What of a line a restore needs.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    view: Cow<'a, str>,
    entity: BTreeMap<String, String>,
    #[serde(borrow)]
    record: Cow<'a, str>,
}

/// Views of the rows before, which most rows share.
#[derive(Default)]
struct LastView(Option<ViewKey>);

impl LastView {
    fn get(&mut self, tenant: &str, view: &str) -> Result<ViewKey, Error> {
        if let Some(last) = self.0.as_ref().filter(|last| last.tenant() == tenant && last.view() == view) {
            return Ok(last.clone());
        }
        Ok(self.0.insert(ViewKey::new(tenant, view)?).clone())
    }
}

fn row(text: &[u8], last: &mut LastView) -> Result<Row, String> {
    let line: Line<'_> = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let view = last.get(&line.tenant, &line.view).map_err(|e| e.message().to_owned())?;
    let entity = line.entity.iter().fold(EntityKey::builder(), |all, (name, value)| all.with(name, &**value));
    let entity = entity.build().map_err(|e| e.message().to_owned())?;
    let bytes = BASE64.decode(line.record.as_bytes()).map_err(|e| format!("`record`: {e}"))?;
    Ok(Row { key: RecordKey::new(view, entity), bytes: bytes.into() })
}

pub(super) fn read(file: impl Read + Send + 'static) -> Chunks {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut last, mut text, mut number, mut ended) = (LastView::default(), Vec::new(), 0_u64, false);
    let mut next = move || -> Result<Option<Row>, String> {
        text.clear();
        number += 1;
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut text);
        match read.map_err(|e| format!("line {number}: {e}"))? {
            0 => Ok(None),
            _ if !text.ends_with(b"\n") => Err(format!("line {number} is cut off")),
            _ => row(&text, &mut last).map(Some).map_err(|e| format!("line {number}: {e}")),
        }
    };
    Box::new(std::iter::from_fn(move || {
        let mut rows = Vec::new();
        while !ended && rows.len() < CHUNK_ROWS {
            match next() {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => ended = true,
                Err(e) => {
                    ended = true;
                    return Some(Err(e));
                }
            }
        }
        (!rows.is_empty()).then_some(Ok(rows))
    }))
}
