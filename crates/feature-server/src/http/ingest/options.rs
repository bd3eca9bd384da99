//! What a load is asked to do: the parameters of its query, as `fstore ingest` has its arguments.

use feature_core::{Clock, Error, WriteMode};
use feature_ingest::{Format, IngestError, IngestOptions};
use hyper::header::CONTENT_TYPE;

use crate::calls::{Cause, Refusal, shown};
use crate::http::Request;

/// How many rejected rows the answer has where it is not said.
const LISTED: u64 = 1000;
/// The most that a row may have as text.
const ROW: usize = 1 << 20;
/// How much is written at once: rows, and bytes of them.
const BATCH: (usize, usize) = (1000, 1 << 20);
/// How many writes there are at a time.
const CONCURRENCY: usize = 2;

/// What a load is asked to do.
pub(super) struct Options {
    pub(super) what: What,
    /// How many rejected rows the answer has at most.
    pub(super) listed: u64,
}

/// How the body is read and written.
pub(super) struct What {
    pub(super) options: IngestOptions,
    pub(super) format: Format,
}

impl What {
    /// Rows without a time of their own have that of this clock.
    pub(super) fn with_clock(mut self, clock: &dyn Clock) -> Self {
        self.options.now = Some(clock.now());
        self
    }
}

const KNOWN: &str = "`entity`, `timestamp`, `timestamp_unit`, `timezone`, `features`, `exclude`, `ttl`, `mode`, `decimal`, \
                     `null_values`, `delimiter` and `rejects`";

impl Options {
    /// What the query and the content type say.
    pub(super) fn of(request: &Request) -> Result<Self, Refusal> {
        let stated = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let (format, delimiter) = format(stated.unwrap_or_default())?;
        let mut options = IngestOptions {
            delimiter,
            batch_size: BATCH.0,
            batch_bytes: BATCH.1,
            row_bytes: ROW,
            concurrency: CONCURRENCY,
            ..IngestOptions::default()
        };
        let (mut features, mut nulls, mut listed) = (Vec::new(), None, LISTED);
        let query = request.query.as_deref().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |error: IngestError| Refusal::invalid(format!("`{name}`: {error}"));
            let all = || value.split(',').map(str::to_owned);
            match &*name {
                "entity" => options.entity.extend(all()),
                "timestamp" => options.timestamp = Some(value.into_owned()),
                "timestamp_unit" => options.timestamp_unit = Some(value.parse().map_err(wrong)?),
                "timezone" => options.timezone = value.parse().map_err(wrong)?,
                "features" => features.extend(all()),
                "exclude" => options.exclude.extend(all()),
                "ttl" => options.ttl = Some(value.parse()?),
                "mode" if value == "merge" => options.mode = WriteMode::Merge,
                "mode" if value == "replace" => options.mode = WriteMode::Replace,
                "mode" => return Err(Refusal::invalid("`mode` is merge or replace")),
                "decimal" => options.decimals = value.parse().map_err(wrong)?,
                "null_values" => nulls.get_or_insert_with(Vec::new).extend(all()),
                "delimiter" => options.delimiter = Some(one_byte(&value)?),
                "rejects" => {
                    listed =
                        value.parse().map_err(|_| Refusal::invalid("`rejects` is not a whole number"))?;
                }
                other => {
                    let other = shown(other);
                    let message = format!("unknown parameter `{other}` in the query; known are {KNOWN}");
                    return Err(Refusal::invalid(message));
                }
            }
        }
        options.features = (!features.is_empty()).then_some(features);
        options.null_values = nulls.unwrap_or(options.null_values);
        Ok(Self { what: What { options, format }, listed })
    }
}

/// What a body of this type is, and what separates its fields if that is not a comma.
fn format(stated: &str) -> Result<(Format, Option<u8>), Refusal> {
    let name = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match &*name {
        "application/x-ndjson" | "application/jsonl" | "application/json" => (Format::Json, None),
        "text/csv" => (Format::Csv, None),
        "text/tab-separated-values" => (Format::Csv, Some(b'\t')),
        "application/vnd.apache.arrow.stream" => (Format::Arrow, None),
        _ => {
            let why = match &*name {
                "application/vnd.apache.parquet" | "application/vnd.apache.arrow.file" => {
                    " (it can be read only from its end: `fstore ingest` takes it, or send it as a stream of Arrow)"
                }
                _ => "",
            };
            let message = format!(
                "the body is `{}`{why}: send application/x-ndjson, text/csv, text/tab-separated-values or \
                 application/vnd.apache.arrow.stream",
                shown(stated)
            );
            return Err(Refusal::new(Cause::MediaType, Error::invalid_argument(message)));
        }
    })
}

fn one_byte(text: &str) -> Result<u8, Refusal> {
    match text.as_bytes() {
        _ if text == "tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err(Refusal::invalid("`delimiter` is one ASCII character other than a quote, or `tab`")),
    }
}
