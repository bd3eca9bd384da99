//! A Redis server in each way it can be started here, asked over a plain socket.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
#![allow(clippy::print_stdout, reason = "the runner reads the last line")]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use store_testkit::servers::{Server, Software, Way, stop_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the shared server was got.
static HOW: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let trial = |name: &str, software: Software, way: Way| {
        let handle = handle.clone();
        Trial::ignorable_test(name, move || handle.block_on(starts_and_stops(software, way)))
    };
    let harmed = {
        let handle = handle.clone();
        Trial::ignorable_test("a_container_is_paused_and_killed", move || handle.block_on(is_harmed()))
    };
    let shared = {
        let handle = handle.clone();
        Trial::ignorable_test("redis_is_shared_until_all_are_stopped", move || handle.block_on(is_shared()))
    };
    let trials = vec![
        trial("redis_in_a_container_starts_and_stops", Software::Redis, Way::Container),
        trial("redis_as_a_process_starts_and_stops", Software::Redis, Way::Process),
        trial("valkey_in_a_container_starts_and_stops", Software::Valkey, Way::Container),
        trial("valkey_as_a_process_starts_and_stops", Software::Valkey, Way::Process),
        harmed,
        shared,
    ];
    let arguments = Arguments::from_args();
    let exit = libtest_mimic::run(&arguments, trials).exit_code();
    if let Some(how) = HOW.get() {
        println!("suite: redis | {how}");
    }
    exit
}

fn address(server: &Server) -> SocketAddr {
    server.url().strip_prefix("redis://").unwrap().parse().unwrap()
}

async fn ping(address: SocketAddr) -> io::Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn starts_and_stops(software: Software, way: Way) -> Result<Completion, Failed> {
    let server = match Server::start(software, way).await {
        Ok(server) => server,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let address = address(&server);
    assert!(address.ip().is_loopback(), "{address}");
    assert!(!server.how().is_empty());
    assert_eq!(ping(address).await?, "+PONG\r\n");
    server.stop().await;
    assert!(ping(address).await.is_err(), "a stopped server answers");
    Ok(Completion::Completed)
}

async fn is_harmed() -> Result<Completion, Failed> {
    let server = match Server::start(Software::Redis, Way::Container).await {
        Ok(server) => server,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    server.pause().await?;
    let soon = tokio::time::timeout(Duration::from_millis(200), server.command(&["PING"])).await;
    assert!(soon.is_err(), "a paused server answers");
    server.resume().await?;
    assert_eq!(server.command(&["PING"]).await?.text(), "PONG");
    assert!(server.restart().await.unwrap_err().contains("start a process"));
    server.kill().await?;
    assert!(server.command(&["PING"]).await.is_err(), "a killed server answers");
    Ok(Completion::Completed)
}

async fn is_shared() -> Result<Completion, Failed> {
    let server = match Server::redis().await {
        Ok(server) => server,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    if server.how().starts_with("address") {
        return Ok(Completion::ignored_with("the environment names a server, which is not ours to stop"));
    }
    HOW.get_or_init(|| server.how().to_owned());
    let address = address(&server);
    assert_eq!(Server::redis().await.map(|same| same.url().to_owned()), Ok(server.url().to_owned()));
    assert_eq!(ping(address).await?, "+PONG\r\n");
    drop(server);
    stop_all().await;
    assert!(ping(address).await.is_err(), "a stopped server answers");
    Ok(Completion::Completed)
}
