//! What can be asked about data, and whom an issuer of tokens vouches for.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "tests share this, and each uses a part")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

/// Every endpoint about data of the tenant `acme`, with the right that it needs.
pub(crate) fn endpoints() -> Vec<(Method, &'static str, String, &'static str)> {
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

/// Every method of gRPC about data of the tenant `acme`, with the right that it needs.
pub(crate) fn methods() -> Vec<(&'static str, super::grpc::Raw, &'static str)> {
    use super::grpc::{Raw, devices, entities, pb, proto::feast};
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

/// Signs claims with a key of its own; gives the token, and keeps the key set in a file.
pub(crate) struct Issuer(Ed25519KeyPair, pub(crate) tempfile::NamedTempFile, String);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self::named("1")
    }

    /// Whose key has this name.
    pub(crate) fn named(name: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": name, "x": x }] });
        std::fs::write(file.path(), keys.to_string()).unwrap();
        Self(key, file, name.to_owned())
    }

    pub(crate) fn token(&self, audience: &str, expires: i64, rights: &str) -> String {
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let claims = json!({ "iss": "https://issuer", "aud": audience, "sub": "model", "exp": expires,
                             "fstore_tenants": ["acme"], "fstore_rights": [rights] });
        let signed = format!("{}.{}", encode(json!({ "alg": "EdDSA", "kid": self.2 })), encode(claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
