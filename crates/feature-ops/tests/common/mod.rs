//! Records of every kind, and stores to have them in.

use std::sync::Arc;

use feature_core::{
    CallContext, EntityKey, FeatureValue, Features, OnlineStoreBackend, Precondition, PutOutcome, Record,
    RecordHeader, RecordKey, RecordPut, Scope, SystemClock, Timestamp, ViewKey, merge,
};
use futures::StreamExt;
use proptest::prelude::*;
use store_testkit::MapStore;

pub(crate) type Store = Arc<dyn OnlineStoreBackend>;

pub(crate) fn store() -> Store {
    Arc::new(MapStore::new(Arc::new(SystemClock)))
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn values() -> impl Strategy<Value = FeatureValue> {
    let leaf = prop_oneof![
        Just(FeatureValue::Null),
        any::<bool>().prop_map(FeatureValue::from),
        any::<i32>().prop_map(FeatureValue::from),
        any::<i64>().prop_map(FeatureValue::from),
        any::<u32>().prop_map(|bits| f32::from_bits(bits).into()),
        any::<u64>().prop_map(|bits| f64::from_bits(bits).into()),
        ".{0,9}".prop_map(FeatureValue::from),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(FeatureValue::from),
        any::<i64>().prop_map(|micros| Timestamp::from_micros(micros).into()),
        prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..4).prop_map(FeatureValue::from),
        prop::collection::vec(".{0,3}", 0..4).prop_map(FeatureValue::from),
    ];
    let map = prop::collection::btree_map(".{0,3}", leaf.clone(), 0..4).prop_map(FeatureValue::Map);
    prop_oneof![8 => leaf, 1 => map]
}

/// What several writes make: with floors, expiries, and features that are older than the record.
fn record() -> impl Strategy<Value = Record> {
    let features = prop::collection::vec(("[a-e]|.{1,5}", values()), 0..6);
    let write = (0..1_000_i64, any::<bool>(), features, prop::option::of(1_i64 << 57..1 << 58));
    prop::collection::vec(write, 1..4).prop_map(|writes| {
        let record = |(time, replace, features, expires): (i64, bool, Vec<_>, Option<i64>)| Record {
            floor: replace.then_some(at(time)),
            ..Record::of_write(at(time), expires.map(at), features.into_iter().collect::<Features>())
        };
        writes.into_iter().map(record).reduce(merge).unwrap()
    })
}

fn key() -> impl Strategy<Value = RecordKey> {
    let name = "[ab]|[ab:|={}%\u{e9}\n\"]{1,3}";
    let entity = prop::collection::btree_map(name, "[0-9]{1,2}|[:|={}%\n\"]{0,3}", 1..3);
    (name, name, entity).prop_map(|(tenant, view, entity)| {
        let entity = entity.iter().fold(EntityKey::builder(), |all, (name, value)| all.with(name, &**value));
        RecordKey::new(ViewKey::new(&tenant, &view).unwrap(), entity.build().unwrap())
    })
}

pub(crate) fn records(most: usize) -> impl Strategy<Value = Vec<(RecordKey, Record)>> {
    prop::collection::vec((key(), record()), 0..most).prop_map(|mut all| {
        all.sort_by_cached_key(|(key, _)| key.to_string());
        all.dedup_by(|a, b| a.0 == b.0);
        all
    })
}

pub(crate) fn call() -> CallContext {
    CallContext::with_timeout(std::time::Duration::from_secs(60))
}

pub(crate) async fn put(store: &Store, records: &[(RecordKey, Record)]) {
    let put = |(key, record): &(RecordKey, Record)| {
        let bytes = record.encode().unwrap();
        let shape = RecordHeader::parse(&bytes).unwrap().shape;
        RecordPut {
            key: key.clone(),
            bytes: bytes.into(),
            event_time: record.event_time,
            shape,
            ttl: None,
            precondition: Precondition::NotNewer,
        }
    };
    for outcome in store.put(records.iter().map(put).collect(), call()).await {
        assert_eq!(outcome.unwrap(), PutOutcome::Stored);
    }
}

/// The bytes of every record, by key.
pub(crate) async fn contents(store: &Store) -> Vec<(String, Vec<u8>)> {
    let rows = store.scan(&Scope::Store).map(|row| row.unwrap());
    let mut rows: Vec<_> = rows.map(|(key, record)| (key.to_string(), record.bytes.to_vec())).collect().await;
    rows.sort();
    rows
}
