//! What others notice of clients that mean harm: the latency of well-behaved reads, with and without them.
//!
//! Attackers have a key of their own and a rate that one machine can send beside the server: that they take the
//! processor is theirs and not the server's doing, and is the same for any server.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use store_testkit::bench::BenchOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::latency::{Latency, head, request};
use super::{Process, READ, ROLE, body};

/// Reads per second of the well-behaved.
const RATE: u32 = 1_000;
const ROWS: usize = 10;
/// How long an attack goes on before it counts.
const WARM_UP: Duration = Duration::from_secs(1);

const ATTACKS: [&str; 9] = [
    "random_bytes",
    "cut_bodies",
    "deep_json",
    "wide_json",
    "bodies_of_1_gib",
    "slow_senders",
    "slow_readers",
    "http2_resets",
    "half_open",
];

/// Prints the latency of reads beside each attack.
pub(super) fn others(options: &BenchOptions) {
    let wanted: Vec<_> = ATTACKS.iter().filter(|name| options.wants(&format!("beside_{name}"))).collect();
    if wanted.is_empty() {
        return;
    }
    let rounds = if options.quick { 1 } else { 3 };
    let seconds = if options.quick { 3 } else { 6 };
    println!("reads of {ROWS} rows x 50, {RATE}/s, beside clients that mean harm (ms)");
    println!(
        "{:<24}{:>10}{:>10}{:>10}{:>10}{:>8}{:>8}",
        "", "p50 alone", "p99 alone", "p50", "p99", "ratio", "failed"
    );
    for attack in wanted {
        let ours = Process::start("server keys");
        let mut measured = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            measured.0.push(Latency::measure(ours.address, seconds, RATE, ROWS));
            let mut attacker = Command::new(std::env::current_exe().unwrap());
            let role = format!("attack {attack} {}", ours.address);
            let mut attacker = attacker.env(ROLE, role).spawn().unwrap();
            std::thread::sleep(WARM_UP);
            measured.1.push(Latency::measure(ours.address, seconds, RATE, ROWS));
            attacker.kill().unwrap();
            attacker.wait().unwrap();
        }
        let (alone, beside) = (Latency::median(&measured.0), Latency::median(&measured.1));
        println!(
            "{:<24}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>8.2}{:>8}",
            format!("beside_{attack}"),
            alone.p50,
            alone.p99,
            beside.p50,
            beside.p99,
            beside.p99 / alone.p99,
            beside.failed
        );
    }
}

/// Attacks until it is killed.
pub(super) async fn attack(name: &str, address: SocketAddr) {
    let key = super::KEYS[1];
    let write = "/v1/tenants/bench/views/wide/write";
    let mut rng = fastrand::Rng::with_seed(1);
    match name {
        "random_bytes" => {
            at_rate(500, address, move || std::iter::repeat_with(|| rng.u8(..)).take(1_000).collect()).await;
        }
        "cut_bodies" => {
            let bytes = (head(key, READ, "content-length: 100000") + "{\"service\":").into_bytes();
            at_rate(500, address, move || bytes.clone()).await;
        }
        "deep_json" => {
            let deep = "[".repeat(1_000_000);
            let bytes = (head(key, write, &format!("content-length: {}", deep.len())) + &deep).into_bytes();
            at_rate(10, address, move || bytes.clone()).await;
        }
        "wide_json" => {
            let names: Vec<String> = (0..200_000).map(|n| format!("\"f{n}\":1")).collect();
            let wide = format!(
                "{{\"rows\":[{{\"entity\":{{\"customer_id\":1}},\"features\":{{{}}}}}]}}",
                names.join(",")
            );
            let bytes = (head(key, write, &format!("content-length: {}", wide.len())) + &wide).into_bytes();
            at_rate(5, address, move || bytes.clone()).await;
        }
        "bodies_of_1_gib" => together(4, move || gibibyte(key, write, address)).await,
        "slow_senders" => together(500, move || slow_sender(key, address)).await,
        "slow_readers" => together(300, move || slow_reader(key, address)).await,
        "http2_resets" => together(2, move || resets(key, address)).await,
        "half_open" => together(2_000, move || half_open(address)).await,
        _ => panic!("{name}"),
    }
}

/// As many at a time, each anew when it ends.
async fn together<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    many: usize,
    one: impl Fn() -> F + Clone + Send + 'static,
) {
    let tasks = (0..many).map(|_| {
        let one = one.clone();
        async move {
            loop {
                let _ = one().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    futures::future::join_all(tasks).await;
}

/// Throws bytes at the server, over a connection each, so many times a second.
async fn at_rate(per_second: u32, address: SocketAddr, mut bytes: impl FnMut() -> Vec<u8>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1) / per_second);
    loop {
        interval.tick().await;
        let bytes = bytes();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await
        });
    }
}

/// A body of 1 GiB whose length is not said.
async fn gibibyte(key: &'static str, path: &'static str, address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head(key, path, "transfer-encoding: chunked").as_bytes()).await?;
    let chunk = [format!("{:x}\r\n", 1 << 16).into_bytes(), vec![b' '; 1 << 16], b"\r\n".to_vec()].concat();
    for _ in 0..1 << 14 {
        stream.write_all(&chunk).await?;
    }
    Ok(())
}

/// A byte a second.
async fn slow_sender(key: &'static str, address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    for byte in request(key, 1).bytes() {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Asks for a megabyte, and takes a byte a second.
async fn slow_reader(key: &'static str, address: SocketAddr) -> std::io::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(request(key, 1_000).as_bytes()).await?;
    while stream.read_u8().await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Requests that are reset as soon as they are sent, a thousand a second.
async fn resets(key: &'static str, address: SocketAddr) -> std::io::Result<()> {
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(address).await?);
    let executor = hyper_util::rt::TokioExecutor::new();
    let other = std::io::Error::other;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.map_err(other)?;
    tokio::spawn(connection);
    loop {
        for _ in 0..10 {
            sender.ready().await.map_err(other)?;
            let request = hyper::Request::post(format!("http://x{READ}")).header("x-api-key", key);
            let body = http_body_util::Full::new(bytes::Bytes::from(body(100, READ)));
            // Polled once, so that it is sent, and dropped, so that it is reset.
            let _ = futures::FutureExt::now_or_never(sender.send_request(request.body(body).unwrap()));
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection on which nothing comes.
async fn half_open(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.read_u8().await.map(drop)
}
