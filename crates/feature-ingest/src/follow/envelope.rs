//! What is around the fields of an event.

use std::str::FromStr;

use feature_core::Timestamp;
use serde_json::{Map, Value};

use super::encoding::Encoding;
use crate::error::IngestError;
use crate::time::TimeUnit;

/// What is around the fields of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Envelope {
    /// Nothing: the message is an object of fields.
    #[default]
    Plain,
    /// What Debezium writes of a change in a database: `before`, `after`, `op`. A deleted row becomes a
    /// retraction.
    Debezium,
}

/// An event without its envelope.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) fields: Map<String, Value>,
    /// Whether what the fields name is no more.
    pub(crate) gone: bool,
    /// When the envelope says that it happened.
    pub(crate) time: Option<Timestamp>,
}

impl FromStr for Envelope {
    type Err = IngestError;

    fn from_str(name: &str) -> Result<Self, IngestError> {
        match name {
            "plain" => Ok(Self::Plain),
            "debezium" => Ok(Self::Debezium),
            other => {
                Err(IngestError::Request(format!("`{other}` is no envelope; known are plain, debezium")))
            }
        }
    }
}

impl Envelope {
    /// The event of a message; `None` where it says nothing, as a tombstone does.
    pub(crate) fn open(self, payload: &[u8], encoding: &Encoding) -> Result<Option<Event>, String> {
        if payload.is_empty() && self == Self::Debezium {
            return Ok(None);
        }
        match (self, encoding.read(payload)?) {
            (Self::Plain, Value::Object(fields)) => Ok(Some(Event { fields, gone: false, time: None })),
            (Self::Debezium, Value::Null) => Ok(None),
            (Self::Debezium, Value::Object(mut outer)) => match outer.remove("payload") {
                // With its schema beside it.
                Some(Value::Object(inner)) => change(inner).map(Some),
                Some(Value::Null) => Ok(None),
                Some(other) => Err(format!("`payload` is {}, not an object", kind(&other))),
                None => change(outer).map(Some),
            },
            (_, other) => Err(format!("it is {}, not an object", kind(&other))),
        }
    }
}

fn change(mut change: Map<String, Value>) -> Result<Event, String> {
    let op = change.get("op").and_then(Value::as_str).unwrap_or_default();
    let (row, gone) = match op {
        "c" | "u" | "r" => ("after", false),
        "d" => ("before", true),
        "" => return Err("it is no change of Debezium: it has no `op`".to_owned()),
        other => return Err(format!("the change `{other}` is not one of a row")),
    };
    let time = ["ts_ns", "ts_us", "ts_ms"].into_iter().find_map(|name| {
        let number = change.get("source")?.get(name)?.as_i64().filter(|number| *number > 0)?;
        let unit = match name {
            "ts_ns" => TimeUnit::Nanosecond,
            "ts_us" => TimeUnit::Microsecond,
            _ => TimeUnit::Millisecond,
        };
        unit.instant(number).ok()
    });
    match change.remove(row) {
        Some(Value::Object(fields)) => Ok(Event { fields, gone, time: time.map(|instant| instant.time) }),
        _ => Err(format!(
            "the change has no `{row}`{}",
            if gone { ": let the table's REPLICA IDENTITY have its keys" } else { "" }
        )),
    }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open(envelope: Envelope, payload: &Value) -> Result<Option<Event>, String> {
        envelope.open(payload.to_string().as_bytes(), &Encoding::Json)
    }

    fn event(fields: Value, gone: bool, micros: Option<i64>) -> Event {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        Event { fields, gone, time: micros.map(Timestamp::from_micros) }
    }

    #[test]
    fn plain_json_is_its_own_event() {
        assert_eq!(open(Envelope::Plain, &json!({"a": 1})), Ok(Some(event(json!({"a": 1}), false, None))));
        for (payload, says) in
            [("[1]", "a list"), ("null", "null"), ("{\"a\":", "not JSON"), ("", "not JSON")]
        {
            let refused = Envelope::Plain.open(payload.as_bytes(), &Encoding::Json).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn a_change_is_its_row_and_a_delete_says_that_it_is_gone() {
        let source = json!({"ts_ms": 5, "ts_us": 5_007, "table": "customers"});
        for op in ["c", "u", "r"] {
            let change = json!({"op": op, "before": null, "after": {"id": 1}, "source": source, "ts_ms": 9});
            let expected = event(json!({"id": 1}), false, Some(5_007));
            assert_eq!(open(Envelope::Debezium, &change), Ok(Some(expected)));
        }
        let gone = json!({"schema": {}, "payload": {"op": "d", "before": {"id": 1}, "after": null}});
        assert_eq!(open(Envelope::Debezium, &gone), Ok(Some(event(json!({"id": 1}), true, None))));
        for tombstone in ["", "null", "{\"payload\":null}"] {
            assert_eq!(Envelope::Debezium.open(tombstone.as_bytes(), &Encoding::Json), Ok(None));
        }
        for (change, says) in [
            (json!({"op": "t"}), "`t` is not one of a row"),
            (json!({"id": 1}), "no `op`"),
            (json!({"op": "d", "before": null}), "REPLICA IDENTITY"),
            (json!({"op": "c"}), "no `after`"),
            (json!(7), "a number"),
        ] {
            let refused = open(Envelope::Debezium, &change).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
