//! What clients that take nothing cost: in a process of its own, so that nothing else is measured.
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
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const READ: &str = "/v1/tenants/acme/read";
const WRITE: &str = "/v1/tenants/acme/views/customers/write";

/// Memory that this process has now, in MiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() >> 10
}

/// Clients ask for much and take nothing of it: what they are owed is bounded by `limits.memory`.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_take_nothing_cost_a_bounded_amount_of_memory() {
    let server = Running::start("  limits: { memory: 64MiB }\n  timeouts: { write: 300ms }").await;
    let client = server.client();
    let text = "x".repeat(100_000);
    let rows: Vec<_> = (0..50)
        .map(|id| json!({ "entity": { "customer_id": id }, "features": { "country": text } }))
        .collect();
    client.post(WRITE, json!({ "rows": rows }).to_string()).await.ok();
    let ids: Vec<usize> = (0..50).collect();
    let body = json!({ "features": ["customers:country"], "entities": { "customer_id": ids } }).to_string();
    let before = memory();
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
    let taken = memory().saturating_sub(before);
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
