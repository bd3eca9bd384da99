//! A server goes on answering while its Redis is killed, comes back, and stands still: what it answers is right or a
//! plain error, and what it has acknowledged is there in the end.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "every function here is a test's")]

mod program;
mod serving;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use serving::Serving;
use store_testkit::servers::{RedisOptions, Server};
use store_testkit::{ServerTests, TestFailure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

type Outcome<T = ()> = Result<T, TestFailure>;

const RECORDS: u64 = 500;
const READERS: u64 = 4;
/// How long a read may take, and how soon its answer should be there.
const DEADLINE: &str = "20ms";
const SOON: Duration = Duration::from_millis(25);
const READ: &str = "/v1/tenants/acme/views/customers/read";
const WRITE: &str = "/v1/tenants/acme/views/customers/write";

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("what_is_answered_while_redis_fails_is_right_or_a_plain_error", right_or_an_error)
        .run()
}

/// Asks over one connection.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn of(address: &str) -> Outcome<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, read: Vec::new() })
    }

    /// The status and the body of an answer.
    async fn post(&mut self, path: &str, timeout: &str, body: &Value) -> Outcome<(u16, Value)> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-request-timeout: {timeout}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + &body).as_bytes()).await?;
        self.read.clear();
        loop {
            if let Some(answer) = whole(&self.read) {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(format!("cut off: {}", String::from_utf8_lossy(&self.read)).into());
            }
        }
    }
}

/// An answer, once all of it is there.
fn whole(read: &[u8]) -> Option<(u16, Value)> {
    let text = std::str::from_utf8(read).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let body = serde_json::from_str(body.get(..length)?).ok()?;
    Some((head.get(9..12)?.parse().ok()?, body))
}

/// What the readers have been answered.
#[derive(Default)]
struct Tally {
    right: AtomicU64,
    refused: AtomicU64,
    soon: AtomicU64,
}

impl Tally {
    fn right(&self) -> u64 {
        self.right.load(Relaxed)
    }
}

/// Reads records again and again until it is told to end.
async fn read(address: String, first: u64, tally: Arc<Tally>, end: Arc<AtomicBool>) -> Outcome {
    let mut client = Client::of(&address).await?;
    let mut id = first;
    while !end.load(Relaxed) {
        id = (id + READERS) % RECORDS;
        let asked = Instant::now();
        let body = json!({ "entities": { "customer_id": [id] }, "features": ["orders"] });
        let (status, answer) = client.post(READ, DEADLINE, &body).await?;
        if asked.elapsed() <= SOON {
            tally.soon.fetch_add(1, Relaxed);
        }
        let column = &answer["columns"][0];
        match status {
            200 if column["values"][0] == id * 7 => tally.right.fetch_add(1, Relaxed),
            200 if column["statuses"][0] == "failed" && !answer["errors"][0]["kind"].is_null() => {
                tally.refused.fetch_add(1, Relaxed)
            }
            503 | 504 if answer["kind"] == "Unavailable" || answer["kind"] == "DeadlineExceeded" => {
                tally.refused.fetch_add(1, Relaxed)
            }
            _ => return Err(format!("customer {id} was answered {status} {answer}").into()),
        };
        // More would only measure how fast it refuses.
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Writes records of its own, one after the other: how many were acknowledged. One that was not is written again.
async fn write(address: String, end: Arc<AtomicBool>) -> Outcome<u64> {
    let mut client = Client::of(&address).await?;
    let mut done = 0;
    while !end.load(Relaxed) {
        let row =
            json!({ "entity": { "customer_id": format!("new-{done}") }, "features": { "orders": done } });
        let (status, _) = client.post(WRITE, "200ms", &json!({ "rows": [row] })).await?;
        done += u64::from(status == 200);
        sleep(Duration::from_millis(2)).await;
    }
    Ok(done)
}

async fn right_or_an_error() -> Outcome {
    let redis = Server::start_redis(&RedisOptions { appendonly: true, ..RedisOptions::default() }).await?;
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("fstore.yaml");
    let text = format!(
        "stores:\n  main: '{}'\n  local: 'embedded:{}'\n\
         routes: [{{ store: main, fallback: {{ store: local, after: 8ms }}, mirror: {{ store: local }} }}]\n\
         default: {{ store: main }}\n\
         server: {{ listen: '127.0.0.1:0', admin: off }}\n\
         feature_views: [{{ name: customers, entities: [customer_id], features: {{ orders: int64 }} }}]\n",
        redis.url(),
        folder.path().join("local.redb").display()
    );
    std::fs::write(&settings, text)?;
    let server = Serving::start(&settings).await?;
    let mut client = Client::of(&server.address).await?;
    let row = |id| json!({ "entity": { "customer_id": id }, "features": { "orders": id * 7 } });
    let rows: Vec<Value> = (0..RECORDS).map(row).collect();
    let (status, said) = client.post(WRITE, "5s", &json!({ "rows": rows })).await?;
    assert_eq!((status, &said["applied"]), (200, &json!(RECORDS)), "{said}");

    let (tally, end) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
    let readers: Vec<_> = (0..READERS)
        .map(|first| tokio::spawn(read(server.address.clone(), first, Arc::clone(&tally), Arc::clone(&end))))
        .collect();
    let writer = tokio::spawn(write(server.address.clone(), Arc::clone(&end)));
    // How many right answers there are while something lasts.
    let during = async |secs| {
        let before = tally.right();
        sleep(Duration::from_secs(secs)).await;
        tally.right() - before
    };
    let mut right = vec![("there", during(2).await)];
    redis.kill().await?;
    right.push(("killed", during(3).await));
    redis.restart().await?;
    right.push(("back", during(2).await));
    redis.pause().await?;
    right.push(("standing still", during(5).await));
    redis.resume().await?;
    right.push(("going on", during(2).await));
    end.store(true, Relaxed);
    for reader in readers {
        reader.await.map_err(|error| error.to_string())??;
    }
    let written = writer.await.map_err(|error| error.to_string())??;

    let (soon, refused) = (tally.soon.load(Relaxed), tally.refused.load(Relaxed));
    let all = tally.right() + refused;
    let share = |part: u64| 100.0 * part as f64 / all as f64;
    println!(
        "{all} reads, {DEADLINE} each: {:.3} % right, {:.3} % refused, {:.3} % answered within 25 ms; {written} writes; \
         right while Redis was {right:?}",
        share(tally.right()),
        share(refused),
        share(soon)
    );
    for (when, number) in right {
        assert!(number > 0, "nothing was read while Redis was {when}");
    }
    // Redis may still be catching up.
    let ids: Vec<String> = (0..written).map(|number| format!("new-{number}")).collect();
    for (at, ids) in ids.chunks(1000).enumerate() {
        let body = json!({ "entities": { "customer_id": ids }, "features": ["orders"] });
        let (status, answer) = client.post(READ, "10s", &body).await?;
        let expected: Vec<u64> = (0..ids.len() as u64).map(|number| 1000 * at as u64 + number).collect();
        assert_eq!(
            (status, &answer["columns"][0]["values"]),
            (200, &json!(expected)),
            "{}",
            answer["errors"]
        );
    }
    assert!(written > 0);
    Ok(())
}
