//! Reads and writes as Arrow record batches.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field};
use common::{Client, Reply, Running, map_store};
use serde_json::{Value, json};

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    // In two batches, as a client may.
    let half = batch.num_rows() / 2;
    writer.write(&batch.slice(0, half)).unwrap();
    writer.write(&batch.slice(half, batch.num_rows() - half)).unwrap();
    writer.into_inner().unwrap()
}

fn batch(reply: &Reply) -> RecordBatch {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], ARROW);
    let mut batches: Vec<_> = StreamReader::try_new(&reply.body[..], None).unwrap().collect();
    assert_eq!(batches.len(), 1);
    batches.remove(0).unwrap()
}

async fn write(client: &Client, path: &str, body: Vec<u8>) -> Reply {
    client.clone().with("content-type", ARROW).post(path, body).await
}

#[tokio::test]
async fn what_is_written_as_arrow_is_read_as_arrow() {
    let server = Running::start("").await;
    let client = server.client();
    let tags = ListArray::new(
        Arc::new(Field::new_list_field(DataType::Utf8, true)),
        OffsetBuffer::from_lengths([2, 0, 1]),
        Arc::new(StringArray::from(vec!["a", "b", "c"])),
        None,
    );
    let body = stream(vec![
        ("customer_id", Arc::new(Int32Array::from(vec![Some(7), Some(8), None]))),
        ("orders", Arc::new(Int64Array::from(vec![Some(3), None, Some(1)]))),
        ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN, 1.0]))),
        ("country", Arc::new(StringArray::from(vec![Some("DE"), Some(""), None]))),
        ("tags", Arc::new(tags)),
        ("event_time", Arc::new(TimestampMillisecondArray::from(vec![Some(1_780_000_000_000), None, None]))),
    ]);
    let reply = write(&client, "/v1/tenants/acme/views/customers/write", body).await;
    assert_eq!(reply.status, 207, "{}", reply.text());
    assert_eq!(reply.json()["outcomes"], json!(["applied", "applied", "failed"]));
    assert_eq!(reply.json()["errors"][0]["error"], "the join key `customer_id` is null");

    let read = json!({ "entities": { "customer_id": [7, 8, 9] }, "include": ["statuses", "event_times"],
                       "features": ["orders", "score", "tags"] });
    let path = "/v1/tenants/acme/views/customers/read";
    let batch = batch(&client.clone().with("accept", ARROW).post(path, read.to_string()).await);
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names[..3], ["orders", "orders__status", "orders__event_time"]);
    assert_eq!(batch.schema_ref().field(0).metadata()["feature"], "customers:orders");
    let orders: Vec<_> = batch["orders"].as_primitive::<Int64Type>().iter().collect();
    assert_eq!(orders, [Some(3), None, None]);
    let statuses: Vec<_> = batch["orders__status"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(statuses, ["present", "null", "not_found"]);
    let times = batch["orders__event_time"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.iter().next().unwrap(), Some(1_780_000_000_000_000));
    let tags = batch["tags"].as_list::<i32>();
    let first: Vec<_> = tags.value(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    assert_eq!((first, tags.value(1).len()), (vec!["a".to_owned(), "b".to_owned()], 0));
    server.stop().await;
}

/// Every type of a feature, with values and nulls, as JSON writes them.
#[tokio::test]
async fn every_type_is_the_same_in_arrow_and_in_json() {
    let types = [
        ("bool", json!(true)),
        ("int32", json!(-5)),
        ("int64", json!(9_007_199_254_740_993_i64)),
        ("float32", json!(0.25)),
        ("float64", json!("-Infinity")),
        ("string", json!("ä\u{0}\"")),
        ("bytes", json!("AP8=")),
        ("timestamp", json!("2026-01-01T00:00:00.000001Z")),
        ("list<bool>", json!([true, false])),
        ("list<int32>", json!([1])),
        ("list<int64>", json!([])),
        ("list<float32>", json!([0.5, "NaN"])),
        ("list<float64>", json!([1.0])),
        ("list<string>", json!(["", "x"])),
        ("list<bytes>", json!(["AA=="])),
        ("list<timestamp>", json!(["1969-12-31T23:59:59.999999Z"])),
        ("map", json!({ "a": { "b": [1, 2] } })),
    ];
    assert_eq!(types.len(), feature_core::ValueType::ALL.len());
    let declared: Vec<String> =
        types.iter().enumerate().map(|(n, (of, _))| format!("f{n:02}: '{of}'")).collect();
    let settings = format!(
        "stores: {{ main: 'memory:' }}\nserver: {{ listen: '127.0.0.1:0', admin: off }}\nfeature_views:\n  - {{ name: v, entities: [id], features: {{ {} }} }}",
        declared.join(", ")
    );
    let server = Running::with(&settings, map_store()).await;
    let client = server.client();
    let values: serde_json::Map<String, Value> =
        types.iter().enumerate().map(|(n, (_, value))| (format!("f{n:02}"), value.clone())).collect();
    let nulls: serde_json::Map<String, Value> =
        values.keys().map(|name| (name.clone(), Value::Null)).collect();
    let rows = json!({ "rows": [{ "entity": { "id": 1 }, "features": values }, { "entity": { "id": 2 }, "features": nulls }] });
    client.post("/v1/tenants/acme/views/v/write", rows.to_string()).await.ok();

    // What Arrow says is written as it is, and then read as JSON.
    let path = "/v1/tenants/acme/views/v/read";
    let read = json!({ "entities": { "id": [1, 2] } }).to_string();
    let got = batch(&client.clone().with("accept", ARROW).post(path, read.clone()).await);
    let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(StringArray::from(vec!["1", "2"])))];
    let schema = got.schema();
    columns.extend(
        schema
            .fields()
            .iter()
            .zip(got.columns())
            .map(|(field, column)| (field.name().as_str(), Arc::clone(column))),
    );
    let before = client.post(path, read.clone()).await.ok();
    client.delete("/v1/tenants/acme", "").await.ok();
    let written =
        write(&client, "/v1/tenants/acme/views/v/write?ttl=7d&mode=replace", stream(columns)).await.ok();
    assert_eq!(written["applied"], 2);
    let after = client.post(path, read).await.ok();
    assert_eq!(after, before);
    let first: Vec<&Value> =
        after["columns"].as_array().unwrap().iter().map(|column| &column["values"][0]).collect();
    assert_eq!(first, types.iter().map(|(_, value)| value).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_stream_is_told_what_is_wrong() {
    let server = Running::start("  limits: { rows: 3 }").await;
    let client = server.client();
    let path = "/v1/tenants/acme/views/customers/write";
    let ids = || ("customer_id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef);
    let good = stream(vec![ids()]);
    for (query, body, status, part) in [
        ("", b"no arrow".to_vec(), 400, "not a stream of Arrow"),
        ("", good[..good.len() / 2].to_vec(), 400, "not a stream of Arrow"),
        (
            "",
            stream(vec![("orders", Arc::new(Int64Array::from(vec![1, 2])))]),
            400,
            "no column for the join key `customer_id`",
        ),
        (
            "",
            stream(vec![("customer_id", Arc::new(Float64Array::from(vec![1.0, 2.0])))]),
            400,
            "Float64: expected texts or whole numbers",
        ),
        ("?event_time=at", stream(vec![ids()]), 400, "no column `at`"),
        ("?color=red", stream(vec![ids()]), 400, "unknown parameter"),
        ("", stream(vec![("customer_id", Arc::new(Int64Array::from(vec![1, 2, 3, 4])))]), 413, "limits.rows"),
    ] {
        let reply = write(&client, &format!("{path}{query}"), body).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.json()["detail"].as_str().unwrap().contains(part), "{}", reply.text());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_scan_comes_as_record_batches() {
    let server = Running::start("").await;
    let client = server.client();
    let rows: Vec<_> = (0..3_000)
        .map(|id| {
            let features =
                json!({ "orders": id, "score": if id % 3 == 0 { Value::Null } else { json!(0.5) } });
            json!({ "entity": { "customer_id": id }, "features": features })
        })
        .collect();
    let path = "/v1/tenants/acme/views/customers";
    let reply = client.post(&format!("{path}/write"), json!({ "rows": rows }).to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = client.clone().with("accept", ARROW).get(&format!("{path}/scan")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], ARROW);
    let batches: Vec<RecordBatch> =
        StreamReader::try_new(&reply.body[..], None).unwrap().map(Result::unwrap).collect();
    assert!(batches.len() >= 3 && batches.iter().all(|batch| batch.num_rows() <= 1_024));
    let mut found: Vec<(i64, i64, bool)> = Vec::new();
    for batch in &batches {
        let ids = batch["customer_id"].as_string::<i32>().iter().flatten().map(|id| id.parse().unwrap());
        let orders = batch["orders"].as_primitive::<Int64Type>().values().iter().copied();
        let scores = batch["score"].as_primitive::<Float64Type>().iter().map(|score| score.is_none());
        found.extend(ids.zip(orders).zip(scores).map(|((id, orders), score)| (id, orders, score)));
        assert_eq!(batch["event_time"].null_count(), 0);
        assert_eq!(batch["error"].null_count(), batch.num_rows());
    }
    found.sort_unstable();
    assert!(found.iter().copied().eq((0..3_000).map(|id| (id, id, id % 3 == 0))));
    // A store without rows is a schema and its end.
    let reply = client.clone().with("accept", ARROW).get("/v1/tenants/acme/views/devices/scan").await;
    assert_eq!(StreamReader::try_new(&reply.body[..], None).unwrap().count(), 0);
    server.stop().await;
}
