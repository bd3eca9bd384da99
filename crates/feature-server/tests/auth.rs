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
