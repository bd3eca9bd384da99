//! Records of every shape that the format knows, as they were written when the format was current.
//!
//! A record that is added here needs a new folder of files; those there are stay as they are.

use std::collections::BTreeMap;

use feature_core::{EntityKey, FeatureValue, Features, Record, RecordKey, Result, Timestamp, ViewKey};

/// 2013-01-01, 05:00 UTC.
const NOON: i64 = 1_357_016_400_000_000;
/// 2100-01-01: no test waits for it.
const EXPIRES: i64 = 4_102_444_800_000_000;

/// Each record with its key.
pub(crate) fn all() -> Result<Vec<(RecordKey, Record)>> {
    let mut all = Vec::new();
    let mut add = |view: &str, record: Record| -> Result<()> {
        let entity = EntityKey::new("id", all.len() as i64)?;
        all.push((RecordKey::new(ViewKey::new("acme", view)?, entity), record));
        Ok(())
    };
    add("mixed", Record::of_write(at(NOON), None, every_type()))?;
    for (name, values) in runs() {
        // More than a group, and a last group that is not full.
        let features = values.into_iter().enumerate().map(|(at, value)| (format!("{name}_{at:02}"), value));
        add("runs", Record::of_write(at(NOON), None, features.collect()))?;
    }
    add("expires", Record::of_write(at(NOON), Some(at(EXPIRES)), one()))?;
    add("expires", Record::of_write(at(NOON), Some(at(EXPIRES + 1)), every_type()))?;
    for micros in [i64::MIN, -1, 0, 1, i64::MAX] {
        add("times", Record::of_write(at(micros), None, one()))?;
    }
    add("own_times", own_times())?;
    add("replaced", Record { floor: Some(at(NOON)), ..Record::of_write(at(NOON), None, one()) })?;
    add("replaced", Record { floor: Some(at(NOON - 9_000_000)), ..own_times() })?;
    add("retracted", Record { floor: Some(at(NOON)), ..Record::of_write(at(NOON), None, Features::new()) })?;
    add("names", Record::of_write(at(NOON), None, names()))?;
    add("large", Record::of_write(at(NOON), None, (0..100).map(|n| (format!("f{n}"), n)).collect()))?;
    add(
        "large",
        Record::of_write(at(NOON), None, Features::from([("text", "0123456789abcdef".repeat(64))])),
    )?;
    for (tenant, view, entity) in hostile()? {
        all.push((
            RecordKey::new(ViewKey::new(&tenant, &view)?, entity),
            Record::of_write(at(NOON), None, one()),
        ));
    }
    Ok(all)
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn one() -> Features {
    Features::from([("orders", 42)])
}

fn own_times() -> Record {
    let mut record = Record::of_write(at(NOON), None, every_type());
    let own = |index: usize| (index, at(NOON - 1 - index as i64 * 1_000_000));
    record.times = (0..record.features.len()).filter(|index| index % 3 == 1).map(own).collect();
    record.times.retain(|(index, _)| *index < 9);
    record
}

/// A value, and more, of each type.
fn every_type() -> Features {
    let mut features = Features::new();
    for (name, values) in runs() {
        for (at, value) in values.into_iter().take(3).enumerate() {
            features.set(format!("{name}_{at}"), value);
        }
    }
    features.with("null", FeatureValue::Null)
}

/// Values of one type each, 17 of them, the edges of the type first.
fn runs() -> Vec<(&'static str, Vec<FeatureValue>)> {
    use FeatureValue as V;
    let run = |edges: Vec<V>| edges.into_iter().cycle().take(17).collect::<Vec<_>>();
    let map = |depth: usize| {
        (0..depth).fold(V::Int32(7), |inner, _| V::Map(BTreeMap::from([("in".to_owned(), inner)])))
    };
    let pairs = [("a".to_owned(), V::Null), ("b".to_owned(), V::Float32(0.5)), (String::new(), V::from("x"))];
    vec![
        ("null", run(vec![V::Null])),
        ("bool", run(vec![V::Bool(true), V::Bool(false)])),
        ("int32", run(vec![V::Int32(i32::MIN), V::Int32(i32::MAX), V::Int32(0), V::Int32(-1)])),
        ("int64", run(vec![V::Int64(i64::MIN), V::Int64(i64::MAX), V::Int64(1 << 53), V::Int64(-1)])),
        (
            "float32",
            run(vec![
                V::Float32(f32::from_bits(0x7fc0_0001)),
                V::Float32(-0.0),
                V::Float32(f32::MIN_POSITIVE / 2.0),
                V::Float32(f32::INFINITY),
                V::Float32(0.1),
            ]),
        ),
        (
            "float64",
            run(vec![
                V::Float64(f64::from_bits(0xfff8_0000_0000_0001)),
                V::Float64(-0.0),
                V::Float64(5e-324),
                V::Float64(f64::NEG_INFINITY),
                V::Float64(0.1),
                V::Float64(f64::MAX),
            ]),
        ),
        ("string", run(vec!["".into(), "zürich\0東京\u{1f600}".into(), "x".repeat(40).into()])),
        (
            "bytes",
            run(vec![V::Bytes(vec![]), V::Bytes((0..=255).step_by(15).collect()), V::Bytes(vec![0xff])]),
        ),
        (
            "timestamp",
            run(vec![V::Timestamp(at(i64::MIN)), V::Timestamp(at(i64::MAX)), V::Timestamp(at(NOON))]),
        ),
        ("bool_list", run(vec![V::BoolList(vec![]), V::BoolList(vec![true, false, true])])),
        ("int32_list", run(vec![V::Int32List(vec![]), V::Int32List(vec![i32::MIN, 0, i32::MAX])])),
        ("int64_list", run(vec![V::Int64List(vec![]), V::Int64List(vec![i64::MIN, 0, i64::MAX])])),
        (
            "float32_list",
            run(vec![V::Float32List(vec![]), V::Float32List((0..9).map(|n| n as f32 / 3.0).collect())]),
        ),
        ("float64_list", run(vec![V::Float64List(vec![]), V::Float64List(vec![0.1, -0.0, f64::INFINITY])])),
        ("string_list", run(vec![V::StringList(vec![]), V::StringList(vec![String::new(), "é".into()])])),
        ("bytes_list", run(vec![V::BytesList(vec![]), V::BytesList(vec![vec![], vec![0, 255]])])),
        (
            "timestamp_list",
            run(vec![V::TimestampList(vec![]), V::TimestampList(vec![at(0), at(NOON), at(-1)])]),
        ),
        ("map", run(vec![V::Map(BTreeMap::new()), V::Map(pairs.into()), map(FeatureValue::MAX_DEPTH)])),
    ]
}

/// Names that share beginnings shorter and longer than a nibble says, up to the longest.
fn names() -> Features {
    let long = "x".repeat(feature_core::MAX_FEATURE_NAME_BYTES);
    let names =
        ["a", "ab", "abc", "customer_orders_last_7_days", "customer_orders_last_7_days_in_eur", "ümlaut"];
    let names = names.iter().map(|name| (*name).to_owned());
    let shared = [14, 15, 16, 30, 254].map(|length| format!("{}y", &long[..length]));
    names.chain(shared).chain([long]).enumerate().map(|(at, name)| (name, at as f64)).collect()
}

/// Keys with everything in them that a store might take for its own.
fn hostile() -> Result<Vec<(String, String, EntityKey)>> {
    let long = "v".repeat(60);
    let keys = [
        ("acme", "pairs", EntityKey::builder().with("customer_id", 7).with("country", "DE").build()?),
        ("a:b", "c{d}", EntityKey::new("k=1", "x=|y:z")?),
        ("a_b", "c;%", EntityKey::new("id", "*?[x]")?),
        ("zürich", "東京", EntityKey::new("名", "é\n")?),
        ("long", &long, EntityKey::new("id", "k".repeat(300))?),
    ];
    Ok(keys.map(|(tenant, view, entity)| (tenant.to_owned(), view.to_owned(), entity)).into())
}
