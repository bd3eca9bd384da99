//! What clients cost that take nothing, or send without end: in a process of its own, so that nothing else is measured.
#![cfg(target_os = "linux")]
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
use tokio::sync::Mutex;

const READ: &str = "/v1/tenants/acme/read";
const WRITE: &str = "/v1/tenants/acme/views/customers/write";

const INGEST: &str = "/v1/tenants/acme/views/customers/ingest";

/// One test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Memory that this process has now (`VmRSS`) or had at most (`VmHWM`), in MiB.
fn memory(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() >> 10
}

/// What there is now is the most that there has been.
fn forget_the_most() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// What the system holds in its queues that this port's clients have not taken, in MiB.
fn queued(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let of_port = format!(":{port:04X}");
    let queue = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let waiting = fields.get(4)?.split(':').next()?;
        fields[1].ends_with(&of_port).then(|| usize::from_str_radix(waiting, 16).unwrap())
    };
    table.lines().skip(1).filter_map(queue).sum::<usize>() >> 20
}

/// Clients ask for much and take nothing of it: what they are owed is bounded by `limits.memory`.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_take_nothing_cost_a_bounded_amount_of_memory() {
    let _alone = ALONE.lock().await;
    let server = Running::start("  limits: { memory: 96MiB }\n  timeouts: { write: 300ms }").await;
    let client = server.client();
    let text = "x".repeat(100_000);
    let rows: Vec<_> = (0..50)
        .map(|id| json!({ "entity": { "customer_id": id }, "features": { "country": text } }))
        .collect();
    let written = client.post(WRITE, json!({ "rows": rows }).to_string()).await;
    assert_eq!(written.status, 200, "{}", written.text());
    let ids: Vec<usize> = (0..50).collect();
    let body = json!({ "features": ["customers:country"], "entities": { "customer_id": ids } }).to_string();
    let before = memory("VmRSS");
    let request = format!(
        "POST {READ} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let queued = queued(server.address.port());
    println!("the system holds {queued} MiB that it cannot send");
    assert!(queued < 64, "{queued} MiB");
    let taken = memory("VmRSS").saturating_sub(before);
    println!("100 readers that take nothing, of 5 MB each, cost {taken} MiB");
    assert!(taken < 256, "{taken} MiB");
    // They are left, and what they were owed is free again.
    let mut tries = 0;
    while client.post(READ, body.clone()).await.status != 200 {
        tries += 1;
        assert!(tries < 100, "what they were owed is kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(held);
    server.stop().await;
}

/// Sends pieces until the server takes no more: how many bytes it took, and what it said.
async fn pour(server: &Running, head: String, piece: &[u8], pieces: usize) -> (usize, String) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    write.write_all(head.as_bytes()).await.unwrap();
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        let _ = read.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    });
    let mut taken = 0;
    for _ in 0..pieces {
        // The server hangs up, or stops taking it.
        match tokio::time::timeout(Duration::from_secs(5), write.write_all(piece)).await {
            Ok(Ok(())) => taken += piece.len(),
            _ => break,
        }
    }
    drop(write);
    (taken, said.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_gibibyte_is_refused_at_the_price_of_its_beginning() {
    let _alone = ALONE.lock().await;
    let server = Running::start("  feast: { tenant: acme }").await;
    let head = |path: &str, length: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
    };
    let plain = vec![b' '; 1 << 20];
    let chunk = [b"100000\r\n", plain.as_slice(), b"\r\n"].concat();
    // A line without end is none that could be loaded.
    let line = [b"100000\r\n", vec![b'x'; 1 << 20].as_slice(), b"\r\n"].concat();
    for (path, length, piece, says) in [
        (READ, "content-length: 1073741824", &plain, "HTTP/1.1 413"),
        (WRITE, "content-length: 1073741824", &plain, "HTTP/1.1 413"),
        (READ, "transfer-encoding: chunked", &chunk, "HTTP/1.1 413"),
        (WRITE, "transfer-encoding: chunked", &chunk, "HTTP/1.1 413"),
        ("/push", "transfer-encoding: chunked", &chunk, "HTTP/1.1 413"),
        (INGEST, "transfer-encoding: chunked", &line, ""),
    ] {
        forget_the_most();
        let before = memory("VmRSS");
        let pieces = if path == INGEST { 64 } else { 1024 };
        let (taken, said) = pour(&server, head(path, length), piece, pieces).await;
        let cost = memory("VmHWM").saturating_sub(before);
        println!("{path}, {length}: {} MiB taken, {cost} MiB of memory", taken >> 20);
        // Whoever hangs up at the sender may be faster than the answer.
        assert!(said.is_empty() || said.starts_with(says), "{said}");
        assert!(taken < 128 << 20 && cost < 256, "{path}, {length}: {taken} bytes, {cost} MiB");
    }
    let row =
        json!({ "rows": [{ "entity": { "customer_id": 1 }, "features": { "orders": 1 } }] }).to_string();
    assert_eq!(server.client().post(WRITE, row).await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_long_rows_takes_no_more_memory_than_a_short_one() {
    let _alone = ALONE.lock().await;
    let server = Running::start("").await;
    let text = "x".repeat(900_000);
    let row = |id| format!("{{\"customer_id\":{id},\"country\":\"{text}\"}}\n");
    let body: String = (0..5).map(row).collect();
    let piece = [format!("{:x}\r\n", body.len()).as_bytes(), body.as_bytes(), b"\r\n"].concat();
    let head = format!(
        "POST {INGEST} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    forget_the_most();
    let before = memory("VmRSS");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..80 {
        stream.write_all(&piece).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("\"ended\":\"complete\"") && said.contains("\"written\":400"), "{said:.1000}");
    let cost = memory("VmHWM").saturating_sub(before);
    println!("a load of 360 MB cost {cost} MiB");
    assert!(cost < 128, "{cost} MiB");
    server.stop().await;
}

/// Reads and writes over one connection until an instant: how many requests were answered.
async fn work(server: std::net::SocketAddr, worker: usize, until: tokio::time::Instant) -> u64 {
    let stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut done = 0;
    while tokio::time::Instant::now() < until {
        let id = (done as usize * 64 + worker) % 10_000;
        let (path, body) = match done % 10 {
            0 => (
                WRITE,
                json!({ "rows": [{ "entity": { "customer_id": id }, "features": { "orders": done } }] }),
            ),
            _ => (READ, json!({ "features": ["customers:orders"], "entities": { "customer_id": [id] } })),
        };
        let request =
            hyper::Request::post(path).header("host", "x").header("content-type", "application/json");
        let body = http_body_util::Full::new(bytes::Bytes::from(body.to_string()));
        let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
        done += 1;
    }
    done
}

/// `FSTORE_SOAK_SECONDS` makes it shorter or longer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: cargo test --release -p feature-server --test memory -- --ignored --nocapture"]
async fn ten_minutes_at_full_speed_leave_memory_as_it_was() {
    let _alone = ALONE.lock().await;
    let secs = std::env::var("FSTORE_SOAK_SECONDS").map_or(600, |secs| secs.parse().unwrap());
    let server = Running::start("").await;
    let address = server.address;
    let run = async |time: Duration| {
        let until = tokio::time::Instant::now() + time;
        let workers: Vec<_> = (0..64).map(|worker| tokio::spawn(work(address, worker, until))).collect();
        let mut done = 0;
        for worker in workers {
            done += worker.await.unwrap();
        }
        done
    };
    // The first tenth fills the store, and what grows to its size.
    run(Duration::from_secs(secs) / 10).await;
    let before = memory("VmRSS");
    let mut done = 0;
    for part in 1..=9 {
        done += run(Duration::from_secs(secs) / 10).await;
        println!("after {}0 %: {done} requests, {} MiB", part + 1, memory("VmRSS"));
    }
    let grown = memory("VmRSS").saturating_sub(before);
    assert!(grown < 16, "{done} requests took {grown} MiB that were not given back");
    server.stop().await;
}
