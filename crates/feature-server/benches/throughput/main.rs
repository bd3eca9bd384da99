//! Requests per second of the server against a bare axum route that answers the same number of bytes.
//!
//! Both are processes of their own over the same kind of runtime, and are loaded in turns, round by round, with 64
//! requests at a time: over HTTP by `wrk`, over gRPC by a process that is this program again. A stream of writes is
//! compared with what the library writes by itself. The ratio counts: client and servers share the machine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark reports, and ends where it cannot"
)]

mod attack;
mod console;
mod grpc;
mod latency;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::routing::post;
use feature_core::{EntityKey, Error, FeatureWrite, Features, OnlineStoreBackend, SystemClock};
use feature_server::settings::ServerSettings;
use feature_server::{Server, Serving};
use latency::Latency;
use store_embedded::EmbeddedOnlineStore;
use store_redis::{RedisConfig, RedisOnlineStore};
use store_testkit::bench::{BenchOptions, BenchResult, report};
use store_testkit::servers::{RedisOptions, Server as RedisServer};
use store_unified::{FeatureRequest, Settings, SettingsFormat, SettingsReader, UnifiedFeatureStore};

/// As in the program `fstore`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FEATURES: usize = 50;
const ENTITIES: usize = 5_000;
const CONNECTIONS: usize = 64;
const VIEW: &str = "wide";
const READ: &str = "/v1/tenants/bench/read";
const FEAST: &str = "/get-online-features";
const JSON: &str = "application/json";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// What is asked: its name, how many rows, where, and which language is accepted.
struct Case(&'static str, usize, &'static str, &'static str);

const CASES: [Case; 5] = [
    Case("http_json_1x50", 1, READ, JSON),
    Case("http_json_100x50", 100, READ, JSON),
    Case("http_arrow_100x50", 100, READ, ARROW),
    Case("feast_json_1x50", 1, FEAST, JSON),
    Case("feast_json_100x50", 100, FEAST, JSON),
];

const REDIS_ARROW: &str = "redis_arrow_100x50";
const GRPC_ROWS: usize = 100;

/// Says what this program is when it is one of the servers.
const ROLE: &str = "FSTORE_BENCH_ROLE";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let role: Vec<&str> = role.split_whitespace().collect();
        return runtime.block_on(async {
            match role[..] {
                ["server"] => serve(&settings(""), None).await,
                ["server", "keys"] => serve(&settings(&keys()), None).await,
                ["server", "console"] => {
                    serve(&settings("").replace("admin: off", "admin: '127.0.0.1:0'"), None).await;
                }
                ["server", redis] => serve(&settings(""), Some(redis)).await,
                ["reads", address, seconds, rate, rows] => {
                    let (rate, rows) = (rate.parse().unwrap(), rows.parse().unwrap());
                    latency::reads(address.parse().unwrap(), secs(seconds), rate, rows).await;
                }
                ["tabs", admin] => console::tabs(admin.parse().unwrap()).await,
                ["attack", name, address] => attack::attack(name, address.parse().unwrap()).await,
                ["bare", size] => bare(size.parse().unwrap()).await,
                ["bare_grpc", size] => grpc::bare(size.parse().unwrap()).await,
                ["grpc_reads", address, seconds] => {
                    println!("{}", grpc::reads(address.parse().unwrap(), GRPC_ROWS, secs(seconds)).await);
                }
                ["grpc_writes", address, seconds] => {
                    println!("{}", grpc::write_stream(address.parse().unwrap(), secs(seconds)).await);
                }
                ["library_reads", redis, seconds] => {
                    println!("{}", library_reads(redis, secs(seconds)).await);
                }
                ["library_writes", seconds] => println!("{}", library_writes(secs(seconds)).await),
                _ => panic!("{role:?}"),
            }
        });
    }
    let Some(options) = BenchOptions::from_args() else { return };
    if Command::new("wrk").arg("--version").output().is_err() {
        println!("not measured: there is no `wrk`, the load generator (apt install wrk)");
        return;
    }
    let ours = Process::start("server");
    let wanted = CASES.iter().filter(|Case(name, ..)| options.wants(name));
    let mut results: Vec<BenchResult> = wanted.map(|case| http(&options, &ours, case)).collect();
    if options.wants("grpc_100x50") {
        results.push(grpc_reads(&options, &ours));
    }
    if options.wants("grpc_write_stream") {
        results.push(grpc_writes(&options, &ours));
    }
    if options.wants(console::TEN_TABS) {
        results.push(console::ten_tabs(&options));
    }
    if options.wants(REDIS_ARROW) {
        results.push(redis_arrow(&options));
    }
    if options.wants("p99_at_half_load") {
        half_load(&options, &ours);
    }
    attack::others(&options);
    report(&options, "server, against a bare route that answers as many bytes", &results).unwrap();
}

fn secs(text: &str) -> Duration {
    Duration::from_secs(text.parse().unwrap())
}

fn http(options: &BenchOptions, ours: &Process, case: &Case) -> BenchResult {
    let Case(name, rows, path, accept) = case;
    let length = length_of_answer(ours.address, path, accept, &body(*rows, path));
    let raw = Process::start(&format!("bare {length}"));
    let load = Wrk::new(case);
    in_turns(
        options,
        name,
        |seconds| load.rate(ours.address, seconds),
        |seconds| load.rate(raw.address, seconds),
    )
}

/// The load generator, with what it asks.
struct Wrk {
    script: tempfile::NamedTempFile,
    path: &'static str,
}

impl Wrk {
    fn new(Case(_, rows, path, accept): &Case) -> Self {
        let script = tempfile::NamedTempFile::new().unwrap();
        let lua = format!(
            "wrk.method = \"POST\"\nwrk.body = [==[{}]==]\nwrk.headers[\"content-type\"] = \"{JSON}\"\n\
             wrk.headers[\"accept\"] = \"{accept}\"\n",
            body(*rows, path)
        );
        std::fs::write(script.path(), lua).unwrap();
        Self { script, path }
    }

    /// Requests per second.
    fn rate(&self, address: SocketAddr, seconds: u32) -> f64 {
        let mut wrk = Command::new("wrk");
        let (connections, duration) = (CONNECTIONS.to_string(), format!("{seconds}s"));
        wrk.args(["-t", "1", "-c", &connections, "-d", &duration, "-s"]).arg(self.script.path());
        wrk.arg(format!("http://{address}{}", self.path));
        let said = String::from_utf8(wrk.output().unwrap().stdout).unwrap();
        assert!(!said.contains("Non-2xx"), "{said}");
        let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        rate.unwrap_or_else(|| panic!("{said}")).trim().parse().unwrap()
    }
}

/// A hundred entities as Arrow from a server over Redis, against what the library reads by itself.
fn redis_arrow(options: &BenchOptions) -> BenchResult {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(RedisServer::start_redis(&RedisOptions::default())).unwrap();
    let ours = Process::start(&format!("server {}", redis.url()));
    let wrk = Wrk::new(&Case(REDIS_ARROW, 100, READ, ARROW));
    let library = |seconds: u32| rate(&format!("library_reads {} {seconds}", redis.url()));
    in_turns(options, REDIS_ARROW, |seconds| wrk.rate(ours.address, seconds), library)
}

/// How long reads of a hundred entities take at half of the load that the server can bear, and the same of the bare
/// route at that rate, which shows what the machine and the client add.
fn half_load(options: &BenchOptions, ours: &Process) {
    let (rounds, seconds) = if options.quick { (1, 3) } else { (5, 10) };
    let highest = Wrk::new(&Case("", 100, READ, JSON)).rate(ours.address, seconds);
    let half = (highest / 2.0) as u32;
    let bare =
        Process::start(&format!("bare {}", length_of_answer(ours.address, READ, JSON, &body(100, READ))));
    println!("p99_at_half_load: {half}/s of 100 x 50 as JSON, half of {highest:.0}/s, in ms");
    for (name, address) in [("ours", ours.address), ("bare", bare.address)] {
        let measured: Vec<_> = (0..rounds).map(|_| Latency::measure(address, seconds, half, 100)).collect();
        let Latency { p50, p99, failed, p99_of_all } = Latency::median(&measured);
        println!(
            "  {name}: p50 {p50:.2}, p99 {p99:.2}, {:.2} times as long; p99 of all {p99_of_all:.2}; {failed} failed",
            p99 / p50
        );
    }
}

/// Reads of a hundred entities over gRPC.
fn grpc_reads(options: &BenchOptions, ours: &Process) -> BenchResult {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let size = runtime.block_on(grpc::length_of_answer(ours.address, GRPC_ROWS));
    let raw = Process::start(&format!("bare_grpc {size}"));
    let load = |address: SocketAddr, seconds: u32| rate(&format!("grpc_reads {address} {seconds}"));
    let (ours, raw) = (ours.address, raw.address);
    in_turns(options, "grpc_100x50", |seconds| load(ours, seconds), |seconds| load(raw, seconds))
}

/// Rows that a stream of writes has acknowledged, against those of the library in its own process.
fn grpc_writes(options: &BenchOptions, ours: &Process) -> BenchResult {
    let stream = |seconds: u32| rate(&format!("grpc_writes {} {seconds}", ours.address));
    let library = |seconds: u32| rate(&format!("library_writes {seconds}"));
    in_turns(options, "grpc_write_stream", stream, library)
}

/// What a process of this program measures.
fn rate(role: &str) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap()).env(ROLE, role).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{role}: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Measures both round by round; who begins changes.
fn in_turns(
    options: &BenchOptions,
    name: &str,
    ours: impl Fn(u32) -> f64,
    raw: impl Fn(u32) -> f64,
) -> BenchResult {
    let (rounds, seconds) = if options.quick { (3, 1) } else { (9, 3) };
    let (mut ours_rates, mut raw_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (one, other) = if round % 2 == 0 {
            let one = ours(seconds);
            (one, raw(seconds))
        } else {
            let other = raw(seconds);
            (ours(seconds), other)
        };
        // The first round warms up.
        if round > 0 {
            ours_rates.push(one);
            raw_rates.push(other);
            ratios.push(one / other);
        }
    }
    BenchResult {
        name: name.to_owned(),
        ours_per_s: median(ours_rates),
        raw_per_s: Some(median(raw_rates)),
        ratio: Some(median(ratios)),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn body(rows: usize, path: &str) -> String {
    let ids: Vec<String> = (0..rows).map(|row| (row * 37 % ENTITIES).to_string()).collect();
    let service = if path == READ { "service" } else { "feature_service" };
    format!("{{\"{service}\":\"all\",\"entities\":{{\"customer_id\":[{}]}}}}", ids.join(","))
}

fn length_of_answer(address: SocketAddr, path: &str, accept: &str, body: &str) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {JSON}\r\naccept: {accept}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..head]));
    answer.len() - head - 4
}

/// A server, which is this program again.
struct Process {
    child: Child,
    address: SocketAddr,
    /// Where its console is, if it has one.
    admin: Option<SocketAddr>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.env(ROLE, role).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut addresses = line.split_whitespace().map(|address| address.parse().unwrap());
        Self { child, address: addresses.next().unwrap(), admin: addresses.next() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn feature(n: usize) -> String {
    format!("feature_{n:02}")
}

fn value(id: usize, n: usize) -> f64 {
    (id * 31 + n) as f64 / 7.0
}

/// Keys: of those who behave well, and of those who do not.
const KEYS: [&str; 2] = ["good", "bad"];

fn keys() -> String {
    let key = |key: &&str| {
        let hash = feature_server::KeyHash::of(key).to_hex();
        format!("{{ name: {key}, sha256: '{hash}', tenants: [bench], rights: [read, write] }}")
    };
    format!("auth: {{ keys: [{}] }}, ", KEYS.iter().map(key).collect::<Vec<_>>().join(", "))
}

fn settings(server: &str) -> String {
    let features: Vec<String> = (0..FEATURES).map(|n| format!("{}: float64", feature(n))).collect();
    format!(
        "stores: {{ main: 'embedded:' }}
server: {{ {server}listen: '127.0.0.1:0', admin: off, feast: {{ tenant: bench }} }}
feature_views:
  - {{ name: {VIEW}, entities: [customer_id], features: {{ {} }} }}
feature_services:
  - {{ name: all, features: ['{VIEW}:*'] }}
",
        features.join(", ")
    )
}

async fn open(settings: &str, redis: Option<&str>) -> (Settings, ServerSettings, UnifiedFeatureStore) {
    let backend: Arc<dyn OnlineStoreBackend> = match redis {
        None => Arc::new(EmbeddedOnlineStore::in_memory().unwrap()),
        Some(url) => {
            let config = RedisConfig::from_url(&url.parse().unwrap()).unwrap();
            Arc::new(RedisOnlineStore::connect(config).await.unwrap())
        }
    };
    let reader = SettingsReader::new(SettingsFormat::Yaml);
    let (settings, server) = feature_server::settings::read(&reader, settings).unwrap();
    let store = settings.open(async |_| Ok::<_, Error>(Arc::clone(&backend)), SystemClock).await.unwrap();
    (settings, server, store)
}

fn row(id: usize) -> FeatureWrite {
    let features: Features = (0..FEATURES).map(|n| (feature(n), value(id, n))).collect();
    FeatureWrite::new(EntityKey::new("customer_id", id as u64).unwrap(), features)
}

/// Reads of a hundred entities per second that the library does over Redis, as many at a time as clients of the
/// server do.
async fn library_reads(redis: &str, time: Duration) -> f64 {
    let (_, _, store) = open(&settings(""), Some(redis)).await;
    let ids = (0..100).map(|row| EntityKey::new("customer_id", (row * 37 % ENTITIES) as u64).unwrap());
    let request = FeatureRequest::service("bench", "all", ids);
    let begun = Instant::now();
    let callers = (0..CONNECTIONS).map(|_| {
        let (store, request) = (store.clone(), request.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while begun.elapsed() < time {
                let table = store.read(&request).await.unwrap();
                assert_eq!(table.columns().count(), FEATURES);
                done += 1;
            }
            done
        })
    });
    let mut done = 0;
    for caller in callers.collect::<Vec<_>>() {
        done += caller.await.unwrap();
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// Rows per second that the library writes, a message's worth at a time.
async fn library_writes(time: Duration) -> f64 {
    let (_, _, store) = open(&settings(""), None).await;
    let rows: Vec<FeatureWrite> = (0..ENTITIES).map(row).collect();
    let (begun, mut written) = (Instant::now(), 0);
    for rows in rows.chunks(grpc::WRITE_ROWS).cycle() {
        store.batch_write("bench", VIEW, rows.to_vec()).await.unwrap().into_result().unwrap();
        written += rows.len();
        if begun.elapsed() > time {
            break;
        }
    }
    written as f64 / begun.elapsed().as_secs_f64()
}

async fn serve(settings: &str, redis: Option<&str>) {
    let metrics = feature_server::install_metrics().unwrap();
    let (settings, server, store) = open(settings, redis).await;
    for chunk in (0..ENTITIES).collect::<Vec<_>>().chunks(1_000) {
        let rows = chunk.iter().map(|id| row(*id));
        store.batch_write("bench", VIEW, rows).await.unwrap().into_result().unwrap();
    }
    let server =
        Server::bind(Serving::new(store, &settings, server, SystemClock), Some(metrics)).await.unwrap();
    let admin = server.admin_address().unwrap().map_or_else(String::new, |address| address.to_string());
    println!("{} {admin}", server.address().unwrap());
    server.run().await.unwrap();
}

/// A route that takes the body in and answers so many bytes.
async fn bare(size: usize) {
    let answer = Bytes::from(vec![b'x'; size]);
    let route = post(move |_: Bytes| {
        let answer = answer.clone();
        async move { ([("content-type", JSON)], answer) }
    });
    let router = axum::Router::new().route("/v1/tenants/{tenant}/read", route.clone()).route(FEAST, route);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}
