use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apache_avro::types::Value as Datum;
use apache_avro::{Decimal, Schema};
use bytes::Bytes;
use feature_core::{ErrorKind, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const ORDER: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "id", "type": "long"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "score", "type": "float"},
    {"name": "amount", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "OLD"]}},
    {"name": "last", "type": ["null", "Kind"]},
    {"name": "parts", "type": {"type": "array", "items": {"type": "record", "name": "Part", "fields": [
        {"name": "weight", "type": "double"}]}}},
    {"name": "more", "type": {"type": "map", "values": "bytes"}}]}"#;

fn datum(schema: &str, value: Datum) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap()
}

fn order() -> Vec<u8> {
    let record = |fields: Vec<(&str, Datum)>| {
        Datum::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let amount = Datum::Decimal(Decimal::from((-4_250_i16).to_be_bytes()));
    datum(
        ORDER,
        record(vec![
            ("id", Datum::Long(7)),
            ("at", Datum::TimestampMillis(1_700_000_000_123)),
            ("day", Datum::Date(1)),
            ("score", Datum::Float(0.1)),
            ("amount", Datum::Union(1, Box::new(amount))),
            ("kind", Datum::Enum(1, "OLD".to_owned())),
            ("last", Datum::Union(0, Box::new(Datum::Null))),
            ("parts", Datum::Array(vec![record(vec![("weight", Datum::Double(f64::NAN))])])),
            ("more", Datum::Map(HashMap::from([("raw".to_owned(), Datum::Bytes(vec![1, 2]))]))),
        ]),
    )
}

fn registered(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

fn message(payload: Vec<u8>) -> Message {
    Message { place: "1".to_owned(), time: Timestamp::from_micros(0), payload: Bytes::from(payload) }
}

#[test]
fn a_datum_becomes_what_json_of_the_same_meaning_would_be() {
    let avro = Avro::with_schema(ORDER).unwrap();
    let expected = json!({
        "id": 7, "at": "2023-11-14T22:13:20.123Z", "day": "1970-01-02T00:00:00Z", "score": 0.1, "amount": -42.5,
        "kind": "OLD", "last": null, "parts": [{"weight": "NaN"}], "more": {"raw": "AQI="},
    });
    assert_eq!(avro.read(&order()), Ok(expected));
}

#[test]
fn what_is_not_of_the_schema_is_refused_with_a_reason() {
    let avro = Avro::with_schema(ORDER).unwrap();
    let whole = order();
    for end in 0..whole.len() {
        assert!(avro.read(&whole[..end]).is_err(), "the first {end} bytes");
    }
    let refused = avro.read(&[&whole[..], &[0]].concat()).unwrap_err();
    assert!(refused.contains("1 bytes are left over"), "{refused}");
    let long = r#"{"type": "bytes", "logicalType": "decimal", "precision": 60}"#;
    let wide = datum(long, Datum::Decimal(Decimal::from([1; 20])));
    assert!(Avro::with_schema(long).unwrap().read(&wide).unwrap_err().contains("38 digits"));
}

#[test]
fn a_schema_that_would_let_a_message_be_of_any_depth_is_refused() {
    let list = r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#;
    for (schema, says) in
        [(list, "contains itself"), ("{", "no schema"), (r#"{"type": "nothing"}"#, "no schema")]
    {
        let refused = Avro::with_schema(schema).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(payload in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let avro = Avro::with_schema(ORDER).unwrap();
        let _ = avro.read(&payload);
        let mut changed = order();
        let at = cut.index(changed.len());
        changed[at] ^= payload.first().copied().unwrap_or(1);
        let _ = avro.read(&changed);
    }
}

/// A registry that has schema 7, and others that cannot be used, after it has failed so many times; how often it was
/// asked.
async fn registry(failures: usize) -> (Secret, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:s3cret@{}/", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let number = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
            let before = number.fetch_add(1, Ordering::Relaxed);
            let order = json!({"schema": ORDER}).to_string();
            let (status, body) = match head.split_whitespace().nth(1) {
                _ if before < failures => ("503 Service Unavailable", String::new()),
                _ if !head.contains("authorization: basic dxnlcjpzm2nyzxq=") => {
                    ("401 Unauthorized", String::new())
                }
                Some("/schemas/ids/7") => ("200 OK", order),
                Some("/schemas/ids/8") => {
                    ("200 OK", json!({"schema": "{}", "schemaType": "JSON"}).to_string())
                }
                _ => ("404 Not Found", json!({"error_code": 40403}).to_string()),
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (Secret::from(url), asked)
}

#[tokio::test]
async fn schemas_come_from_the_registry_once_and_what_it_does_not_have_is_a_reason() {
    let (url, asked) = registry(0).await;
    let avro = Avro::with_registry(&url).unwrap();
    let good = message(registered(7, &order()));
    let batch = [
        good.clone(),
        message(registered(9, &order())),
        message(registered(8, &order())),
        message(registered(7, &[1])),
        message(vec![0, 0, 7]),
        message(b"{}".to_vec()),
        good.clone(),
    ];
    for _ in 0..2 {
        avro.prepare(&batch).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let read = |at: usize| avro.read(&batch[at].payload);
    assert_eq!(read(0).unwrap()["id"], 7);
    assert_eq!(read(1).unwrap_err(), "the schema registry has no schema 9");
    assert_eq!(read(2).unwrap_err(), "schema 8 cannot be used: it is none of Avro, but JSON");
    assert!(read(3).unwrap_err().contains("not of its schema"));
    assert!(read(4).unwrap_err().contains("ends before the number"));
    assert!(read(5).unwrap_err().contains("does not begin"));
}

#[tokio::test]
async fn a_registry_that_is_away_is_asked_again_and_one_that_refuses_is_not() {
    let (url, _) = registry(1).await;
    let avro = Avro::with_registry(&url).unwrap();
    let batch = [message(registered(7, &order()))];
    let away = avro.prepare(&batch).await.unwrap_err();
    assert_eq!((away.kind(), away.is_retryable()), (ErrorKind::Unavailable, true));
    avro.prepare(&batch).await.unwrap();
    let wrong = Secret::from(url.expose().replace("s3cret", "wrong"));
    let refused = Avro::with_registry(&wrong).unwrap().prepare(&batch).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unauthenticated, false));
    assert!(!format!("{refused:?}").contains("wrong@") && !format!("{away:?}").contains("s3cret"));
    assert!(Avro::with_registry(&Secret::from("kafka:9092")).is_err());
}
