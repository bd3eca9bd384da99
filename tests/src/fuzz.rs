//! Properties that hold for any bytes. The fuzz targets in `fuzz/` and the stable test `fuzz_bodies` both
//! run these.

use std::ops::Range;

use bytes::Bytes;
use feature_core::{
    EntityKey, FeatureNames, FeatureRow, FeatureStatus, Record, RecordHeader, RecordKey, Result, RowDecoder,
    Scope, StoreUrl, Timestamp, Ttl, ViewKey, escape_into, unescape,
};
use twox_hash::XxHash3_64;

pub use feature_server::fuzz::Body;

/// The bodies of this file by the names of their fuzz targets; those of the server are its own.
const OWN: [(&str, Body); 3] = [("codec", codec), ("keys", keys), ("urls", urls)];

/// Every body by the name of its fuzz target.
pub fn bodies() -> impl Iterator<Item = (&'static str, Body)> {
    OWN.into_iter().chain(feature_server::fuzz::BODIES)
}

/// The body of a fuzz target.
pub fn body(target: &str) -> Option<Body> {
    bodies().find(|(name, _)| *name == target).map(|(_, body)| body)
}

/// Any bytes are a record or an error. A record encodes to an equal one, and its rows, whole and in part,
/// say what it says. Tries the bytes as they are, and once more with shape and checksum put right, since
/// almost nothing else passes those.
///
/// # Panics
/// When the property does not hold.
pub fn codec(data: &[u8]) {
    check_record(data);
    check_record(&sealed(data));
}

/// A text is an identity or an error. An identity's text reads back as that identity, whatever its names
/// are, and names pass through the escape and back.
///
/// # Panics
/// When the property does not hold.
pub fn keys(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for separators in [b":{}".as_slice(), b"=|{}", b"|{}"] {
        let mut escaped = String::new();
        escape_into(&mut escaped, text, separators);
        assert!(!escaped.bytes().any(|b| separators.contains(&b) || b < b' '));
        assert_eq!(unescape(&escaped, separators).ok().as_deref(), Some(text));
        if let Ok(name) = unescape(text, separators) {
            let mut again = String::new();
            escape_into(&mut again, &name, separators);
            assert_eq!(again, text, "two texts for one name");
        }
    }
    if let Ok(entity) = EntityKey::parse(text) {
        check_entity(&entity);
    }
    if let Ok(key) = RecordKey::parse(text) {
        assert_eq!(key.to_string(), text, "two texts for one record");
        check_key(&key);
    }
    // The text as names: tenant, view, join key and value, cut where it has newlines.
    let mut names = text.splitn(4, '\n');
    let mut name = || names.next().unwrap_or("x");
    let view = ViewKey::new(name(), name());
    let entity = EntityKey::new(name(), name());
    if let (Ok(view), Ok(entity)) = (view, entity) {
        check_key(&RecordKey::new(view, entity));
    }
}

/// A text is a URL or an error, and neither shows a password. Times and durations read back.
///
/// # Panics
/// When the property does not hold.
pub fn urls(data: &[u8]) {
    const PASSWORD: &str = "correct-horse";
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(url) = StoreUrl::parse(text) {
        assert!(url.hosts().iter().all(|(host, _)| !host.is_empty()));
        // A shown URL is one too, though without its secrets.
        assert!(url.password().is_none() || url.hosts().is_empty() || url.to_string().contains(":***@"));
        let mut params = url.params();
        // Whether it is an integer, or there at all, is the text's affair.
        let _ = params.take::<u64>("n");
        let _ = params.take_duration("timeout");
        let taken = params.take_secret("password");
        assert!(taken.is_none() || url.to_string().contains("password=…"));
        let _ = params.finish();
    }
    if !text.contains(PASSWORD) {
        let shown = format!("{:?}", StoreUrl::parse(&format!("redis://user:{PASSWORD}@{text}")));
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse::<Timestamp>().ok(), Some(time));
    }
    if let Ok(ttl) = text.parse::<Ttl>() {
        assert_eq!(ttl.to_string().parse::<Ttl>().ok(), Some(ttl));
    }
}

fn check_entity(entity: &EntityKey) {
    assert_eq!(EntityKey::parse(entity.canonical()).ok().as_ref(), Some(entity));
    let builder = entity.join_keys().fold(EntityKey::builder(), |b, (name, value)| b.with(&name, &*value));
    assert_eq!(builder.build().ok().as_ref(), Some(entity));
}

fn check_key(key: &RecordKey) {
    check_entity(key.entity());
    let text = key.to_string();
    assert_eq!(key.text_len(), text.len());
    let read = RecordKey::parse(&text).ok();
    let read = read.as_ref().map(|read| (read, read.view().tenant(), read.view().view()));
    assert_eq!(read, Some((key, key.view().tenant(), key.view().view())));
    for scope in [Scope::View(key.view().clone()), Scope::Tenant(key.view().tenant().to_owned())] {
        assert!(scope.contains(key) && text.starts_with(&scope.prefix()));
    }
}

fn check_record(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let row = read(&bytes, None);
    let Ok(record) = Record::decode(data) else {
        // What a part reads may be undamaged; that it ends without a panic is all there is to ask.
        let _ = read(&bytes, Some(["a", "feature"].iter().collect()));
        assert!(!matches!(row, Ok(Some(_))), "a row was read from a damaged record");
        return;
    };
    let again = record.encode().and_then(|bytes| Record::decode(&bytes));
    assert_eq!(again.ok().as_ref(), Some(&record));

    let row = row.ok().flatten();
    assert_eq!(row.is_none(), record.features.is_empty());
    let Some(row) = row else { return };
    assert_eq!(row.len(), record.features.len());
    check_row(&row, &record);

    // Every other feature, from the last to the first, and one that is not there.
    let absent = "x".repeat(feature_core::MAX_FEATURE_NAME_BYTES + 1);
    let names: Vec<&str> = record.features.iter().map(|(name, _)| name).collect();
    let some = names.into_iter().rev().step_by(2);
    let part = read(&bytes, Some(some.chain([absent.as_str()]).collect())).ok().flatten();
    assert_eq!(part.as_ref().map(FeatureRow::len), Some(record.features.len().div_ceil(2) + 1));
    if let Some(part) = part {
        check_row(&part, &record);
    }
}

/// Reads at a time when nothing has expired.
fn read(bytes: &Bytes, names: Option<FeatureNames>) -> Result<Option<FeatureRow>> {
    let entity = EntityKey::new("id", 1)?;
    RowDecoder::new(names, None).decode(&entity, bytes, Timestamp::MIN)
}

fn check_row(row: &FeatureRow, record: &Record) {
    assert_eq!((row.timestamp, row.expires_at), (record.event_time, record.expires_at));
    for (name, status, value) in row.iter() {
        match record.get(name) {
            None => assert_eq!(status, FeatureStatus::NotFound),
            Some(feature) => {
                let null = feature.value.is_null();
                assert_eq!(status, if null { FeatureStatus::Null } else { FeatureStatus::Present });
                assert_eq!(value, feature.value);
                assert_eq!(row.event_time(name), Some(feature.event_time));
            }
        }
    }
}

/// The bytes as a record of version 1 with known flags, the right shape and the right checksum, as the
/// record's format has them.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().max(RecordHeader::LEN), 0);
    bytes[0] = 1;
    bytes[1] &= 3;
    if let Some(names) = names_section(&bytes) {
        let hash = XxHash3_64::oneshot(&bytes[names]);
        let shape = if bytes[1] & 1 == 0 { hash } else { !hash };
        bytes[20..28].copy_from_slice(&shape.to_be_bytes());
    }
    let seed = XxHash3_64::oneshot(&bytes[..28]);
    let sum = XxHash3_64::oneshot_with_seed(seed, &bytes[RecordHeader::LEN..]) as u32;
    bytes[28..32].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Where the names stand, if the bytes reach that far.
fn names_section(bytes: &[u8]) -> Option<Range<usize>> {
    let mut at = RecordHeader::LEN;
    if bytes[1] & 1 != 0 {
        at += 8;
    }
    if bytes[1] & 2 != 0 {
        let times = bytes.get(at..)?.first_chunk()?;
        at += 2 + usize::from(u16::from_be_bytes(*times)) * 10;
    }
    let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
    let names = at + 4..at.checked_add(4)?.checked_add(length)?;
    (names.end <= bytes.len()).then_some(names)
}

#[cfg(test)]
mod tests {
    use feature_core::{Features, merge};

    use super::*;

    #[test]
    fn sealing_gives_back_the_shape_and_checksum_that_the_codec_writes() {
        let write = |micros, name: &str| {
            Record::of_write(Timestamp::from_micros(micros), None, Features::from([(name, micros)]))
        };
        let plain = write(5, "a");
        let replace = Record { floor: Some(plain.event_time), ..plain.clone() };
        let own_times = merge(replace.clone(), write(9, "b"));
        for record in [plain, replace, own_times] {
            let bytes = record.encode().unwrap();
            let mut wiped = bytes.clone();
            wiped[20..32].fill(0);
            assert_eq!(sealed(&wiped), bytes);
        }
    }
}
