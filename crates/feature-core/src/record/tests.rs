use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::header::seal;
use super::*;
use crate::entity::EntityKey;
use crate::error::ErrorKind;
use crate::features::Features;
use crate::row::{FeatureStatus, RowDecoder};

fn t(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A record that uses every part of the format.
fn full_record() -> Record {
    let features = Features::new()
        .with("avg", 89.5)
        .with("avg_7d", FeatureValue::Null)
        .with("country", "DE")
        .with("tags", vec!["a".to_owned(), String::new()]);
    let mut record = Record::of_write(t(1_357_016_400_000_000), Some(t(1_357_621_200_000_000)), features);
    record.floor = Some(t(1_357_000_000_000_000));
    record.times = [(1, t(1_357_010_000_000_000))].into();
    record
}

#[test]
fn golden_bytes_of_version_1() {
    let plain = Record::of_write(t(1), None, Features::from([("a", 1.0), ("b", -0.0)]));
    let golden = [
        (plain, include_str!("golden/two_floats.hex")),
        (full_record(), include_str!("golden/every_part.hex")),
        (
            Record { floor: Some(t(-1)), ..Record::of_write(t(-1), None, Features::new()) },
            include_str!("golden/retraction.hex"),
        ),
    ];
    for (record, bytes) in golden {
        let bytes: String = bytes.split_whitespace().collect();
        assert_eq!(hex(&record.encode().unwrap()), bytes);
        let decoded: Vec<u8> =
            (0..bytes.len()).step_by(2).map(|i| u8::from_str_radix(&bytes[i..i + 2], 16).unwrap()).collect();
        assert_eq!(Record::decode(&decoded).unwrap(), record);
    }
}

#[test]
fn fifty_float_features_are_small() {
    let features: Features = (0..50).map(|i| (format!("feature_{i:02}"), f64::from(i))).collect();
    let bytes = Record::of_write(t(0), None, features).encode().unwrap();
    // 400 of them are the floats themselves.
    assert_eq!(bytes.len(), 612);
}

#[test]
fn what_the_format_cannot_hold_is_refused_by_name() {
    let of = |features| Record::of_write(t(0), None, features);
    let kind = |record: Record| record.encode().unwrap_err().kind();
    assert_eq!(kind(of(Features::from([("", 1)]))), ErrorKind::InvalidArgument);
    let longest = "x".repeat(MAX_FEATURE_NAME_BYTES);
    of(Features::from([(longest.clone(), 1)])).encode().unwrap();
    let error = of(Features::from([(longest + "x", 1)])).encode().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.message().contains("256 bytes, the limit is 255"), "{error}");

    let many = |n: usize| of((0..n).map(|i| (format!("{i:05}"), true)).collect());
    assert_eq!(Record::decode(&many(MAX_FEATURES).encode().unwrap()).unwrap(), many(MAX_FEATURES));
    assert_eq!(kind(many(MAX_FEATURES + 1)), ErrorKind::LimitExceeded);

    let nest = |depth: usize| {
        (0..depth).fold(FeatureValue::Null, |inner, _| FeatureValue::Map([("m".to_owned(), inner)].into()))
    };
    let deepest = of(Features::from([("m", nest(FeatureValue::MAX_DEPTH))]));
    assert_eq!(Record::decode(&deepest.encode().unwrap()).unwrap(), deepest);
    assert_eq!(
        kind(of(Features::from([("m", nest(FeatureValue::MAX_DEPTH + 1))]))),
        ErrorKind::InvalidArgument
    );

    for times in [vec![(0, t(1))], vec![(0, t(0))], vec![(1, t(-1))], vec![(0, t(-1)), (0, t(-1))]] {
        assert_eq!(kind(Record { times, ..of(Features::from([("a", 1)])) }), ErrorKind::InvalidArgument);
    }
    assert_eq!(
        kind(Record { expires_at: Some(t(0)), ..of(Features::from([("a", 1)])) }),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn the_bytes_of_event_times_sort_as_the_times_do() {
    let times = [i64::MIN, -1_000, -1, 0, 1, 1_357_016_400_000_000, i64::MAX];
    let headers = times.map(|micros| {
        let bytes = Record::of_write(t(micros), None, Features::from([("a", 1)])).encode().unwrap();
        assert_eq!(RecordHeader::parse(&bytes).unwrap().event_time, t(micros));
        bytes[4..12].to_vec()
    });
    assert!(headers.is_sorted());
}

#[test]
fn equal_shape_is_equal_names_and_the_same_answer_to_whether_there_is_a_floor() {
    let of = |names: &[&str], floor| {
        let features = names.iter().map(|name| (*name, 1)).collect();
        Record { floor, ..Record::of_write(t(5), None, features) }.shape().unwrap()
    };
    assert_eq!(of(&["a", "b"], None), of(&["a", "b"], None));
    assert_eq!(of(&["a", "b"], Some(t(1))), of(&["a", "b"], Some(t(2))));
    let different = [
        of(&["a", "b"], None),
        of(&["ab"], None),
        of(&["a"], None),
        of(&["a", "b"], Some(t(1))),
        of(&[], None),
    ];
    for (i, a) in different.iter().enumerate() {
        assert!(!different[..i].contains(a));
    }
}

#[test]
fn times_that_no_record_has_are_refused() {
    let forged = |record: &Record, changes: &[(usize, u8)]| {
        let mut bytes = record.encode().unwrap();
        changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        seal(&mut bytes);
        Record::decode(&bytes)
    };
    // After the header the number of own times, then for each an index of two bytes and a time of eight.
    let [count, first, second] = [RecordHeader::LEN, RecordHeader::LEN + 2, RecordHeader::LEN + 12];
    let [index, time] = [1, 9];
    let mut record = Record::of_write(t(7), None, Features::from([("a", 1), ("b", 2), ("c", 3)]));
    record.times = [(0, t(6)), (1, t(5))].into();
    assert_eq!(
        forged(&record, &[(count + 1, 2), (first + index, 0), (second + index, 2)]).unwrap().times[1].0,
        2
    );
    for (changes, what) in [
        (&[(second + index, 0)][..], "twice the same feature"),
        (&[(first + index, 1), (second + index, 0)], "features out of order"),
        (&[(second + index, 3)], "a feature that there is not"),
        (&[(second + time, 7)], "a time that is the record's"),
        (&[(first + time, 8)], "a time after the record's"),
    ] {
        assert_eq!(forged(&record, changes).unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
    }
    let floor = RecordHeader::LEN + 7;
    let record = Record { floor: Some(t(6)), times: [].into(), ..record };
    assert_eq!(forged(&record, &[(floor, 7)]).unwrap().floor, Some(t(7)));
    assert_eq!(forged(&record, &[(floor, 8)]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_record_is_uniform_if_all_of_it_is_of_one_time() {
    let written = Record::of_write(t(5), None, Features::from([("a", 1)]));
    assert!(written.is_uniform());
    assert!(Record { floor: Some(t(5)), ..written.clone() }.is_uniform());
    assert!(!Record { floor: Some(t(4)), ..written.clone() }.is_uniform());
    assert!(!Record { times: [(0, t(4))].into(), ..written }.is_uniform());
}

#[test]
fn what_expires_has_expired_at_its_instant_and_not_before() {
    assert!(!is_expired(Some(t(5)), t(4)) && is_expired(Some(t(5)), t(5)) && is_expired(Some(t(5)), t(6)));
    assert!(!is_expired(None, t(i64::MAX)));
}

#[test]
fn a_version_from_the_future_is_named() {
    let mut bytes = full_record().encode().unwrap();
    bytes[0] = 2;
    let error = Record::decode(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("version 2"), "{error}");
}

#[test]
fn every_changed_bit_and_every_cut_is_noticed() {
    let bytes = full_record().encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&changed).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Record::decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(Record::decode(&[&bytes[..], &[0]].concat()).is_err());
}

fn scalars() -> impl Strategy<Value = FeatureValue> {
    prop_oneof![
        Just(FeatureValue::Null),
        any::<bool>().prop_map(FeatureValue::Bool),
        any::<i32>().prop_map(FeatureValue::Int32),
        any::<i64>().prop_map(FeatureValue::Int64),
        any::<u32>().prop_map(|bits| FeatureValue::Float32(f32::from_bits(bits))),
        any::<u64>().prop_map(|bits| FeatureValue::Float64(f64::from_bits(bits))),
        ".{0,20}".prop_map(FeatureValue::String),
        vec(any::<u8>(), 0..200).prop_map(FeatureValue::Bytes),
        any::<i64>().prop_map(|micros| FeatureValue::Timestamp(t(micros))),
        vec(any::<bool>(), 0..5).prop_map(FeatureValue::BoolList),
        vec(any::<i32>(), 0..5).prop_map(FeatureValue::Int32List),
        vec(any::<i64>(), 0..5).prop_map(FeatureValue::Int64List),
        vec(any::<u32>(), 0..40)
            .prop_map(|v| FeatureValue::Float32List(v.into_iter().map(f32::from_bits).collect())),
        vec(any::<u64>(), 0..5)
            .prop_map(|v| FeatureValue::Float64List(v.into_iter().map(f64::from_bits).collect())),
        vec(".{0,5}", 0..5).prop_map(FeatureValue::StringList),
        vec(vec(any::<u8>(), 0..5), 0..5).prop_map(FeatureValue::BytesList),
        vec(any::<i64>().prop_map(t), 0..5).prop_map(FeatureValue::TimestampList),
    ]
}

fn values() -> impl Strategy<Value = FeatureValue> {
    scalars().prop_recursive(3, 12, 4, |inner| btree_map(".{0,4}", inner, 0..4).prop_map(FeatureValue::Map))
}

fn records() -> impl Strategy<Value = Record> {
    // Names that share beginnings, long ones among them, in runs of one type and mixed.
    let name = "(customer_|orders_)?[a-c]{1,3}([0-9]{0,2}|x{40})";
    let mixed = btree_map(name, values(), 0..60);
    let floats =
        btree_map(name, any::<u64>().prop_map(|bits| FeatureValue::Float64(f64::from_bits(bits))), 0..60);
    let parts = (any::<i64>(), prop::option::of(1..i64::MAX), prop::option::of(any::<u32>()), any::<u64>());
    (prop_oneof![mixed, floats], parts).prop_map(|(features, (time, expires, floor, old))| {
        let mut record = Record::of_write(t(time), expires.map(t), features.into_iter().collect());
        record.floor = floor.map(|back| t(time.saturating_sub(i64::from(back))));
        record.times = (0..record.features.len())
            .filter(|index| old >> (index % 64) & 1 == 1)
            .map(|index| (index, t(time.saturating_sub(index as i64))))
            .filter(|(_, own)| *own < record.event_time)
            .collect();
        record
    })
}

/// What a row decoder makes of bytes, for some features or all.
fn row(bytes: &[u8], names: Option<&[&str]>) -> Result<Option<crate::FeatureRow>> {
    let entity = EntityKey::new("id", 1)?;
    RowDecoder::new(names.map(|names| names.iter().collect()), None).decode(
        &entity,
        &Bytes::copy_from_slice(bytes),
        t(0),
    )
}

proptest! {
    // Twice as many as others have, which `PROPTEST_CASES` sets.
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn every_record_reads_back(record in records()) {
        prop_assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
    }

    /// Encoders that know the names of those before, each for several records, some of which name the same features
    /// and some of which it refuses.
    #[test]
    fn an_encoder_remembers_nothing_but_work(distinct in vec(records(), 1..4), order in vec(0..8usize, 1..12)) {
        let known = KnownNames::default();
        let mut encoder = Encoder::default();
        for (place, pick) in order.into_iter().enumerate() {
            if place % 3 == 0 {
                encoder = Encoder::knowing(&known);
            }
            let mut record = distinct[pick % distinct.len()].clone();
            if pick >= 6 {
                record.features.set("x".repeat(MAX_FEATURE_NAME_BYTES + pick % 2), pick as i64);
            }
            let alone = record.encode().ok();
            let shape = alone.as_ref().and_then(|_| record.shape().ok());
            prop_assert_eq!(encoder.encode(&record).ok(), alone.as_deref().zip(shape));
        }
    }

    /// All of it, or some in any order, at any time, however old it may be.
    #[test]
    fn a_row_says_of_each_feature_what_its_record_does(
        record in records(),
        picks in prop::option::of(vec(any::<prop::sample::Index>(), 0..8)),
        now in any::<i64>(),
        // Or else around the instant of expiry.
        soon in prop::option::of(-1..=1_i64),
        // Around the ages that the times of a record differ by.
        max_age in prop::option::of(0..60_u64),
    ) {
        let own: Vec<&str> = record.features.names().iter().collect();
        let picked = picks.map(|picks| {
            let some = picks.iter().filter(|_| !own.is_empty()).map(|pick| own[pick.index(own.len())]);
            some.chain(["", "a0", "zzz", "customer_"]).collect::<Vec<_>>()
        });
        let now = match (max_age, soon, record.expires_at) {
            (Some(_), ..) => record.event_time.as_micros(),
            (None, Some(soon), Some(at)) => at.as_micros() + soon,
            _ => now,
        };
        let max_age = max_age.map(Duration::from_micros);
        let entity = EntityKey::new("id", 1).unwrap();
        let bytes = record.encode().unwrap().into();
        let mut decoder = RowDecoder::new(picked.as_ref().map(|names| names.iter().collect()), max_age);
        let Some(row) = decoder.decode(&entity, &bytes, t(now)).unwrap() else {
            prop_assert!(own.is_empty() || record.expires_at.is_some_and(|at| at <= t(now)));
            return Ok(());
        };
        prop_assert!(!own.is_empty() && record.expires_at.is_none_or(|at| at > t(now)));
        prop_assert_eq!((row.timestamp, row.expires_at), (record.event_time, record.expires_at));
        let names = picked.unwrap_or(own);
        prop_assert_eq!((row.len(), row.is_empty()), (names.len(), names.is_empty()));
        prop_assert!(row.names().iter().eq(names.iter().copied()));
        let oldest = max_age.map_or(i64::MIN, |age| now.saturating_sub_unsigned(age.as_micros() as u64));
        let (statuses, times): (Vec<_>, Vec<_>) = row.statuses().zip(row.event_times()).unzip();
        for (at, (name, status, value)) in row.iter().enumerate() {
            let (expected, found) = match record.get(names[at]) {
                None => (FeatureStatus::NotFound, None),
                Some(feature) if feature.event_time < t(oldest) => (FeatureStatus::OutsideMaxAge, None),
                Some(feature) if feature.value.is_null() => (FeatureStatus::Null, None),
                Some(feature) => (FeatureStatus::Present, Some(feature.value)),
            };
            prop_assert_eq!((name, status), (names[at], expected));
            prop_assert_eq!((statuses[at], row.status(name)), (status, status));
            prop_assert_eq!(value, found.unwrap_or(&FeatureValue::Null));
            prop_assert_eq!((&row.values()[at], row.get(name)), (value, found));
            let time = record.get(name).map(|feature| feature.event_time);
            prop_assert_eq!((times[at], row.event_time(name)), (time, time));
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
        let _ = row(&bytes, Some(&["a"]));
    }

    /// Bytes that someone has damaged and sealed again get past the checksum: still no panic, no memory
    /// reserved for what is not there, and what decodes can be encoded.
    #[test]
    fn a_forged_record_is_a_record_or_an_error(
        record in records(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = record.encode().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = if byte % 3 == 0 { bytes[at].wrapping_add(byte) } else { bytes[at] ^ (1 << (byte % 8)) };
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()).max(RecordHeader::LEN));
        }
        seal(&mut bytes);
        if let Ok(decoded) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&decoded.encode().unwrap()).unwrap(), decoded);
        }
        let _ = row(&bytes, None);
        let _ = row(&bytes, Some(&["a", "customer_a", "orders_b1", "zzz"]));
    }
}
