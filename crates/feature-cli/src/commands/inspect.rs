//! `inspect`: a record as it lies in each store.

use feature_core::{Error, FeatureValue, Record, RecordKey, SystemClock, Timestamp, ValueType, ViewKey};
use feature_ops::Inspected;
use serde_json::{Map, Value, json};

use super::Open;
use crate::cli::{Format, InspectArgs};
use crate::exit::{Exit, Result};
use crate::output::Output;

const NAMES: [&str; 12] = [
    "store",
    "key",
    "found",
    "bytes",
    "format",
    "shape",
    "event_time",
    "floor",
    "expires_at",
    "ttl_left_seconds",
    "damage",
    "features",
];

pub(super) async fn run(open: &Open, args: InspectArgs, output: &mut Output) -> Result<Exit> {
    let key = RecordKey::new(ViewKey::new(&args.place.tenant, &args.place.view)?, args.entity);
    let mut found = Vec::new();
    for (name, store) in open.stores() {
        let record = feature_ops::inspect(&store, &key, &SystemClock, open.batch_deadline()).await;
        found.push((name, record?));
    }
    let exit = if found.iter().any(|(_, record)| record.is_some()) { Exit::Done } else { Exit::NothingFound };
    let rows = found.iter().map(|(store, record)| row(store, &key, record.as_ref()));
    if output.format() == Format::Table {
        for row in rows {
            let properties: Vec<_> =
                NAMES.into_iter().zip(row).filter(|(_, value)| !value.is_null()).collect();
            output.record(&properties)?;
        }
        return Ok(exit);
    }
    let mut list = output.rows(&NAMES);
    for row in rows {
        list.push(row)?;
    }
    list.finish()?;
    Ok(exit)
}

fn row(store: &str, key: &RecordKey, found: Option<&Inspected>) -> Vec<Value> {
    let mut row = vec![json!(store), json!(key.to_string()), json!(found.is_some())];
    row.extend(match found {
        None => vec![Value::Null; NAMES.len() - row.len()],
        Some(Inspected { bytes, format, header, record, left }) => {
            let record = record.as_ref();
            vec![
                json!(bytes),
                json!(format),
                json!(format!("{:016x}", header.shape)),
                json!(header.event_time),
                json!(record.ok().and_then(|record| record.floor)),
                json!(header.expires_at),
                json!(left.map(|left| left.as_secs())),
                json!(record.err().map(Error::message)),
                record.map_or(Value::Null, features),
            ]
        }
    });
    row
}

fn features(record: &Record) -> Value {
    let feature = |(name, value): (&str, &FeatureValue)| {
        let time: Option<Timestamp> = record.get(name).map(|feature| feature.event_time);
        let of = value.value_type().map(ValueType::name);
        (name.to_owned(), json!({"type": of, "value": value.to_json(), "event_time": time}))
    };
    Value::Object(record.features.iter().map(feature).collect::<Map<_, _>>())
}
