//! What the console costs those who read features: reads while ten tabs show the live page, against reads while none does.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use store_testkit::bench::{BenchOptions, BenchResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Case, JSON, Process, READ, ROLE, Wrk, in_turns};

pub(super) const TEN_TABS: &str = "console_ten_tabs";
const TABS: u32 = 10;
/// As the console's script has it.
const EVERY: Duration = Duration::from_secs(5);

pub(super) fn ten_tabs(options: &BenchOptions) -> BenchResult {
    let ours = Process::start("server console");
    let load = Wrk::new(&Case(TEN_TABS, 1, READ, JSON));
    let beside_tabs = |seconds| {
        let _open = Tabs::open(ours.admin.unwrap());
        load.rate(ours.address, seconds)
    };
    in_turns(options, TEN_TABS, beside_tabs, |seconds| load.rate(ours.address, seconds))
}

/// A process that asks as browsers do; it ends when it is dropped.
struct Tabs(Child);

impl Tabs {
    fn open(admin: SocketAddr) -> Self {
        let role = format!("tabs {admin}");
        Self(Command::new(std::env::current_exe().unwrap()).env(ROLE, role).spawn().unwrap())
    }
}

impl Drop for Tabs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ten tabs, each of which asks every five seconds, one after the other, until it is killed.
pub(super) async fn tabs(admin: SocketAddr) {
    let mut next = tokio::time::interval(EVERY / TABS);
    loop {
        next.tick().await;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(admin).await.unwrap();
            let head = "GET /console/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut page = Vec::new();
            stream.read_to_end(&mut page).await.unwrap();
            assert!(page.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&page));
        });
    }
}
