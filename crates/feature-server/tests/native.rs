//! The native interface with JSON.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use common::{Client, Running};
use serde_json::{Value, json};

const WRITE: &str = "/v1/tenants/acme/views/customers/write";
const READ: &str = "/v1/tenants/acme/read";

async fn start() -> (Running, Client) {
    let server = Running::start("").await;
    let client = server.client();
    (server, client)
}

async fn fill(client: &Client) {
    let rows = json!({ "event_time": "2026-05-31T00:00:00Z", "rows": [
        { "entity": { "customer_id": 7 }, "features": { "orders": 3, "country": "DE", "score": 0.5, "tags": ["a"] } },
        { "entity": { "customer_id": "8" }, "features": { "orders": null, "score": "NaN" },
          "event_time": "2026-04-01T00:00:00Z", "ttl": "900d", "mode": "replace" },
    ] });
    let reply = client.post(WRITE, rows.to_string()).await.ok();
    assert_eq!(
        reply,
        json!({ "rows": 2, "applied": 2, "superseded": 0, "failed": 0, "outcomes": ["applied", "applied"] })
    );
    let columns = json!({
        "entities": { "device_id": ["a1", "a2"] },
        "features": { "logins": [1, 2], "country": ["FR", null] },
        "event_times": ["2026-05-31T00:00:00Z", "2026-05-30T00:00:00.000001Z"],
    });
    let reply = client.post("/v1/tenants/acme/views/devices/write", columns.to_string()).await.ok();
    assert_eq!(reply["applied"], 2);
}

#[tokio::test]
async fn what_is_written_is_read_column_by_column() {
    let (server, client) = start().await;
    fill(&client).await;
    let body = json!({ "service": "fraud", "entities": { "customer_id": [7, 8, 9], "device_id": ["a1", "a2", "a1"] } });
    let reply = client.post(READ, body.to_string()).await.ok();
    assert_eq!(
        reply,
        json!({ "rows": 3, "columns": [
            { "name": "orders", "feature": "customers:orders", "type": "int64", "values": [3, null, null],
              "statuses": ["present", "outside_max_age", "not_found"] },
            { "name": "customers__country", "feature": "customers:country", "type": "string",
              "values": ["DE", null, null], "statuses": ["present", "not_found", "not_found"] },
            { "name": "devices__country", "feature": "devices:country", "type": "string",
              "values": ["FR", null, "FR"], "statuses": ["present", "null", "present"] },
            { "name": "logins", "feature": "devices:logins", "type": "int64", "values": [1, 2, 1] },
        ] })
    );
    let body = json!({
        "features": ["devices:logins"],
        "entities": [{ "device_id": "a2" }, { "device_id": "no" }],
        "full_feature_names": true,
        "include": ["event_times"],
    });
    let reply = client.post(READ, body.to_string()).await.ok();
    assert_eq!(
        reply["columns"],
        json!([{ "name": "devices__logins", "feature": "devices:logins", "type": "int64", "values": [2, null],
                 "statuses": ["present", "not_found"], "event_times": ["2026-05-30T00:00:00.000001Z", null] }])
    );
    server.stop().await;
}

#[tokio::test]
async fn one_view_is_read_by_its_own_names() {
    let (server, client) = start().await;
    fill(&client).await;
    let path = "/v1/tenants/acme/views/customers/read";
    let body = json!({ "entities": { "customer_id": [7] }, "features": ["tags", "score"], "max_age": "1d" });
    let reply = client.post(path, body.to_string()).await.ok();
    let values: Vec<&Value> =
        reply["columns"].as_array().unwrap().iter().map(|column| &column["values"][0]).collect();
    assert_eq!(values, [&json!(["a"]), &json!(0.5)]);
    let all = client.post(path, json!({ "entities": { "customer_id": [7] } }).to_string()).await.ok();
    assert_eq!(all["columns"].as_array().unwrap().len(), 5);
    let old = json!({ "entities": { "customer_id": [7] }, "max_age": 3600 });
    let old = client.post(path, old.to_string()).await.ok();
    assert_eq!(old["columns"][1]["statuses"][0], "outside_max_age");
    server.stop().await;
}

#[tokio::test]
async fn a_row_that_fails_keeps_no_other_from_being_written() {
    let (server, client) = start().await;
    let rows = json!({ "rows": [
        { "entity": { "customer_id": 1 }, "features": { "orders": "many", "country": 5 } },
        { "entity": { "customer_id": 2 }, "features": { "orders": 1 } },
        { "entity": { "device_id": 2 }, "features": { "orders": 1 } },
        { "entity": { "customer_id": 2 }, "features": { "orders": 1, "colour": "red" } },
    ] });
    let reply = client.post(WRITE, rows.to_string()).await;
    assert_eq!(reply.status, 207);
    let reply = reply.json();
    assert_eq!(reply["outcomes"], json!(["failed", "applied", "failed", "failed"]));
    let errors = reply["errors"].as_array().unwrap();
    let said = |at: usize| (errors[at]["row"].as_u64().unwrap(), errors[at]["error"].as_str().unwrap());
    assert_eq!(said(0), (0, "`country`: expected string, found 5; `orders`: expected int64, found \"many\""));
    assert!(
        said(1).1.contains("lacks `customer_id`") && said(2).1.contains("`colour` is not a feature"),
        "{reply}"
    );
    let none = json!({ "rows": [{ "entity": { "customer_id": 1 }, "features": { "orders": "many" } }] });
    let reply = client.post(WRITE, none.to_string()).await;
    assert!(reply.problem(400, "InvalidArgument").contains("expected int64"));
    assert_eq!(reply.json()["errors"][0]["row"], 0);
    server.stop().await;
}

#[tokio::test]
async fn records_are_removed_one_by_one_by_entity_by_view_and_by_tenant() {
    let (server, client) = start().await;
    fill(&client).await;
    let pair = json!({ "rows": [{ "entity": { "customer_id": 7, "device_id": "a1" }, "features": { "together": true } }] });
    client.post("/v1/tenants/acme/views/pairs/write", pair.to_string()).await.ok();
    let gone =
        client.post("/v1/tenants/acme/views/customers/delete", r#"{"entities":{"customer_id":[8,9]}}"#).await;
    assert_eq!(gone.ok(), json!({ "rows": 2, "deleted": 1 }));
    let gone = client
        .delete("/v1/tenants/acme/entities", r#"{"entities":[{"customer_id":7,"device_id":"a1"}]}"#)
        .await;
    let one = json!({ "rows": 1, "deleted": 1 });
    assert_eq!(gone.ok(), json!({ "views": { "customers": one, "devices": one, "pairs": one } }));
    let scanned = client.get("/v1/tenants/acme/views/devices/scan").await;
    let line: Value = serde_json::from_str(scanned.text()).unwrap();
    assert_eq!(
        line,
        json!({ "entity": { "device_id": "a2" }, "features": { "country": null, "logins": 2 },
                "event_time": "2026-05-30T00:00:00.000001Z" })
    );
    assert_eq!(client.delete("/v1/tenants/acme/views/devices", "").await.ok(), json!({ "removed": 1 }));
    fill(&client).await;
    assert_eq!(client.delete("/v1/tenants/acme", "").await.ok(), json!({ "removed": 4 }));
    assert_eq!(client.get("/v1/tenants/acme/views/devices/scan").await.text(), "");
    server.stop().await;
}

#[tokio::test]
async fn what_is_declared_can_be_asked_for() {
    let (server, client) = start().await;
    let views = client.get("/v1/views").await.ok();
    assert_eq!(views["feature_views"][1]["features"]["logins"], "int64");
    let services = client.get("/v1/services").await.ok();
    assert_eq!(services["feature_services"][0]["name"], "fraud");
    let route = client.get("/v1/tenants/acme/views/pairs/route").await.ok();
    assert_eq!(route, json!({ "store": "main", "rule": null, "fallback": null, "mirror": null }));
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_request_is_told_what_is_wrong() {
    let (server, client) = start().await;
    let deep = format!(
        "{{\"rows\":[{{\"entity\":{{\"customer_id\":1}},\"features\":{{\"tags\":{}1{}}}}}]}}",
        "[".repeat(1000),
        "]".repeat(1000)
    );
    for (path, body, status, kind, part) in [
        (READ, "", 400, "InvalidArgument", "EOF while parsing"),
        (READ, "[1]", 400, "InvalidArgument", "expected an object of `entities`"),
        (
            READ,
            "{\"servise\":1}",
            400,
            "InvalidArgument",
            "unknown key `servise`, expected `service`, `features`",
        ),
        (READ, "{\"service\":\"fraud\"}", 400, "InvalidArgument", "`entities` is missing"),
        (READ, "{\"entities\":[]}", 400, "InvalidArgument", "either `service` or `features`"),
        (
            READ,
            r#"{"features":["customers"],"entities":[]}"#,
            400,
            "InvalidArgument",
            "expected view:feature",
        ),
        (
            READ,
            r#"{"features":["x:y"],"entities":[]}"#,
            404,
            "UnknownView",
            "`x` is not declared; declared are customers",
        ),
        (
            READ,
            r#"{"service":"x","entities":[]}"#,
            404,
            "UnknownService",
            "`x` is not declared; declared are fraud",
        ),
        (
            READ,
            r#"{"features":["customers:order"],"entities":[]}"#,
            400,
            "InvalidArgument",
            "did you mean `orders`?",
        ),
        (
            READ,
            r#"{"service":"fraud","entities":[{"customer_id":1}]}"#,
            400,
            "InvalidArgument",
            "lacks `device_id`",
        ),
        (
            READ,
            r#"{"service":"fraud","entities":{"a":[1],"b":[1,2]}}"#,
            400,
            "InvalidArgument",
            "`b` has 2 values and `a` has 1",
        ),
        (
            READ,
            r#"{"service":"fraud","entities":{"a":[1.5]}}"#,
            400,
            "InvalidArgument",
            "a text or a whole number",
        ),
        (
            READ,
            r#"{"service":"fraud","entities":[{"a":1,"a":2}]}"#,
            400,
            "InvalidArgument",
            "names `a` twice",
        ),
        (
            READ,
            r#"{"service":"fraud","entities":[],"max_age":"soon"}"#,
            400,
            "InvalidArgument",
            "not a duration",
        ),
        (WRITE, &deep, 400, "InvalidArgument", "recursion limit"),
        (WRITE, "{}", 400, "InvalidArgument", "expected either `rows`"),
        (WRITE, r#"{"rows":[{"entity":{}}]}"#, 400, "InvalidArgument", "at least one join key"),
        (
            WRITE,
            r#"{"rows":[{"entity":{"customer_id":1},"features":{},"ttl":"x"}]}"#,
            400,
            "InvalidArgument",
            "not a duration",
        ),
        (
            WRITE,
            r#"{"entities":{"customer_id":[1]},"features":{"orders":[1,2]}}"#,
            400,
            "InvalidArgument",
            "`orders` has 2 values and there are 1",
        ),
        ("/v1/tenants/acme/views/none/write", r#"{"rows":[]}"#, 404, "UnknownView", "`none` is not declared"),
        (
            "/v1/tenants/acme/views/none/read",
            r#"{"entities":[]}"#,
            404,
            "UnknownView",
            "`none` is not declared",
        ),
        ("/v1/nothing", "", 404, "NotFound", "/openapi.json"),
        ("/v1/tenants/%FF/read", "", 404, "NotFound", "the address is not right"),
        ("/v1/views", "", 405, "MethodNotAllowed", "does not take the method"),
    ] {
        let reply = client.post(path, body.to_owned()).await;
        let detail = reply.problem(status, kind);
        assert!(detail.contains(part), "{path} {body}: {detail}");
    }
    assert_eq!(client.post("/v1/views", "").await.headers["allow"], "GET,HEAD");
    let other = client.clone().with("content-type", "text/csv").post(READ, "a,b").await;
    assert!(other.problem(415, "UnsupportedMediaType").contains("text/csv"));
    let other =
        client.clone().with("accept", "text/html").post(READ, r#"{"service":"fraud","entities":[]}"#).await;
    other.problem(415, "UnsupportedMediaType");
    let zipped = client.clone().with("content-encoding", "gzip").post(READ, "x").await;
    assert!(zipped.problem(415, "UnsupportedMediaType").contains("compressed"));
    server.stop().await;
}

#[tokio::test]
async fn every_limit_is_named_where_it_is_exceeded() {
    let server =
        Running::start("  limits: { body: 2KiB, rows: 3, cells: 20, response: 400, memory: 100KB }").await;
    let client = server.client();
    let big = format!("{{\"service\":\"{}\"}}", "x".repeat(3000));
    for (path, body, part) in [
        (READ, &*big, "the body is 3014 bytes"),
        (READ, r#"{"service":"fraud","entities":{"customer_id":[1,2,3,4]}}"#, "limits.rows"),
        (READ, r#"{"service":"fraud","entities":[{"a":1},{"a":1},{"a":1},{"a":1}]}"#, "limits.rows"),
        (
            READ,
            r#"{"features":["customers:*","devices:*"],"entities":{"customer_id":[1,2,3],"device_id":[1,2,3]}}"#,
            "the answer is 21 cells (limits.cells), the limit is 20",
        ),
        (READ, r#"{"features":["customers:*"],"entities":{"customer_id":[1,2,3]}}"#, "limits.response"),
        (
            WRITE,
            r#"{"rows":[{"entity":{"customer_id":1},"features":{"tags":[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0]}}]}"#,
            "limits.cells",
        ),
        (WRITE, r#"{"entities":{"customer_id":[1]},"features":{"orders":[1,2,3,4]}}"#, "limits.rows"),
    ] {
        let detail = client.post(path, body.to_owned()).await.problem(413, "LimitExceeded");
        assert!(detail.contains(part), "{body}: {detail}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_answer_carries_an_id_and_the_client_may_choose_it() {
    let (server, client) = start().await;
    let own = client.clone().with("x-request-id", "my-request.1").get("/v1/views").await;
    assert_eq!(own.headers["x-request-id"], "my-request.1");
    let (first, second) = (client.get("/v1/views").await, client.get("/v1/views").await);
    assert_ne!(first.headers["x-request-id"], second.headers["x-request-id"]);
    let odd = client.clone().with("x-request-id", "a b\"c").get("/v1/views").await;
    assert_ne!(odd.headers["x-request-id"], "a b\"c");
    server.stop().await;
}

#[tokio::test]
async fn a_trace_is_handed_on_with_the_answer() {
    let server = Running::start("").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let client = server.client().with("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    let reply = client.get("/v1/views").await;
    let on = reply.headers["traceparent"].to_str().unwrap();
    assert!(
        on.starts_with(&format!("00-{trace}-")) && on.ends_with("-01") && !on.contains("00f067aa0ba902b7")
    );
    let grpc = common::grpc::Client::of(server.address).with("traceparent", on);
    let request = common::grpc::pb::DescribeRequest::default();
    let answer: Result<tonic::Response<common::grpc::Raw>, _> =
        grpc.response("/fstore.v1.FeatureStore/Describe", request).await;
    let further = answer.unwrap().metadata().get("traceparent").unwrap().to_str().unwrap().to_owned();
    assert!(further.starts_with(&format!("00-{trace}-")) && further != on);
    assert_eq!(server.client().get("/v1/views").await.headers.get("traceparent"), None);
    server.stop().await;
}
