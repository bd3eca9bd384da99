//! How long reads take that come at a steady rate, whatever became of those before.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{JSON, KEYS, READ, ROLE, body};

const CALLERS: u32 = 16;
/// How late a timer may be.
const LATE: Duration = Duration::from_millis(2);
/// Percentiles are those of each slice, and the median of all: now and then a virtual machine stands almost still for tens
/// of milliseconds.
const SLICE: Duration = Duration::from_millis(500);

/// Milliseconds, and how many reads did not get what they asked.
#[derive(Clone, Copy)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) failed: f64,
    /// The p99 of all reads.
    pub(super) p99_of_all: f64,
}

impl Latency {
    /// Of so many reads a second.
    pub(super) fn measure(address: SocketAddr, seconds: u32, rate: u32, rows: usize) -> Self {
        let role = format!("reads {address} {seconds} {rate} {rows}");
        let output = Command::new(std::env::current_exe().unwrap()).env(ROLE, role).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let figures: Vec<f64> = said.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        match figures[..] {
            [p50, p99, failed, p99_of_all] => Self { p50, p99, failed, p99_of_all },
            _ => panic!("{said}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    pub(super) fn median(all: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| super::median(all.iter().map(field).collect());
        Self {
            p50: of(|l| l.p50),
            p99: of(|l| l.p99),
            failed: all.iter().map(|l| l.failed).sum(),
            p99_of_all: of(|l| l.p99_of_all),
        }
    }
}

pub(super) fn request(key: &str, rows: usize) -> String {
    let body = body(rows, READ);
    let length = body.len();
    head(key, READ, &format!("content-length: {length}")) + &body
}

pub(super) fn head(key: &str, path: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: {JSON}\r\n{more}\r\n\r\n")
}

/// Reads at a steady rate, and prints how long they took.
pub(super) async fn reads(address: SocketAddr, time: Duration, rate: u32, rows: usize) {
    let interval = Duration::from_secs(1) * CALLERS / rate;
    let failed = Arc::new(AtomicU64::new(0));
    let begun = Instant::now() + Duration::from_millis(50);
    let callers = (0..CALLERS).map(|caller| {
        let failed = Arc::clone(&failed);
        tokio::spawn(async move {
            let request = request(KEYS[0], rows);
            let (mut took, mut answer) = (Vec::new(), Vec::new());
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut due = begun + interval * caller / CALLERS;
            while begun.elapsed() < time {
                tokio::time::sleep_until(due.into()).await;
                // A timer may be a little late; what is later than that has waited for the answer before.
                let from = if due.elapsed() < LATE { Instant::now() } else { due };
                let well = async {
                    stream.write_all(request.as_bytes()).await?;
                    read_answer(&mut stream, &mut answer).await
                };
                match tokio::time::timeout(Duration::from_secs(5), well).await {
                    Ok(Ok(true)) => {}
                    _ => {
                        failed.fetch_add(1, Relaxed);
                        stream = TcpStream::connect(address).await.unwrap();
                    }
                }
                took.push((begun.elapsed(), from.elapsed().as_secs_f64() * 1e3));
                due += interval;
            }
            took
        })
    });
    let mut took = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        took.extend(caller.await.unwrap());
    }
    let of_all = percentile(took.iter().map(|(_, took)| *took).collect(), 0.99);
    let slices = (time.as_millis() / SLICE.as_millis()) as u32;
    let at = |share: f64| {
        let of_slice = |slice: u32| {
            let own = took.iter().filter(|(at, _)| (SLICE * slice..SLICE * (slice + 1)).contains(at));
            percentile(own.map(|(_, took)| *took).collect(), share)
        };
        super::median((0..slices).map(of_slice).collect())
    };
    println!("{} {} {} {of_all}", at(0.5), at(0.99), failed.load(Relaxed));
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

/// Takes an answer in; whether it is what was asked for.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> std::io::Result<bool> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Ok(false);
        }
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        if answer.len() >= head + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap()) {
            return Ok(text.starts_with("http/1.1 200"));
        }
    }
}
