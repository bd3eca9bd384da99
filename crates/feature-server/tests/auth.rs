//! Who may do what, on every endpoint.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use common::asks::{Issuer, endpoints, methods};
use common::{Client, Running};
use feature_server::{NewKey, new_key};
use hyper::Method;
use serde_json::json;

struct Keys {
    reader: NewKey,
    writer: NewKey,
    admin: NewKey,
    other: NewKey,
    stranger: NewKey,
}

async fn start() -> (Running, Keys) {
    let key = || new_key().unwrap();
    let keys = Keys { reader: key(), writer: key(), admin: key(), other: key(), stranger: key() };
    let entry = |name: &str, key: &NewKey, tenants: &str, rights: &str| {
        format!(
            "      - {{ name: {name}, sha256: {}, tenants: {tenants}, rights: {rights} }}\n",
            key.hash.to_hex()
        )
    };
    let entries = [
        entry("reader", &keys.reader, "[acme]", "[read]"),
        entry("writer", &keys.writer, "[acme]", "[write]"),
        entry("admin", &keys.admin, "['ac*']", "[admin]"),
        entry("other", &keys.other, "[other, 'acme-*']", "[read, write, admin]"),
    ];
    let server =
        Running::start(&format!("  feast: {{ tenant: acme }}\n  auth:\n    keys:\n{}", entries.concat()))
            .await;
    (server, keys)
}

async fn ask(
    client: Client,
    (method, path, body, _): &(Method, &'static str, String, &'static str),
) -> common::Reply {
    client.with("content-type", "application/json").send(method.clone(), path, body.clone()).await
}

#[tokio::test]
async fn each_endpoint_lets_in_whom_it_should_and_nobody_else() {
    let (server, keys) = start().await;
    for endpoint in endpoints() {
        let (_, path, _, right) = &endpoint;
        for (key, rights) in
            [(&keys.reader, "read"), (&keys.writer, "write"), (&keys.admin, "admin"), (&keys.other, "")]
        {
            let reply = ask(server.client().key(key.key.expose()), &endpoint).await;
            let may = rights == *right;
            // The Feast endpoints are about the only tenant of the key, and else that of the settings.
            assert_eq!(reply.status, if may { 200 } else { 403 }, "{path} with {rights}: {}", reply.text());
        }
        let reply = ask(server.client(), &endpoint).await;
        assert_eq!(reply.status, 401, "{path} without a key");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        let reply = ask(server.client().with("x-api-key", keys.reader.key.expose()), &endpoint).await;
        assert_eq!(reply.status, if *right == "read" { 200 } else { 403 }, "{path} with x-api-key");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_told_nothing_and_shown_nowhere() {
    let (server, keys) = start().await;
    let wrong = keys.stranger.key.expose();
    for endpoint in endpoints().into_iter().take(2) {
        let reply = ask(server.client().key(wrong), &endpoint).await;
        assert_eq!(reply.status, 401);
        assert!(!reply.text().contains(wrong) && !reply.text().contains(&keys.stranger.hash.to_hex()));
    }
    let basic = server.client().with("authorization", "Basic YTpi").get("/v1/views").await;
    assert_eq!(basic.status, 401);
    server.stop().await;
}

#[tokio::test]
async fn whether_a_tenant_exists_is_not_told() {
    let (server, keys) = start().await;
    let other = server.client().key(keys.other.key.expose());
    let writer = server.client().key(keys.writer.key.expose());
    let write =
        json!({ "rows": [{ "entity": { "customer_id": 1 }, "features": { "orders": 1 } }] }).to_string();
    writer.post("/v1/tenants/acme/views/customers/write", write).await.ok();
    let strip = |reply: common::Reply| {
        let mut body = reply.json();
        body["request_id"] = json!("");
        (reply.status, body)
    };
    let there = strip(other.get("/v1/tenants/acme/views/customers/scan").await);
    let absent = strip(other.get("/v1/tenants/nobody/views/customers/scan").await);
    let no_view = strip(other.get("/v1/tenants/acme/views/none/scan").await);
    assert_eq!(there.0, 403);
    assert_eq!((&there, &there), (&absent, &no_view));
    // What the software keeps for itself is nobody's.
    let system = other.get("/v1/tenants/__fstore__/views/customers/scan").await;
    assert_eq!(system.status, 403);
    let anonymous = Running::start("").await;
    assert_eq!(anonymous.client().get("/v1/tenants/__fstore__/views/customers/scan").await.status, 403);
    anonymous.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_anybody_may_know_needs_a_key_too_but_health_does_not() {
    let (server, keys) = start().await;
    for path in ["/v1/views", "/v1/services", "/v1/nothing"] {
        assert_eq!(server.client().get(path).await.status, 401, "{path}");
    }
    assert_eq!(server.client().key(keys.admin.key.expose()).get("/v1/views").await.status, 200);
    assert_eq!(server.client().get("/health").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn tokens_are_let_in_on_every_endpoint_by_what_they_claim() {
    let (issuer, forger) = (Issuer::new(), Issuer::new());
    let server = Running::start(&format!(
        "  feast: {{ tenant: acme }}\n  auth:\n    jwt: {{ issuer: 'https://issuer', audience: fstore, jwks: {} }}",
        issuer.1.path().display()
    ))
    .await;
    let now = common::at(common::NOW).as_micros() / 1_000_000;
    for endpoint in endpoints() {
        let (_, path, _, right) = &endpoint;
        for of_token in ["read", "write", "admin"] {
            let reply =
                ask(server.client().key(&issuer.token("fstore", now + 60, of_token)), &endpoint).await;
            assert_eq!(reply.status, if of_token == *right { 200 } else { 403 }, "{path} with {of_token}");
        }
    }
    // Each of these waits longer than the one before, so one endpoint stands for all.
    let endpoint = &endpoints()[0];
    for (token, part) in [
        (issuer.token("fstore", now - 60, "read"), "the token is over"),
        (issuer.token("other", now + 60, "read"), "another audience"),
        (forger.token("fstore", now + 60, "read"), "not accepted"),
    ] {
        let reply = ask(server.client().key(&token), endpoint).await;
        assert_eq!(reply.status, 401);
        assert!(reply.text().contains(part) && !reply.text().contains(&token), "{}", reply.text());
    }
    server.stop().await;
}

/// How a call ended.
async fn code(
    client: &common::grpc::Client,
    method: &'static str,
    message: common::grpc::Raw,
) -> tonic::Code {
    match client.stream::<_, common::grpc::Raw>(method, futures::stream::iter([message])).await {
        Err(status) => status.code(),
        Ok(mut answers) => loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return tonic::Code::Ok,
                Err(status) => return status.code(),
            }
        },
    }
}

#[tokio::test]
async fn each_method_of_grpc_lets_in_whom_it_should_and_nobody_else() {
    use tonic::Code::{Ok, PermissionDenied, Unauthenticated};
    let (server, keys) = start().await;
    let client = || common::grpc::Client::of(server.address);
    for (method, message, right) in methods() {
        for (key, rights) in
            [(&keys.reader, "read"), (&keys.writer, "write"), (&keys.admin, "admin"), (&keys.other, "")]
        {
            let found = code(&client().key(key.key.expose()), method, message.clone()).await;
            let wanted = if rights == right { Ok } else { PermissionDenied };
            assert_eq!(found, wanted, "{method} with {rights}");
        }
        assert_eq!(code(&client(), method, message.clone()).await, Unauthenticated, "{method} without a key");
        let wrong = client().key(keys.stranger.key.expose());
        assert_eq!(code(&wrong, method, message.clone()).await, Unauthenticated, "{method} with a wrong key");
        let other_header = client().with("x-api-key", keys.reader.key.expose());
        let wanted = if right == "read" { Ok } else { PermissionDenied };
        assert_eq!(code(&other_header, method, message).await, wanted, "{method} with x-api-key");
    }
    let raw = common::grpc::Raw::default;
    for method in [
        "/fstore.v1.FeatureStore/Describe",
        "/feast.serving.ServingService/GetFeastServingInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/fstore.v1.FeatureStore/Nothing",
    ] {
        assert_eq!(code(&client(), method, raw()).await, Unauthenticated, "{method} without a key");
        let any = code(&client().key(keys.admin.key.expose()), method, raw()).await;
        assert!(!matches!(any, Unauthenticated | PermissionDenied), "{method} with any key: {any}");
    }
    assert_eq!(code(&client(), "/grpc.health.v1.Health/Check", raw()).await, Ok, "health is open to all");
    server.stop().await;
}

#[tokio::test]
async fn grpc_tells_no_secret_and_not_whether_a_tenant_exists() {
    let (server, keys) = start().await;
    let client = common::grpc::Client::of(server.address);
    let wrong = keys.stranger.key.expose();
    let scan = |tenant: &str| common::grpc::pb::ScanRequest {
        tenant: tenant.to_owned(),
        view: "customers".to_owned(),
        limit: None,
    };
    let status = client.clone().key(wrong).scan(scan("acme")).await.unwrap_err();
    assert!(!format!("{status:?}").contains(wrong));
    let other = client.key(keys.other.key.expose()).with("x-request-id", "1");
    let there = other.scan(scan("acme")).await.unwrap_err();
    let absent = other.scan(scan("nobody")).await.unwrap_err();
    assert_eq!((there.code(), there.message()), (tonic::Code::PermissionDenied, absent.message()));
    let (there, absent) = (common::grpc::info(&there), common::grpc::info(&absent));
    assert_eq!((there.reason, there.metadata), (absent.reason, absent.metadata));
    server.stop().await;
}

#[tokio::test]
async fn tokens_are_let_in_on_every_method_by_what_they_claim() {
    use tonic::Code::{Ok, PermissionDenied, Unauthenticated};
    let (issuer, forger) = (Issuer::new(), Issuer::new());
    let server = Running::start(&format!(
        "  feast: {{ tenant: acme }}\n  auth:\n    jwt: {{ issuer: 'https://issuer', audience: fstore, jwks: {} }}",
        issuer.1.path().display()
    ))
    .await;
    let client = || common::grpc::Client::of(server.address);
    let now = common::at(common::NOW).as_micros() / 1_000_000;
    for (method, message, right) in methods() {
        for of_token in ["read", "write", "admin"] {
            let with = client().key(&issuer.token("fstore", now + 60, of_token));
            let wanted = if of_token == right { Ok } else { PermissionDenied };
            assert_eq!(code(&with, method, message.clone()).await, wanted, "{method} with {of_token}");
        }
    }
    let (method, message, right) = methods().remove(0);
    for token in [
        issuer.token("fstore", now - 60, right),
        issuer.token("other", now + 60, right),
        forger.token("fstore", now + 60, right),
    ] {
        assert_eq!(code(&client().key(&token), method, message.clone()).await, Unauthenticated);
    }
    server.stop().await;
}
