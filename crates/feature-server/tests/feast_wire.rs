//! Every exchange with Feast that was recorded is replayed. Where this server differs from Feast, `DIFFERENT` has
//! what it answers, and `docs/feast.md` the reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Running, map_store, serving};
use feature_core::ManualClock;
use feature_server::Server;
use hyper::Method;
use serde_json::{Value, json};

const SETTINGS: &str = "
stores: { main: 'memory:' }
server:
  listen: 127.0.0.1:0
  admin: off
  feast:
    tenant: acme
    project: rides
    push_sources: { driver_push: driver_stats }
    join_keys: { driver_id: int64, customer_id: string }
feature_views:
  - name: driver_stats
    entities: [driver_id]
    features: { conv_rate: float64, acc: float32, trips: int32, city: string, active: bool, last_login: timestamp,
                tags: 'list<string>', emb: 'list<float32>' }
  - { name: pair_stats, entities: [driver_id, customer_id], features: { orders: int64 } }
feature_services:
  - { name: ride, features: ['driver_stats:conv_rate', 'driver_stats:trips', 'pair_stats:*'] }
";

/// Answers that are not Feast's: file and exchange, status, and what the body is or contains.
const DIFFERENT: [(&str, usize, u16, &str); 13] = [
    ("05-unknown-feature", 0, 400, "\"Feature nope not found in projection driver_stats\""),
    ("07-malformed", 0, 422, "\"loc\":[\"body\",13],\"msg\":\"JSON decode error\",\"type\":\"json_invalid\""),
    (
        "08-wrong-type",
        0,
        422,
        "\"loc\":[\"body\"],\"msg\":\"Input should be a valid dictionary or object to extract fields from\",\"type\":\"model_attributes_type\"",
    ),
    ("09-ragged", 0, 400, "\"All entity rows must have the same columns.\""),
    ("10-empty-entities", 0, 400, "No entity rows"),
    ("11-zero-rows", 0, 400, "No entity rows"),
    ("14-neither", 0, 400, "\"No features specified for retrieval\""),
    ("16-clash", 0, 400, "FeatureNameCollisionError"),
    ("20-push", 0, 400, "`last_login` of row 0: expected seconds since 1970"),
    (
        "22-push-missing-column",
        0,
        400,
        "the columns acc, active, city, conv_rate, emb, last_login, tags, trips",
    ),
    ("25-write-bad-type", 0, 400, "`orders` of row 0: expected int64"),
    ("33-materialize-incremental", 0, 501, "no offline store"),
    ("34-materialize-unknown", 0, 501, "no offline store"),
];

struct Exchange {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    allow: Option<String>,
    answer: String,
}

fn exchanges(text: &str) -> Vec<Exchange> {
    text.split("----\n").map(exchange).collect()
}

fn exchange(text: &str) -> Exchange {
    let (sent, got) = text.trim().split_once("\n< ").unwrap();
    let (head, body) = sent.split_once("\n\n").unwrap_or((sent, ""));
    let mut head = head.lines().map(|line| line.trim_start_matches("> "));
    let (method, path) = head.next().unwrap().split_once(' ').unwrap();
    let pair =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut got = got.lines().map(|line| line.trim_start_matches("< ").trim_start_matches('<'));
    let status = got.next().unwrap().trim_start_matches("HTTP/1.1 ");
    let mut got: Vec<&str> = got.collect();
    let answer = got.pop().unwrap_or_default();
    let header = |name: &str| got.iter().filter_map(|line| pair(line)).find(|(own, _)| own == name);
    Exchange {
        method: method.parse().unwrap(),
        path: path.to_owned(),
        headers: head.filter_map(pair).collect(),
        body: body.trim().to_owned(),
        status: status[..3].parse().unwrap(),
        allow: header("allow").map(|(_, value)| value),
        answer: if answer.contains("content-length: 0") { String::new() } else { answer.to_owned() },
    }
}

/// The columns by name: a client goes by names. A null that Feast says is `PRESENT` is `NULL_VALUE` here.
fn columns(answer: &Value, recorded: bool) -> BTreeMap<String, Value> {
    let names = answer["metadata"]["feature_names"].as_array().unwrap();
    let column = |(name, column): (&Value, &Value)| {
        let mut column = column.clone();
        for row in 0..column["values"].as_array().unwrap().len() {
            if recorded && column["values"][row].is_null() && column["statuses"][row] == "PRESENT" {
                column["statuses"][row] = json!("NULL_VALUE");
            }
        }
        (name.as_str().unwrap().to_owned(), column)
    };
    let results = answer["results"].as_array().unwrap();
    assert_eq!(names.len(), results.len());
    names.iter().zip(results).map(column).collect()
}

/// Entities first, then the features as they were asked for.
fn asked_for(request: &Value) -> Vec<String> {
    let features: Vec<&str> = match request["features"].as_array() {
        Some(features) => features.iter().map(|feature| feature.as_str().unwrap()).collect(),
        None => vec!["driver_stats:conv_rate", "driver_stats:trips", "pair_stats:orders"],
    };
    let full = request["full_feature_names"] == true;
    let name = |feature: &str| {
        if full { feature.replace(':', "__") } else { feature.split(':').nth(1).unwrap().to_owned() }
    };
    let join_keys =
        ["driver_id", "customer_id"].into_iter().filter(|key| request["entities"].get(key).is_some());
    join_keys.map(str::to_owned).chain(features.into_iter().map(name)).collect()
}

async fn start() -> Running {
    let backend = map_store();
    let clock = ManualClock::at("2026-01-04T12:00:00Z".parse().unwrap());
    let server = Server::bind(serving(SETTINGS, &backend, clock).await.unwrap(), None).await.unwrap();
    let server = Running::of(server, backend);
    let client = server.client();
    let drivers = json!({ "event_time": "2026-01-02T03:04:05Z", "rows": [
        { "entity": { "driver_id": 1001 }, "features": { "conv_rate": 0.5, "acc": 0.25, "trips": 7, "city": "Berlin",
          "active": true, "last_login": "2026-01-02T03:04:05Z", "tags": ["a", "b"], "emb": [1.0, 2.0] } },
        { "entity": { "driver_id": 1002 }, "features": { "conv_rate": null, "acc": 0.75, "trips": 8, "city": null,
          "active": false, "last_login": "2026-01-02T03:04:05Z", "tags": [], "emb": [3.0, 4.0] } },
    ] });
    client.post("/v1/tenants/acme/views/driver_stats/write", drivers.to_string()).await.ok();
    let pairs = json!({ "event_time": "2026-01-02T03:04:05Z", "rows": [
        { "entity": { "driver_id": 1001, "customer_id": "c-1" }, "features": { "orders": 3 } },
    ] });
    client.post("/v1/tenants/acme/views/pair_stats/write", pairs.to_string()).await.ok();
    server
}

#[tokio::test]
async fn every_recorded_exchange_has_its_answer() {
    let server = start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/feast-wire");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 29);
    let mut replayed = 0;
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        for (number, exchange) in exchanges(&fs::read_to_string(&file).unwrap()).into_iter().enumerate() {
            replayed += 1;
            let mut client = server.client();
            for (name, value) in &exchange.headers {
                if name == "content-type" || name == "accept" {
                    client = client.with(if name == "accept" { "accept" } else { "content-type" }, value);
                }
            }
            let reply = client.send(exchange.method.clone(), &exchange.path, exchange.body.clone()).await;
            let what = format!("{name} {number}: {}", reply.text());
            let last_of_sdk = name == "50-sdk-remote-client" && exchange.status == 500;
            let found = DIFFERENT.iter().find(|(own, at, ..)| *own == name && *at == number);
            if let Some((_, _, status, part)) = found.or(last_of_sdk.then_some(&DIFFERENT[0])) {
                assert_eq!(reply.status, *status, "{what}");
                assert!(reply.text().contains(part), "{what}");
                continue;
            }
            assert_eq!(reply.status, exchange.status, "{what}");
            assert_eq!(
                reply.headers.get("allow").and_then(|allow| allow.to_str().ok()),
                exchange.allow.as_deref(),
                "{what}"
            );
            if exchange.answer.is_empty() {
                assert_eq!(reply.text(), "", "{what}");
                continue;
            }
            let recorded: Value = serde_json::from_str(&exchange.answer).unwrap();
            let ours = reply.json();
            if recorded.get("results").is_none() {
                assert_eq!(ours, recorded, "{what}");
                continue;
            }
            assert_eq!(columns(&ours, false), columns(&recorded, true), "{what}");
            let request: Value = serde_json::from_str(&exchange.body).unwrap();
            let names: Vec<&str> = ours["metadata"]["feature_names"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            assert_eq!(names, asked_for(&request), "{what}");
            assert_eq!(
                ours["metadata"].get("feature_view_metadata"),
                recorded["metadata"].get("feature_view_metadata")
            );
        }
    }
    assert_eq!(replayed, 34);
    server.stop().await;
}

#[test]
fn the_document_gives_a_reason_for_each_difference() {
    let document = include_str!("../../../docs/feast.md");
    for (name, ..) in DIFFERENT {
        let number = &name[..2];
        assert!(
            document.contains(&format!("| {number}")) || document.contains(&format!(", {number}")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_was_not_recorded_is_answered_as_well() {
    let server = start().await;
    let client = server.client();
    let read = "/get-online-features";
    for (body, part) in [
        (
            json!({ "features": ["driver_stats:trips"], "entities": { "driver_id": ["x"] } }),
            "the join key `driver_id` is \\\"x\\\" in row 0: expected int64",
        ),
        (
            json!({ "features": ["driver_stats:trips"], "entities": { "driver_id": [null] } }),
            "expected int64",
        ),
        (json!({ "features": ["trips"], "entities": { "driver_id": [1] } }), "expected view:feature"),
    ] {
        let reply = client.post(read, body.to_string()).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(part), "{}", reply.text());
    }
    // A whole number that pandas made a float of, and a column that nobody needs.
    let body =
        json!({ "features": ["driver_stats:trips"], "entities": { "driver_id": [1001.0], "amount": [0.5] } });
    let answer = client.post(read, body.to_string()).await.ok();
    assert_eq!(answer["results"][2]["values"], json!([7]));
    assert_eq!(answer["results"][0]["values"], json!([0.5]));

    // Of several rows none is written when one is wrong.
    let rows = json!({ "feature_view_name": "pair_stats", "df": { "driver_id": [1, 2], "customer_id": ["a", "b"],
        "orders": [1, "x"], "event_timestamp": ["2026-01-03 00:00:00", "2026-01-03T00:00:00+00:00"] } });
    assert_eq!(client.post("/write-to-online-store", rows.to_string()).await.status, 400);
    assert_eq!(client.get("/v1/tenants/acme/views/pair_stats/scan").await.text().lines().count(), 1);
    let offline = json!({ "push_source_name": "driver_push", "to": "offline", "df": {} });
    assert_eq!(client.post("/push", offline.to_string()).await.status, 400);
    server.stop().await;
}
