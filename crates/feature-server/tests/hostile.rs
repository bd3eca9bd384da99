//! Clients that mean harm: nothing panics, memory stays bounded, and others are served.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "every function here is a test's"
)]

mod common;

use std::time::Duration;

use common::Running;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ: &str = "/v1/tenants/acme/read";
const WRITE: &str = "/v1/tenants/acme/views/customers/write";

/// Sends bytes over a connection of their own, and takes what comes back within a moment.
async fn throw(server: &Running, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may hang up before all of it was sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    answer
}

async fn still_serves(server: &Running) {
    let row =
        json!({ "rows": [{ "entity": { "customer_id": 1 }, "features": { "orders": 1 } }] }).to_string();
    assert_eq!(server.client().post(WRITE, row).await.status, 200);
}

#[tokio::test]
async fn random_bytes_are_no_request() {
    let server = Running::start("").await;
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let length = rng.usize(..2_000);
        let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
        let answer = throw(&server, &bytes).await;
        assert!(answer.is_empty() || !answer.starts_with(b"HTTP/1.1 2"), "{}", answer.escape_ascii());
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &bytes].concat();
        throw(&server, &preface).await;
    }
    still_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_are_cut_or_of_a_wrong_length_are_refused() {
    let server = Running::start("  timeouts: { request: 200ms }").await;
    let head = |length: &str| {
        format!(
            "POST {READ} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    for (request, status) in [
        (head("100") + "{", "400"),
        (head("0"), "400"),
        (head("99999999999"), "413"),
        (head("-1"), "400"),
        (head("x"), "400"),
        (head("1\r\ncontent-length: 2") + "{}", "400"),
        (
            format!(
                "POST {READ} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"
            ),
            "400",
        ),
        (format!("POST {READ} HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(500)), "431"),
    ] {
        let answer = throw(&server, request.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with(&format!("HTTP/1.1 {status}")), "{request:.80}: {text}");
    }
    still_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn json_that_is_deep_or_wide_is_refused_before_it_takes_memory() {
    let server = Running::start("").await;
    let client = server.client();
    let wide: Vec<String> = (0..1_000_000).map(|n| format!("\"f{n}\":1")).collect();
    let columns =
        format!("{{\"rows\":[{{\"entity\":{{\"customer_id\":1}},\"features\":{{{}}}}}]}}", wide.join(","));
    let entities =
        format!("{{\"service\":\"fraud\",\"entities\":{{\"customer_id\":[{}1]}}}}", "1,".repeat(3_000_000));
    let names = format!("{{\"features\":[{}\"a:b\"],\"entities\":[]}}", "\"a:b\",".repeat(1_000_001));
    for (path, body, status) in [
        (WRITE, "[".repeat(1_000_000), 400),
        (WRITE, format!("{{\"rows\":{}", "[".repeat(100_000)), 400),
        (WRITE, columns, 413),
        (READ, entities, 413),
        (READ, names, 413),
        (READ, "x".repeat(9 << 20), 413),
    ] {
        let reply = client.post(path, body).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    still_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_at_the_limit() {
    let server = Running::start("").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {WRITE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    let mut sent = 0;
    // The server hangs up, or stops taking it.
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(5), stream.write_all(&chunk)).await {
        sent += 1;
        assert!(sent < 64, "a body of {sent} MiB was taken");
    }
    assert!(sent >= 8);
    still_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn resets_by_the_thousand_do_no_harm() {
    let server = Running::start("").await;
    for _ in 0..20 {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..500 {
            if sender.ready().await.is_err() {
                break;
            }
            let request = hyper::Request::post(format!("http://x{READ}"));
            let answer = sender
                .send_request(request.body(http_body_util::Full::new(bytes::Bytes::from("{}"))).unwrap());
            // Polled once, so that it is sent, and dropped, so that it is reset.
            let _ = futures::FutureExt::now_or_never(answer);
            tokio::task::yield_now().await;
        }
        connection.abort();
    }
    still_serves(&server).await;
    server.stop().await;
}
