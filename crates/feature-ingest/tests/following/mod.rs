//! Messages, and what they come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_core::{Features, OnlineStoreBackend, Record, Scope, Timestamp, merge};
use feature_ingest::TimeUnit;
use feature_ingest::follow::{Encoding, Envelope, Part, StreamFeatures, StreamMapping, StreamTime};
use futures::StreamExt;
use serde_json::json;
use store_testkit::TestFailure;

pub(crate) fn mapping() -> StreamMapping {
    let field = |name: &str| name.parse().map_err(|_| "a field".to_owned());
    let [tenant, id, at, mode] = ["shop", "who.id", "at", "mode"].map(|name| field(name).ok());
    let (Some(tenant), Some(id), Some(at), Some(mode)) = (tenant, id, at, mode) else {
        unreachable!("these are names of fields")
    };
    StreamMapping {
        encoding: Encoding::Json,
        envelope: Envelope::Plain,
        tenant: Part::Field(tenant),
        view: Part::Constant("customers".to_owned()),
        entity: vec![("id".to_owned(), id)],
        event_time: Some(StreamTime { field: at, unit: Some(TimeUnit::Microsecond) }),
        features: StreamFeatures::Others,
        ttl: None,
        mode: Part::Field(mode),
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

/// A message about one of so many entities, and what it says: of which record.
pub(crate) fn message(time: i64, entities: i64) -> (String, (String, Record)) {
    let (tenant, id) = (["a", "b"][fastrand::usize(..2)], fastrand::i64(0..entities));
    let mode = ["merge", "merge", "merge", "replace", "retract"][fastrand::usize(..5)];
    let mut fields = json!({"shop": tenant, "who": {"id": id}, "at": at(time).as_micros(), "mode": mode});
    let mut features = Features::new();
    if mode != "retract" {
        for name in ["x", "y", "z"].into_iter().filter(|name| *name == "x" || fastrand::bool()) {
            fields[name] = json!(time);
            features.set(name, time);
        }
    }
    let floor = (mode != "merge").then_some(at(time));
    let record = Record { floor, ..Record::of_write(at(time), None, features) };
    (fields.to_string(), (format!("{tenant}:customers:id={id}"), record))
}

/// The records, by key.
pub(crate) async fn contents(
    store: &Arc<dyn OnlineStoreBackend>,
) -> Result<BTreeMap<String, Record>, TestFailure> {
    let mut rows = store.scan(&Scope::Store);
    let mut contents = BTreeMap::new();
    while let Some(row) = rows.next().await {
        let (key, record) = row?;
        contents.insert(key.to_string(), Record::decode(&record.bytes)?);
    }
    Ok(contents)
}

/// Messages out of order, some twice and some poisoned, each in its own way, and the records that the others come to.
pub(crate) fn messages(times: i64) -> (Vec<String>, BTreeMap<String, Record>) {
    let mut expected: BTreeMap<String, Record> = BTreeMap::new();
    let mut messages = Vec::new();
    let entities = (times / 80).max(40);
    for time in 0..times {
        let (payload, (key, record)) = message(time * 10, entities);
        messages.push(payload.clone());
        if fastrand::u8(..5) == 0 {
            messages.push(payload);
        }
        let merged = match expected.remove(&key) {
            Some(stored) => merge(stored, record),
            None => record,
        };
        expected.insert(key, merged);
    }
    for n in 0..50 {
        let poison = [
            format!("{{{n}"),
            json!({"n": n}).to_string(),
            json!({"shop": "a", "who": {"id": 1}, "at": "never", "x": n}).to_string(),
            json!({"shop": "a", "who": {"id": 1}, "at": 5, "x": [[n]]}).to_string(),
        ];
        messages.push(poison[n % 4].clone());
    }
    fastrand::shuffle(&mut messages);
    (messages, expected)
}

/// Whether a message cannot be taken.
pub(crate) fn is_poison(payload: &str) -> bool {
    !serde_json::from_str::<serde_json::Value>(payload).is_ok_and(|fields| fields["at"].as_i64() > Some(5))
}
