//! Who may do what, on every endpoint.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Client, Running};
use feature_server::{NewKey, new_key};
use hyper::Method;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
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

/// Every endpoint about data of the tenant `acme`, with the right that it needs.
fn endpoints() -> Vec<(Method, &'static str, String, &'static str)> {
    let entities = json!({ "entities": { "customer_id": [1] } });
    let read = json!({ "service": "fraud", "entities": { "customer_id": [1], "device_id": [1] } });
    let write = json!({ "rows": [{ "entity": { "customer_id": 1 }, "features": { "orders": 1 } }] });
    let df =
        json!({ "device_id": ["a"], "logins": [1], "country": ["DE"], "event_timestamp": ["2026-05-01"] });
    vec![
        (Method::POST, "/v1/tenants/acme/read", read.to_string(), "read"),
        (Method::POST, "/v1/tenants/acme/views/customers/read", entities.to_string(), "read"),
        (Method::GET, "/v1/tenants/acme/views/customers/scan", String::new(), "read"),
        (Method::GET, "/v1/tenants/acme/views/customers/route", String::new(), "read"),
        (Method::POST, "/v1/tenants/acme/views/customers/write", write.to_string(), "write"),
        (
            Method::POST,
            "/v1/tenants/acme/views/customers/ingest",
            json!({ "customer_id": 1, "orders": 1 }).to_string(),
            "write",
        ),
        (Method::POST, "/v1/tenants/acme/views/customers/delete", entities.to_string(), "write"),
        (Method::DELETE, "/v1/tenants/acme/entities", entities.to_string(), "write"),
        (Method::DELETE, "/v1/tenants/acme/views/customers", String::new(), "admin"),
        (Method::DELETE, "/v1/tenants/acme", String::new(), "admin"),
        (
            Method::POST,
            "/get-online-features",
            json!({ "features": ["customers:orders"], "entities": { "customer_id": [1] } }).to_string(),
            "read",
        ),
        (
            Method::POST,
            "/write-to-online-store",
            json!({ "feature_view_name": "devices", "df": df }).to_string(),
            "write",
        ),
        (Method::POST, "/push", json!({ "push_source_name": "devices", "df": df }).to_string(), "write"),
    ]
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

/// Signs claims with a key of its own; gives the token, and keeps the key set in a file.
struct Issuer(Ed25519KeyPair, tempfile::NamedTempFile);

impl Issuer {
    fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x }] });
        std::fs::write(file.path(), keys.to_string()).unwrap();
        Self(key, file)
    }

    fn token(&self, audience: &str, expires: i64, rights: &str) -> String {
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({ "iss": "https://issuer", "aud": audience, "sub": "model", "exp": expires,
                             "fstore_tenants": ["acme"], "fstore_rights": [rights] });
        let signed = format!("{}.{}", encode(json!({ "alg": "EdDSA", "kid": "1" })), encode(claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
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

/// Every method of gRPC about data of the tenant `acme`, with the right that it needs.
fn methods() -> Vec<(&'static str, common::grpc::Raw, &'static str)> {
    use common::grpc::{Raw, devices, entities, pb, proto::feast};
    use prost::Message;
    let (tenant, view) = (|| "acme".to_owned(), || "devices".to_owned());
    let read = pb::ReadRequest {
        tenant: tenant(),
        view: view(),
        entities: Some(entities("device_id", [1])),
        ..Default::default()
    };
    let write = pb::WriteRequest { tenant: tenant(), view: view(), rows: Some(devices(1..2)) };
    let stream = pb::WriteStreamRequest { tenant: tenant(), view: view(), rows: Some(devices(1..2)) };
    let delete =
        pb::DeleteRequest { tenant: tenant(), view: view(), entities: Some(entities("device_id", [1])) };
    let purge = pb::PurgeRequest { tenant: tenant(), view: view(), whole_tenant: false };
    let scan = pb::ScanRequest { tenant: tenant(), view: view(), limit: None };
    let ids = feast::types::RepeatedValue {
        val: vec![feast::types::Value { val: Some(feast::types::value::Val::StringVal("a".into())) }],
    };
    let feast_read = feast::serving::GetOnlineFeaturesRequest {
        kind: Some(feast::serving::get_online_features_request::Kind::Features(
            feast::serving::FeatureList { val: vec!["devices:logins".to_owned()] },
        )),
        entities: [("device_id".to_owned(), ids)].into(),
        ..Default::default()
    };
    let raw = |message: &dyn Fn() -> Vec<u8>| Raw(message());
    vec![
        ("/fstore.v1.FeatureStore/Read", raw(&|| read.encode_to_vec()), "read"),
        ("/fstore.v1.FeatureStore/Scan", raw(&|| scan.encode_to_vec()), "read"),
        ("/fstore.v1.FeatureStore/Write", raw(&|| write.encode_to_vec()), "write"),
        ("/fstore.v1.FeatureStore/WriteStream", raw(&|| stream.encode_to_vec()), "write"),
        ("/fstore.v1.FeatureStore/Delete", raw(&|| delete.encode_to_vec()), "write"),
        ("/fstore.v1.FeatureStore/Purge", raw(&|| purge.encode_to_vec()), "admin"),
        ("/feast.serving.ServingService/GetOnlineFeatures", raw(&|| feast_read.encode_to_vec()), "read"),
    ]
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
