//! Stopping, reloading, deadlines, and clients that are slow or too many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Running, clock, map_store, serving, settings};
use feature_core::{Error, ErrorKind, OnlineStoreBackend, Scope};
use futures::StreamExt;
use serde_json::json;
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::{Fault, FaultyBackend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WRITE: &str = "/v1/tenants/acme/views/customers/write";

fn write(id: usize) -> String {
    json!({ "rows": [{ "entity": { "customer_id": id }, "features": { "orders": id } }] }).to_string()
}

/// Sends requests over one connection until the server closes it; gives how many were answered.
async fn load(server: &Running, worker: usize, stop: Arc<AtomicBool>) -> usize {
    let address = server.address;
    let mut answered = 0;
    let mut stream = TcpStream::connect(address).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let body = write(worker * 100_000 + answered);
        let request = format!(
            "POST {WRITE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        let mut byte = [0; 4096];
        let last = loop {
            let read = stream.read(&mut byte).await.unwrap();
            assert_ne!(read, 0, "a request has no answer: {}", String::from_utf8_lossy(&head));
            head.extend_from_slice(&byte[..read]);
            let text = String::from_utf8_lossy(&head);
            if text.ends_with("\"outcomes\":[\"applied\"]}") {
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                break text.contains("connection: close");
            }
            assert!(head.len() < 10_000, "{text}");
        };
        answered += 1;
        if last {
            break;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_under_load_answers_everything_that_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig { path: Some(folder.path().join("s.redb")), ..EmbeddedConfig::default() };
    let backend = Arc::new(EmbeddedOnlineStore::connect(config(), Arc::new(clock())).unwrap());
    let server = Arc::new(Running::with(&settings(""), backend).await);
    let go_on = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (server, stop) = (Arc::clone(&server), Arc::clone(&go_on));
            tokio::spawn(async move { load(&server, worker, stop).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.handle.stop();
    let mut acknowledged = 0;
    for worker in workers {
        acknowledged += worker.await.unwrap();
    }
    assert!(acknowledged > 8);
    Arc::into_inner(server).unwrap().stop().await;
    let stored = EmbeddedOnlineStore::connect(config(), Arc::new(clock())).unwrap();
    let stored = stored
        .scan(&Scope::Tenant("acme".to_owned()))
        .filter(|row| std::future::ready(row.is_ok()))
        .count()
        .await;
    assert_eq!(stored, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_under_load_without_a_failed_request() {
    let server = Arc::new(Running::start("").await);
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
            tokio::spawn(async move { load(&server, worker, stop).await })
        })
        .collect();
    for round in 0..50 {
        let text = settings("  limits: { rows: 9 }").replace(
            "feature_services:",
            &format!(
                "  - {{ name: added_{round}, entities: [id], features: {{ x: bool }} }}\nfeature_services:"
            ),
        );
        if round % 7 == 3 {
            assert!(serving("server: { listen: 1 }", &server.backend, clock()).await.is_err());
        }
        server.handle.replace(serving(&text, &server.backend, clock()).await.unwrap()).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let views = server.client().get("/v1/views").await.ok();
    assert!(views.to_string().contains("added_49") && !views.to_string().contains("added_48"));
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        assert!(worker.await.unwrap() > 0);
    }
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_said_and_stays() {
    let server = Running::start("").await;
    let reader = store_unified::SettingsReader::new(store_unified::SettingsFormat::Yaml);
    let text = settings("").replace("listen: 127.0.0.1:0", "listen: 127.0.0.2:1");
    let (_, new) = feature_server::settings::read(&reader, &text).unwrap();
    assert_eq!(server.handle.unchangeable(&new), ["server.listen"]);
    server.handle.replace(serving(&text, &server.backend, clock()).await.unwrap()).unwrap();
    assert_eq!(server.client().get("/health").await.status, 200);
    server.stop().await;
}

/// A store that answers after so long.
fn slow(delay: Duration) -> Arc<dyn OnlineStoreBackend> {
    Arc::new(FaultyBackend::new(map_store(), move |_| Fault::Delay(delay)))
}

#[tokio::test]
async fn a_deadline_is_kept_and_told() {
    let server =
        Running::with(&settings("  timeouts: { request: 50ms }"), slow(Duration::from_secs(5))).await;
    let read = r#"{"features":["devices:logins"],"entities":{"device_id":[1]}}"#;
    let client = server.client();
    let began = tokio::time::Instant::now();
    for timeout in ["20ms", "1d"] {
        let reply =
            client.clone().with("x-request-timeout", timeout).post("/v1/tenants/acme/read", read).await;
        reply.problem(504, "DeadlineExceeded");
    }
    let reply = client.post(WRITE, write(1)).await;
    reply.problem(504, "DeadlineExceeded");
    assert_eq!(reply.json()["in_doubt"], true);
    assert!(began.elapsed() < Duration::from_secs(4), "the store's time was waited for");
    for timeout in ["soon", "0s", "20"] {
        let reply =
            client.clone().with("x-request-timeout", timeout).post("/v1/tenants/acme/read", read).await;
        reply.problem(400, "InvalidArgument");
    }
    server.stop().await;
}

#[tokio::test]
async fn no_more_requests_are_worked_on_than_may_be() {
    let server =
        Running::with(&settings("  limits: { in_flight: 4 }"), slow(Duration::from_millis(300))).await;
    let refused = Arc::new(AtomicUsize::new(0));
    let asked: Vec<_> = (0..10)
        .map(|id| {
            let (client, refused) = (server.client(), Arc::clone(&refused));
            tokio::spawn(async move {
                let reply = client.post(WRITE, write(id)).await;
                if reply.status == 429 {
                    assert_eq!(reply.headers["retry-after"], "1");
                    assert!(reply.problem(429, "Throttled").contains("half of limits.in_flight"));
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for asked in asked {
        asked.await.unwrap();
    }
    assert_eq!(refused.load(Ordering::Relaxed), 8);
    assert_eq!(server.client().post(WRITE, write(1)).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn one_client_leaves_room_for_others() {
    let keys = ["greedy", "modest", "late"].map(|name| (name, feature_server::new_key().unwrap()));
    let listed = keys.each_ref().map(|(name, key)| {
        format!("{{ name: {name}, sha256: {}, tenants: [acme], rights: [write] }}", key.hash.to_hex())
    });
    let server = Running::with(
        &settings(&format!("  limits: {{ in_flight: 4 }}\n  auth: {{ keys: [{}] }}", listed.join(", "))),
        slow(Duration::from_millis(500)),
    )
    .await;
    let clients = keys.each_ref().map(|(_, key)| server.client().with("x-api-key", key.key.expose()));
    let ask = |client: usize| clients[client].post(WRITE, write(1));
    let greedy = futures::future::join_all((0..10).map(|_| ask(0)));
    let modest = futures::future::join_all((0..2).map(|_| ask(1)));
    let late = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ask(2).await
    };
    let (greedy, modest, late) = futures::join!(greedy, modest, late);
    assert_eq!(greedy.iter().filter(|reply| reply.status == 200).count(), 2);
    assert!(modest.iter().all(|reply| reply.status == 200));
    assert!(late.problem(503, "Unavailable").contains("limits.in_flight"), "two have all there is");
    server.stop().await;
}

/// What the server says before it closes the connection, which it must.
async fn said(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn clients_that_say_nothing_or_too_slowly_are_left() {
    let server = Running::start("  timeouts: { header: 100ms, idle: 200ms, request: 150ms }").await;
    let connect = async || TcpStream::connect(server.address).await.unwrap();
    let mut silent = connect().await;
    let mut head = connect().await;
    head.write_all(b"POST / HTTP/1.1\r\nhost").await.unwrap();
    let mut body = connect().await;
    body.write_all(format!("POST {WRITE} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{").as_bytes())
        .await
        .unwrap();
    assert_eq!((said(&mut silent).await, said(&mut head).await), (String::new(), String::new()));
    let answer = said(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("timeouts.request"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let server = Running::start("  limits: { connections: 2 }").await;
    let connect = async || TcpStream::connect(server.address).await.unwrap();
    let (first, _second) = (connect().await, connect().await);
    assert_eq!(said(&mut connect().await).await, "");
    drop(first);
    let mut tries = 0;
    while TcpStream::connect(server.address).await.unwrap().write_all(b"x").await.is_err() && tries < 100 {
        tries += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(tries < 100);
    server.stop().await;
}

#[tokio::test]
async fn the_admin_port_says_how_the_server_is() {
    let server = Running::start("").await;
    let admin = common::Client { address: server.admin, headers: Default::default() };
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin.get(path).await.text(), "ok\n", "{path}");
    }
    assert_eq!(admin.get("/version").await.ok()["name"], "fstore");
    assert_eq!(admin.get("/metrics").await.status, 404, "no recorder is installed");
    // As long as a client may be about to ask.
    let _client = TcpStream::connect(server.address).await.unwrap();
    server.handle.stop();
    assert_eq!(admin.get("/readyz").await.status, 503);
    server.stop().await;
}

#[tokio::test]
async fn it_is_not_ready_while_a_store_does_not_answer() {
    let broken = FaultyBackend::new(map_store(), |_| {
        Fault::Fail(Error::new(ErrorKind::Unavailable, "connection refused"))
    });
    let server = Running::with(&settings(""), Arc::new(broken)).await;
    let admin = common::Client { address: server.admin, headers: Default::default() };
    let reply = admin.get("/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("Unavailable"), "{}", reply.text());
    server.handle.stop();
}
