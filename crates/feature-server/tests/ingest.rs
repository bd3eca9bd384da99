//! Loads over HTTP: bodies of any length, which are read as they come.

#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use common::{Client, Reply, Running, settings};
use feature_server::new_key;
use futures::SinkExt;
use futures::channel::mpsc;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PATH: &str = "/v1/tenants/acme/views/devices/ingest";
const NDJSON: &str = "application/x-ndjson";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// The lines of an answer.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ingest(client: &Client, query: &str, language: &str, body: impl Into<Bytes>) -> Reply {
    client.clone().with("content-type", language).post(&format!("{PATH}{query}"), body).await
}

/// The report at the end of an answer, which must be one.
fn report(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], NDJSON);
    lines(reply.text()).pop().unwrap()["report"].take()
}

async fn logins(client: &Client, id: &str) -> Value {
    let read =
        json!({ "entities": { "device_id": [id] }, "include": ["event_times"], "features": ["logins"] });
    let reply = client.post("/v1/tenants/acme/views/devices/read", read.to_string()).await.ok();
    reply["columns"][0]["values"][0].clone()
}

type Piece = Result<Frame<Bytes>, Infallible>;

/// A load whose body is sent piece by piece, and its answer. What is sent is dropped to end it, the task is
/// aborted to go away.
async fn begin(
    client: &Client,
    query: &str,
) -> (mpsc::Sender<Piece>, JoinHandle<()>, JoinHandle<Response<Incoming>>) {
    let stream = TcpStream::connect(client.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(async move {
        let _ = connection.await;
    });
    let (pieces, body) = mpsc::channel::<Piece>(0);
    let mut request =
        Request::post(format!("{PATH}{query}")).header("host", "x").header("content-type", NDJSON);
    for (name, value) in &client.headers {
        request = request.header(name, value);
    }
    let request = request.body(StreamBody::new(body)).unwrap();
    let answer = tokio::spawn(async move { sender.send_request(request).await.unwrap() });
    (pieces, connection, answer)
}

fn rows(ids: std::ops::Range<usize>) -> Bytes {
    let row = |id| format!("{{\"device_id\":\"d{id}\",\"logins\":{id},\"country\":\"DE\"}}\n");
    ids.map(row).collect::<String>().into()
}

async fn send(pieces: &mut mpsc::Sender<Piece>, piece: Bytes) {
    pieces.send(Ok(Frame::data(piece))).await.unwrap();
}

async fn whole(answer: Response<Incoming>) -> Vec<Value> {
    lines(std::str::from_utf8(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

#[tokio::test]
async fn each_language_gives_the_same_rows_and_the_same_report() {
    let csv = "device_id,logins,country,seen\na,1,DE,2026-05-31T10:00:00Z\n\"b\",2,NA,2026-05-31T11:00:00Z\n\
               b,x,FR,2026-05-31T12:00:00Z\n,3,FR,2026-05-31T12:00:00Z\n";
    let json = "{\"device_id\":\"a\",\"logins\":1,\"country\":\"DE\",\"seen\":\"2026-05-31T10:00:00Z\"}\n\
                {\"device_id\":\"b\",\"logins\":2,\"country\":null,\"seen\":\"2026-05-31T11:00:00Z\"}\n\
                {\"device_id\":\"b\",\"logins\":\"x\",\"country\":\"FR\",\"seen\":\"2026-05-31T12:00:00Z\"}\n\
                {\"logins\":3,\"country\":\"FR\",\"seen\":\"2026-05-31T12:00:00Z\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv.as_bytes()).unwrap();
    for (query, language, body) in [
        ("?timestamp=seen", "text/csv; header=present", Bytes::from(csv)),
        ("?timestamp=seen", "text/csv", gzip.finish().unwrap().into()),
        ("?timestamp=seen", "text/tab-separated-values", csv.replace(',', "\t").into()),
        ("?timestamp=seen&delimiter=%3B", "text/csv", csv.replace(',', ";").into()),
        ("?timestamp=seen", NDJSON, json.into()),
        ("?timestamp=seen", "application/json", format!("[{}]", json.trim().replace('\n', ",")).into()),
    ] {
        let server = Running::start("").await;
        let client = server.client();
        let reply = ingest(&client, query, language, body).await;
        let mut said = lines(reply.text());
        let report = report(&reply);
        assert_eq!(
            (&report["read"], &report["written"], &report["rejected"], &report["ended"]),
            (&json!(4), &json!(2), &json!(2), &json!("complete")),
            "{language}: {report}"
        );
        assert_eq!(report["entities"], 2);
        let columns = said.remove(0)["columns"].take();
        assert!(columns.to_string().contains("event time"), "{columns}");
        let rejects: Vec<_> = said.iter().filter_map(|line| line.get("reject")).collect();
        assert_eq!((&rejects[0]["row"], &rejects[1]["row"]), (&json!(3), &json!(4)), "{language}");
        assert_eq!(rejects[0]["entity"], "device_id=b");
        assert!(rejects[0]["reason"].as_str().unwrap().contains("logins"), "{rejects:?}");
        assert!(rejects[1]["reason"].as_str().unwrap().contains("no entity"), "{rejects:?}");
        assert_eq!((logins(&client, "a").await, logins(&client, "b").await), (json!(1), json!(2)));
        server.stop().await;
    }
}

fn arrow(options: IpcWriteOptions) -> Vec<u8> {
    let ids = (0..3000).map(|id| format!("d{id}"));
    let columns: [(&str, ArrayRef); 3] = [
        ("device_id", Arc::new(StringArray::from_iter_values(ids))),
        ("logins", Arc::new(Int64Array::from_iter_values(0..3000))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_780_000_000_000_000; 3000]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch.slice(0, 2500)).unwrap();
    writer.write(&batch.slice(2500, 500)).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn a_stream_of_arrow_is_taken_and_a_wrong_one_is_told() {
    let server = Running::start("").await;
    let client = server.client();
    let stream = arrow(IpcWriteOptions::default());
    let done = report(&ingest(&client, "?timestamp=at", ARROW, stream.clone()).await);
    assert_eq!((&done["written"], &done["ended"]), (&json!(3000), &json!("complete")), "{done}");
    assert_eq!(logins(&client, "d2999").await, 2999);

    // What is before the damage is written.
    let cut = report(&ingest(&client, "?timestamp=at", ARROW, stream[..stream.len() - 100].to_vec()).await);
    assert_eq!(
        (&cut["read"], &cut["ended"], &cut["kind"]),
        (&json!(2500), &json!("failed"), &json!("InvalidArgument"))
    );
    assert!(cut["error"].as_str().unwrap().contains("cut off"), "{cut}");
    let mut huge = stream.clone();
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let packed = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    for (body, why) in [
        (huge, "the head of a message has 4294967295 bytes"),
        (stream[..50].to_vec(), "cut off"),
        (b"ARROW1\0\0".to_vec(), "has"),
    ] {
        let detail = ingest(&client, "?timestamp=at", ARROW, body).await.problem(400, "InvalidArgument");
        assert!(detail.contains(why), "{detail}");
    }
    let packed = report(&ingest(&client, "?timestamp=at", ARROW, arrow(packed)).await);
    assert!(packed["error"].as_str().unwrap().contains("compressed"), "{packed}");
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let server = Running::start("").await;
    let client = server.client();
    let row = "{\"device_id\":\"a\",\"logins\":1}";
    for (query, language, body, status, why) in [
        ("?entities=a", NDJSON, row, 400, "unknown parameter `entities`"),
        ("?ttl=soon", NDJSON, row, 400, "soon"),
        ("?mode=add", NDJSON, row, 400, "merge or replace"),
        ("?timestamp_unit=h", NDJSON, row, 400, "timestamp_unit"),
        ("?delimiter=ab", "text/csv", row, 400, "one ASCII character"),
        ("?entity=nothing", "text/csv", "logins,b\n1,2\n", 400, "no entity column `nothing`"),
        ("?features=nothing", NDJSON, row, 400, "no `nothing`"),
        ("", NDJSON, "", 400, "empty"),
        ("", "text/plain", row, 415, "send application/x-ndjson"),
        ("", "application/vnd.apache.parquet", row, 415, "read only from its end"),
    ] {
        let reply = ingest(&client, query, language, body).await;
        assert_eq!(reply.status, status, "{query} {language}: {}", reply.text());
        assert!(reply.text().contains(why), "{query} {language}: {}", reply.text());
    }
    let path = "/v1/tenants/acme/views/nothing/ingest";
    client.clone().with("content-type", NDJSON).post(path, row).await.problem(404, "UnknownView");
    assert_eq!(logins(&client, "a").await, Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn rows_live_and_meet_as_the_query_says() {
    let server = Running::start("").await;
    let client = server.client();
    let first = "{\"device_id\":\"a\",\"logins\":1,\"country\":\"DE\",\"t\":1780000000}\n";
    report(&ingest(&client, "?timestamp=t&timestamp_unit=s&ttl=7d", NDJSON, first).await);
    let later = first.replace("\"country\":\"DE\",", "").replace("1780000000", "1780000001");
    report(&ingest(&client, "?timestamp=t&timestamp_unit=s&mode=replace&exclude=x", NDJSON, later).await);
    let scan = client.get("/v1/tenants/acme/views/devices/scan").await.json();
    assert_eq!(scan["features"], json!({ "logins": 1 }));
    assert_eq!(scan.get("expires_at"), None);
    let older = ingest(&client, "?timestamp=t&timestamp_unit=s&ttl=7d", NDJSON, first).await;
    assert_eq!(report(&older)["superseded"], 1);
    server.stop().await;
}

#[tokio::test]
async fn only_so_many_rejected_rows_are_listed_and_all_are_counted() {
    let server = Running::start("").await;
    let body = "{\"device_id\":\"a\",\"logins\":1}\n".to_owned() + &"{\"logins\":1}\n".repeat(1500);
    for (query, listed) in [("", 1000), ("?rejects=3", 3), ("?rejects=0", 0), ("?rejects=9999", 1500)] {
        let reply = ingest(&server.client(), query, NDJSON, body.clone()).await;
        let said = lines(reply.text());
        assert_eq!(said.iter().filter(|line| line.get("reject").is_some()).count(), listed);
        assert_eq!(report(&reply)["rejected"], 1500);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_goes_on_is_written_meanwhile_and_is_bound_by_no_deadline() {
    let server = Running::start("  timeouts: { request: 100ms }\n  limits: { body: 1KiB }").await;
    let client = server.client();
    let (mut pieces, _connection, answer) = begin(&client, "").await;
    // Enough for the sample from which columns are told, and for a batch.
    for piece in 0..10 {
        send(&mut pieces, rows(piece * 1000..(piece + 1) * 1000)).await;
    }
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    while logins(&client, "d1").await.is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(&mut pieces, rows(10_000..10_001)).await;
    drop(pieces);
    let said = whole(answer).await;
    assert_eq!(said.last().unwrap()["report"]["written"], 10_001);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_or_sends_nothing_more_ends_its_load() {
    let server = Running::start("  limits: { ingests: 1 }\n  timeouts: { idle: 300ms }").await;
    let client = server.client();
    let (mut pieces, connection, answer) = begin(&client, "").await;
    send(&mut pieces, rows(0..2000)).await;
    let answer = answer.await.unwrap();
    let busy = ingest(&client, "", NDJSON, rows(0..1)).await;
    assert!(busy.problem(503, "Unavailable").contains("limits.ingests"));
    assert_eq!(busy.headers["retry-after"], "1");
    connection.abort();
    drop((answer, connection));
    while ingest(&client, "", NDJSON, rows(0..1)).await.status == 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (mut pieces, _connection, answer) = begin(&client, "").await;
    send(&mut pieces, rows(0..2000)).await;
    let said = whole(answer.await.unwrap()).await;
    let report = &said.last().unwrap()["report"];
    assert_eq!((&report["read"], &report["written"]), (&json!(2000), &json!(2000)));
    assert_eq!((&report["ended"], &report["kind"]), (&json!("failed"), &json!("DeadlineExceeded")));
    assert!(report["error"].as_str().unwrap().contains("timeouts.idle"));

    // A client that never sent anything is told by the status.
    let (_pieces, _connection, answer) = begin(&client, "").await;
    assert_eq!(answer.await.unwrap().status(), 408);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_writes_what_it_has_read_and_says_so() {
    let server = Running::start("").await;
    let client = server.client();
    let (mut pieces, _connection, answer) = begin(&client, "").await;
    for piece in 0..10 {
        send(&mut pieces, rows(piece * 1000..(piece + 1) * 1000)).await;
    }
    let answer = answer.await.unwrap();
    while logins(&client, "d1").await.is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
    let said = whole(answer).await;
    let report = &said.last().unwrap()["report"];
    assert_eq!(
        (&report["ended"], &report["kind"]),
        (&json!("interrupted"), &json!("Unavailable")),
        "{said:?}"
    );
    assert!(report["read"].as_u64().unwrap() > 0);
    assert_eq!(report["read"], report["written"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_the_client_states_ends_the_load() {
    let server = Running::start("").await;
    let client = server.client().with("x-request-timeout", "300ms");
    let (mut pieces, _connection, answer) = begin(&client, "").await;
    send(&mut pieces, rows(0..2000)).await;
    let said = whole(answer.await.unwrap()).await;
    let report = &said.last().unwrap()["report"];
    assert_eq!(
        (&report["ended"], &report["kind"]),
        (&json!("interrupted"), &json!("DeadlineExceeded")),
        "{said:?}"
    );
    let (_pieces, _connection, answer) = begin(&client, "").await;
    assert_eq!(answer.await.unwrap().status(), 504);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_back_ends_the_load() {
    let (key, other) = (new_key().unwrap(), new_key().unwrap());
    let with = |key: &feature_server::NewKey| {
        settings(&format!(
            "  auth: {{ keys: [{{ name: w, sha256: {}, tenants: [acme], rights: [write] }}] }}",
            key.hash.to_hex()
        ))
    };
    let server = Running::with(&with(&key), common::map_store()).await;
    let client = server.client().key(key.key.expose());
    let (mut pieces, _connection, answer) = begin(&client, "").await;
    send(&mut pieces, rows(0..2000)).await;
    let answer = answer.await.unwrap();
    let serving = common::serving(&with(&other), &server.backend, common::clock()).await.unwrap();
    server.handle.replace(serving).unwrap();
    // The load may end before all of it is sent.
    for piece in 2..20 {
        let _ = pieces.send(Ok(Frame::data(rows(piece * 1000..(piece + 1) * 1000)))).await;
    }
    drop(pieces);
    let said = whole(answer).await;
    let report = &said.last().unwrap()["report"];
    assert_eq!(
        (&report["ended"], &report["kind"]),
        (&json!("failed"), &json!("Unauthenticated")),
        "{said:?}"
    );
    server.stop().await;
}
