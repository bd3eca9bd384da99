//! What the tests of old formats share: the files of each format, records as text, and what a store that was
//! written then must do today.

#![allow(dead_code, reason = "each test program uses some of it")]

pub(crate) mod aerospike;
pub(crate) mod records;
pub(crate) mod redis;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feature_core::{
    CallContext, EntityKey, Error, ErrorKind, FeatureRow, FeatureStatus, FeatureValue, FeatureWrite,
    Features, ManualClock, OnlineStore, OnlineStoreBackend, Precondition, PutOutcome, Record, RecordKey,
    RecordPut, SYSTEM_TENANT, Scope, Timestamp, VersionedRecord, ViewKey, WriteOutcome,
};
use futures::StreamExt;
use store_testkit::TestFailure;

pub(crate) type Outcome<T = ()> = Result<T, TestFailure>;
pub(crate) type Store = Arc<dyn OnlineStoreBackend>;

/// When the files are read: after every event time but those of the far future, before any expiry.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const MICROSECOND: Duration = Duration::from_micros(1);
pub(crate) const CALL: Duration = Duration::from_secs(20);

/// The files of a format.
pub(crate) struct Files(PathBuf);

impl Files {
    /// Those of every format, the oldest first.
    pub(crate) fn of_every_format() -> Outcome<Vec<Self>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats");
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
        let mut folders: Vec<_> = entries.into_iter().filter(|path| path.is_dir()).collect();
        folders.sort_by_key(|folder| folder.file_name().and_then(|name| name.to_str()?.parse::<u8>().ok()));
        match folders.is_empty() {
            true => Err("there are no files of any format".into()),
            false => Ok(folders.into_iter().map(Self).collect()),
        }
    }

    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(crate) fn bytes(&self, name: &str) -> Outcome<Vec<u8>> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    pub(crate) fn text(&self, name: &str) -> Outcome<String> {
        Ok(String::from_utf8(self.bytes(name)?).map_err(|error| error.to_string())?)
    }

    /// The lines of a file, each of which is a JSON array.
    pub(crate) fn lines<T: serde::de::DeserializeOwned>(&self, name: &str) -> Outcome<Vec<T>> {
        let text = self.text(name)?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(lines.map_err(|error| format!("{name}: {error}"))?)
    }

    /// What the records are, as [`describe`] tells it.
    pub(crate) fn expected(&self) -> Outcome<String> {
        self.text("records.txt")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Outcome {
        fs::create_dir_all(&self.0)?;
        Ok(fs::write(self.0.join(name), bytes)?)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

pub(crate) fn unhex(text: &str) -> Outcome<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    let bytes = (0..text.len()).step_by(2).map(byte).collect::<Result<_, _>>();
    Ok(bytes.map_err(|error| error.to_string())?)
}

/// Records as text, to the last bit, in the order of their keys.
pub(crate) fn describe_all(records: impl IntoIterator<Item = (RecordKey, Record)>) -> String {
    let mut texts: Vec<_> = records.into_iter().map(|(key, record)| describe(&key, &record)).collect();
    texts.sort_unstable();
    texts.concat()
}

fn describe(key: &RecordKey, record: &Record) -> String {
    let time = |time: Option<Timestamp>| time.map_or("none".to_owned(), |at| at.as_micros().to_string());
    let (expiry, floor) = (time(record.expires_at), time(record.floor));
    let mut text =
        format!("{key}\n  time {}, expiry {expiry}, floor {floor}\n", record.event_time.as_micros());
    for (name, value) in record.features.iter() {
        let own = record.get(name).map(|feature| feature.event_time).filter(|at| *at != record.event_time);
        let own = own.map(|at| format!(" @{}", at.as_micros())).unwrap_or_default();
        let _ = writeln!(text, "  {name:?} = {}{own}", value_text(value));
    }
    text
}

fn value_text(value: &FeatureValue) -> String {
    use FeatureValue as V;
    fn list<T>(items: &[T], text: impl FnMut(&T) -> String) -> String {
        format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
    }
    let float32 = |v: &f32| format!("{v:?} {:#010x}", v.to_bits());
    let float64 = |v: &f64| format!("{v:?} {:#018x}", v.to_bits());
    let micros = |v: &Timestamp| v.as_micros().to_string();
    match value {
        V::Null => "null".to_owned(),
        V::Bool(v) => format!("bool {v}"),
        V::Int32(v) => format!("int32 {v}"),
        V::Int64(v) => format!("int64 {v}"),
        V::Float32(v) => format!("float32 {}", float32(v)),
        V::Float64(v) => format!("float64 {}", float64(v)),
        V::String(v) => format!("string {v:?}"),
        V::Bytes(v) => format!("bytes {}", hex(v)),
        V::Timestamp(v) => format!("timestamp {}", micros(v)),
        V::BoolList(v) => format!("bools {v:?}"),
        V::Int32List(v) => format!("int32s {v:?}"),
        V::Int64List(v) => format!("int64s {v:?}"),
        V::Float32List(v) => format!("float32s {}", list(v, float32)),
        V::Float64List(v) => format!("float64s {}", list(v, float64)),
        V::StringList(v) => format!("strings {v:?}"),
        V::BytesList(v) => format!("byte strings {}", list(v, |bytes| format!("<{}>", hex(bytes)))),
        V::TimestampList(v) => format!("timestamps {}", list(v, micros)),
        V::Map(v) => {
            let pairs: Vec<_> =
                v.iter().map(|(name, value)| format!("{name:?}: {}", value_text(value))).collect();
            format!("map {{{}}}", pairs.join(", "))
        }
    }
}

/// Requires a text to be another, and names the first line that is not.
pub(crate) fn same_text(found: &str, expected: &str) -> Outcome {
    let (mut left, mut right) = (found.lines(), expected.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => return Ok(()),
            (found, expected) if found != expected => {
                return Err(format!("line {number} is {found:?}, expected is {expected:?}").into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A handle whose clock stands at [`NOW`].
pub(crate) fn handle(backend: &Store) -> Outcome<OnlineStore> {
    handle_at(backend, NOW)
}

fn handle_at(backend: &Store, now: Timestamp) -> Outcome<OnlineStore> {
    Ok(OnlineStore::builder(Arc::clone(backend)).clock(ManualClock::at(now)).build()?)
}

/// Puts the bytes of a record into a store, in place of what is there.
pub(crate) async fn put(backend: &Store, key: RecordKey, bytes: &[u8]) -> Outcome {
    let call = CallContext::with_timeout(CALL);
    let old = backend.get(std::slice::from_ref(&key), call).await.remove(0)?;
    // Where every version has them.
    let number = |at: usize| bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let row = RecordPut {
        key,
        bytes: Bytes::copy_from_slice(bytes),
        event_time: Timestamp::from_micros((number(4) ^ (1 << 63)) as i64),
        shape: number(20),
        ttl: None,
        precondition: Precondition::Unchanged(old),
    };
    match backend.put(vec![row], call).await.remove(0)? {
        PutOutcome::Stored => Ok(()),
        PutOutcome::Refused(_) => Err("the store has refused the record".into()),
    }
}

/// The records of a store, but for what the software itself keeps there.
pub(crate) async fn contents(backend: &Store) -> Outcome<Vec<(RecordKey, VersionedRecord)>> {
    let mut rows = backend.scan(&Scope::Store);
    let mut all = Vec::new();
    while let Some(row) = rows.next().await {
        let (key, record) = row?;
        if key.view().tenant() != SYSTEM_TENANT {
            all.push((key, record));
        }
    }
    Ok(all)
}

/// A store that was written in an old format has exactly what was written, however it is asked; takes further
/// writes, which keep what is there; and lets records end when they should.
pub(crate) async fn is_read_and_goes_on(backend: &Store, expected: &str) -> Outcome {
    let stored = contents(backend).await?;
    let decoded = stored.into_iter().map(|(key, stored)| Ok((key, Record::decode(&stored.bytes)?)));
    let records = decoded.collect::<Outcome<Vec<_>>>()?;
    same_text(&describe_all(records.clone()), expected)?;

    let store = handle(backend)?;
    for (key, record) in &records {
        let row = read(&store, key).await?;
        serves(key, row.as_ref(), record)?;
        if let Some(end) = record.expires_at
            && (read(&handle_at(backend, end.saturating_sub(MICROSECOND))?, key).await?.is_none()
                || read(&handle_at(backend, end)?, key).await?.is_some())
        {
            return Err(format!("{key} does not end when it should").into());
        }
        // A feature that no record has yet, so that it is merged with what was there.
        let write = FeatureWrite::new(key.entity().clone(), [("added", "now")]).at(NOW);
        let (tenant, view) = (key.view().tenant(), key.view().view());
        store.batch_write(tenant, view, [write]).await?.into_result()?;
        let row = read(&store, key).await?.ok_or_else(|| format!("{key} is gone after a write"))?;
        if row.get("added") != Some(&"now".into()) || row.event_time("added") != Some(NOW) {
            return Err(format!("{key} has not taken a feature").into());
        }
        serves(key, Some(&row), record)?;
    }
    Ok(())
}

async fn read(store: &OnlineStore, key: &RecordKey) -> Outcome<Option<FeatureRow>> {
    Ok(store.read_features(key.view().tenant(), key.view().view(), key.entity(), None).await?)
}

/// Whether a row has every feature of a record, with its time.
fn serves(key: &RecordKey, row: Option<&FeatureRow>, record: &Record) -> Outcome {
    for (name, value) in record.features.iter() {
        let row = row.ok_or_else(|| format!("{key} is not served"))?;
        let time = record.get(name).map(|feature| feature.event_time);
        let status = if value.is_null() { FeatureStatus::Null } else { FeatureStatus::Present };
        if row.get(name) != Some(value).filter(|value| !value.is_null())
            || row.event_time(name) != time
            || row.status(name) != status
        {
            return Err(
                format!("{key}: `{name}` is {:?} of {:?}", row.get(name), row.event_time(name)).into()
            );
        }
    }
    match row {
        Some(_) if record.features.is_empty() && row.is_some_and(|row| row.get("added").is_none()) => {
            Err(format!("{key} was retracted and is served").into())
        }
        _ => Ok(()),
    }
}

/// A record of a format from the future, as a process of a newer version leaves it in a store that older ones
/// share: it is an error of its rows that says so, no merge takes it away, and a delete does.
pub(crate) async fn later_format_is_refused_and_kept(backend: &Store) -> Outcome {
    let ids = [EntityKey::new("id", 1)?, EntityKey::new("id", 2)?];
    let key = |id: usize| Ok::<_, TestFailure>(RecordKey::new(ViewKey::new("later", "v")?, ids[id].clone()));
    let written = NOW.saturating_sub(Duration::from_secs(1));
    let mut later = Record::of_write(written, None, [("a", 1), ("b", 2)].into()).encode()?;
    later[0] = 255;
    put(backend, key(0)?, &later).await?;
    put(backend, key(1)?, &Record::of_write(written, None, [("a", 1)].into()).encode()?).await?;

    let store = handle(backend)?;
    let refused = |what: &str, error: Option<Error>| match error {
        Some(error) if error.kind() == ErrorKind::Unsupported && error.message().contains("version 255") => {
            Ok(())
        }
        other => Err(TestFailure::from(format!("{what} gave {other:?}"))),
    };
    let mut rows = store.batch_read("later", "v", &ids, None).await?;
    refused("a read", rows.remove(0).err())?;
    rows.remove(0)?.ok_or("the neighbour is not served")?;
    let scanned: Vec<_> = store.scan(&Scope::tenant("later")?).collect().await;
    refused("a scan", scanned.iter().find_map(|row| row.as_ref().err().cloned()))?;
    if scanned.len() != 2 {
        return Err(format!("a scan gave {} rows", scanned.len()).into());
    }

    let before = written.saturating_sub(Duration::from_secs(1));
    for (what, features, at) in [
        ("some of its features", vec![("a", 5)], NOW),
        ("other features", vec![("a", 5), ("c", 5)], NOW),
        ("its features of before", vec![("a", 5), ("b", 5)], before),
    ] {
        let write = |id| FeatureWrite::new(id, features.iter().copied().collect::<Features>()).at(at);
        let report = store.batch_write("later", "v", ids.clone().map(write)).await?;
        let mut rows = report.rows().iter().cloned();
        refused(what, rows.next().and_then(Result::err))?;
        rows.next().ok_or("a row is missing")??;
        let kept = backend.get(&[key(0)?], CallContext::with_timeout(CALL)).await.remove(0)?;
        if kept.is_none_or(|kept| kept.bytes != later) {
            return Err(format!("the record is not what it was after {what}").into());
        }
    }

    // What a merge would leave nothing of may go: a store that looks at no more than time and shape, which every
    // version has in the same place, replaces it; one that reads the whole header refuses.
    let whole = FeatureWrite::new(ids[0].clone(), [("a", 7), ("b", 8)]).at(NOW);
    let report = store.batch_write("later", "v", [whole]).await?;
    match report.rows() {
        [Ok(WriteOutcome::Applied)] => {
            let row = store.read_features("later", "v", &ids[0], None).await?.ok_or("it is gone")?;
            if row.get("b") != Some(&8.into()) {
                return Err("a newer write of the same features was acknowledged and is not there".into());
            }
        }
        [outcome] => refused("all of its features", outcome.clone().err())?,
        rows => return Err(format!("one row has {} outcomes", rows.len()).into()),
    }
    put(backend, key(0)?, &later).await?;
    match store.delete("later", "v", &ids[..1]).await?.remove(0)? {
        true => Ok(()),
        false => Err("a delete has not found it".into()),
    }
}
