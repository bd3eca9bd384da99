//! A Redis server in each way it can be started here, asked over a plain socket.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
#![allow(clippy::print_stdout, reason = "the runner reads the last line")]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use store_testkit::servers::{Server, Software, Way, stop_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the shared server was got.
static HOW: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let trial = |name: &str, way: Way| {
        let handle = handle.clone();
        Trial::ignorable_test(name, move || handle.block_on(starts_and_stops(way)))
    };
    let shared = {
        let handle = handle.clone();
        Trial::ignorable_test("redis_is_shared_until_all_are_stopped", move || handle.block_on(is_shared()))
    };
    let trials = vec![
        trial("redis_in_a_container_starts_and_stops", Way::Container),
        trial("redis_as_a_process_starts_and_stops", Way::Process),
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

async fn starts_and_stops(way: Way) -> Result<Completion, Failed> {
    let server = match Server::start(Software::Redis, way).await {
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
