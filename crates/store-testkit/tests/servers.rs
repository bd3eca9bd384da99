//! A Redis server in each way it can be started here, asked over a plain socket.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
#![allow(clippy::print_stdout, reason = "the runner reads the last line")]

use std::io;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use store_testkit::servers::{RedisOptions, Reply, RespClient, Server, Software, Way, stop_all};
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
    let harm = |name: &str, test: BoxFuture<'static, Result<Completion, Failed>>| {
        let handle = handle.clone();
        Trial::ignorable_test(name, move || match Command::new("redis-server").arg("--version").output() {
            Ok(_) => handle.block_on(test),
            Err(_) => Ok(Completion::ignored_with("no redis-server on the PATH")),
        })
    };
    let shared = {
        let handle = handle.clone();
        Trial::ignorable_test("redis_is_shared_until_all_are_stopped", move || handle.block_on(is_shared()))
    };
    let trials = vec![
        trial("redis_in_a_container_starts_and_stops", Way::Container),
        trial("redis_as_a_process_starts_and_stops", Way::Process),
        shared,
        harm("a_killed_server_is_gone_until_it_is_restarted", killed_and_restarted().boxed()),
        harm("what_is_in_the_append_only_file_survives_a_kill", survives_a_kill().boxed()),
        harm("a_paused_server_keeps_connections_and_answers_later", paused_and_resumed().boxed()),
        harm("a_server_with_a_password_and_options_takes_orders", takes_orders().boxed()),
        harm("a_server_that_does_not_start_says_why", says_why().boxed()),
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

async fn killed_and_restarted() -> Result<Completion, Failed> {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let address = address(&server);
    server.command(&["SET", "k", "v"]).await?;
    server.kill().await?;
    assert!(ping(address).await.is_err(), "a killed server answers");
    assert!(server.command(&["PING"]).await.unwrap_err().contains("no connection"));
    assert!(server.pause().await.unwrap_err().contains("is not running"));
    // Killing it again changes nothing.
    server.kill().await?;
    server.restart().await?;
    assert_eq!(ping(address).await?, "+PONG\r\n");
    assert_eq!(server.command(&["GET", "k"]).await?, Reply::Nil);
    // One that ends by itself can be started again too.
    let _ = server.command(&["SHUTDOWN", "NOSAVE"]).await;
    server.restart().await?;
    assert_eq!(ping(address).await?, "+PONG\r\n");
    let folder = server.folder().unwrap().to_owned();
    server.stop().await;
    assert!(ping(address).await.is_err() && !folder.exists());
    Ok(Completion::Completed)
}

async fn survives_a_kill() -> Result<Completion, Failed> {
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    let server = Server::start_redis(&options).await?;
    server.command(&["SET", "k", "v"]).await?;
    server.restart().await?;
    assert_eq!(server.command(&["GET", "k"]).await?.text(), "v");
    Ok(Completion::Completed)
}

async fn paused_and_resumed() -> Result<Completion, Failed> {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let mut client = RespClient::connect(server.url()).await?;
    server.pause().await?;
    {
        let mut answer = std::pin::pin!(client.command(&["PING"]));
        let soon = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
        assert!(soon.is_err(), "a paused server answers");
        server.resume().await?;
        assert_eq!(answer.await?.text(), "PONG");
    }
    // A paused server ends like any other.
    server.pause().await?;
    server.stop().await;
    assert!(client.command(&["PING"]).await.is_err());
    Ok(Completion::Completed)
}

async fn takes_orders() -> Result<Completion, Failed> {
    let options = RedisOptions { password: Some("hunter2".to_owned()), ..RedisOptions::default() };
    let server = Server::start_redis(&options.with(["--maxmemory", "8mb"])).await?;
    assert!(server.url().starts_with("redis://:hunter2@127.0.0.1:"));
    let limit = server.command(&["CONFIG", "GET", "maxmemory"]).await?;
    assert_eq!(limit.items()[1].text(), "8388608");
    assert_eq!(server.command(&["EVAL", "return {1, 'a', false, {}}", "0"]).await?.to_string(), "1 a nil ");
    assert_eq!(
        server.command(&["GET"]).await.unwrap_err(),
        "GET: ERR wrong number of arguments for 'get' command"
    );
    let stranger = server.url().replace("hunter2", "hunter3");
    let refused = RespClient::connect(&stranger).await.err().unwrap();
    assert!(refused.starts_with("AUTH: WRONGPASS") && !refused.contains("hunter"), "{refused}");
    Ok(Completion::Completed)
}

async fn says_why() -> Result<Completion, Failed> {
    let none = RedisOptions { program: "no-such-server".to_owned(), ..RedisOptions::default() };
    assert_eq!(Server::start_redis(&none).await.unwrap_err(), "no no-such-server on the PATH");
    let wrong = RedisOptions::default().with(["--no-such-option", "1"]);
    let error = Server::start_redis(&wrong).await.unwrap_err();
    assert!(error.contains("Bad directive"), "{error}");
    Ok(Completion::Completed)
}
