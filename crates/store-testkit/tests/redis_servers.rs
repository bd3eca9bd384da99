//! Harm to real Redis servers, alone, in a cluster and behind Sentinels, and what comes of it.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::process::{Command, ExitCode};
use std::time::Duration;

use store_testkit::servers::{
    RedisCluster, RedisOptions, RedisSentinel, RedisTls, Reply, RespClient, Server, Software, Way, program,
};
use store_testkit::{ServerTests, TestFailure};
use tokio::time::{Instant, sleep};

type TestResult = Result<(), TestFailure>;

/// How long a failover may take on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("a_killed_server_is_gone_until_it_is_restarted", a_killed_server_is_gone_until_it_is_restarted)
        .test(
            "what_is_in_the_append_only_file_survives_a_kill",
            what_is_in_the_append_only_file_survives_a_kill,
        )
        .test(
            "a_paused_server_keeps_connections_and_answers_later",
            a_paused_server_keeps_connections_and_answers_later,
        )
        .test(
            "a_server_with_a_password_and_options_takes_orders",
            a_server_with_a_password_and_options_takes_orders,
        )
        .test("a_server_that_does_not_start_says_why", a_server_that_does_not_start_says_why)
        .test("a_replica_takes_over_in_a_cluster", a_replica_takes_over_in_a_cluster)
        .test("a_cluster_may_have_a_password", a_cluster_may_have_a_password)
        .test("sentinels_promote_a_replica", sentinels_promote_a_replica)
        .test(
            "tls_is_spoken_with_certificates_of_its_own_authority",
            tls_is_spoken_with_certificates_of_its_own_authority,
        )
        .test("valkey_is_started_and_controlled_like_redis", valkey_is_started_and_controlled_like_redis)
        .run()
}

async fn a_killed_server_is_gone_until_it_is_restarted() -> TestResult {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    server.command(&["SET", "k", "v"]).await?;
    server.kill().await?;
    assert!(server.command(&["PING"]).await.unwrap_err().contains("no connection"));
    assert!(server.pause().await.unwrap_err().contains("is not running"));
    // Killing it again changes nothing.
    server.kill().await?;
    server.restart().await?;
    assert_eq!(server.command(&["PING"]).await?.text(), "PONG");
    assert_eq!(server.command(&["GET", "k"]).await?, Reply::Nil);
    // One that ends by itself can be started again too.
    let _ = server.command(&["SHUTDOWN", "NOSAVE"]).await;
    server.restart().await?;
    assert_eq!(server.command(&["PING"]).await?.text(), "PONG");
    let folder = server.folder().unwrap().to_owned();
    let url = server.url().to_owned();
    server.stop().await;
    assert!(RespClient::connect(&url).await.is_err() && !folder.exists());
    Ok(())
}

async fn what_is_in_the_append_only_file_survives_a_kill() -> TestResult {
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    let server = Server::start_redis(&options).await?;
    server.command(&["SET", "k", "v"]).await?;
    server.restart().await?;
    assert_eq!(server.command(&["GET", "k"]).await?.text(), "v");
    Ok(())
}

async fn a_paused_server_keeps_connections_and_answers_later() -> TestResult {
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
    Ok(())
}

async fn a_server_with_a_password_and_options_takes_orders() -> TestResult {
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
    Ok(())
}

async fn a_server_that_does_not_start_says_why() -> TestResult {
    let none = RedisOptions { program: "no-such-server".to_owned(), ..RedisOptions::default() };
    assert_eq!(Server::start_redis(&none).await.unwrap_err(), "no no-such-server on the PATH");
    let wrong = RedisOptions::default().with(["--no-such-option", "1"]);
    let error = Server::start_redis(&wrong).await.unwrap_err();
    assert!(error.contains("Bad directive"), "{error}");
    Ok(())
}

/// What a server thinks it is: `master` or `slave`.
async fn role(server: &Server) -> Result<String, String> {
    let answer = server.command(&["ROLE"]).await?;
    Ok(answer.items().first().map(|role| role.text().to_owned()).unwrap_or_default())
}

/// How many of these servers are primaries.
async fn primaries_of(servers: impl IntoIterator<Item = &Server>) -> Result<usize, String> {
    let mut count = 0;
    for server in servers {
        count += usize::from(role(server).await? == "master");
    }
    Ok(count)
}

async fn a_replica_takes_over_in_a_cluster() -> TestResult {
    let cluster = RedisCluster::start(3, 1).await?;
    let url = cluster.url();
    assert_eq!((cluster.nodes().len(), url.matches("127.0.0.1:").count()), (6, 3), "{url}");
    for (number, node) in cluster.nodes().iter().enumerate() {
        assert_eq!(role(node).await?, if number < 3 { "master" } else { "slave" }, "node {number}");
    }
    let (primary, replica) = (&cluster.nodes()[0], &cluster.nodes()[3]);
    // Slot 0 is the first primary's.
    let key = "{06S}";
    assert_eq!(primary.command(&["CLUSTER", "KEYSLOT", key]).await?, Reply::Integer(0));
    let mut client = RespClient::connect(primary.url()).await?;
    client.command(&["SET", key, "v"]).await?;
    assert_eq!(client.command(&["WAIT", "1", "10000"]).await?, Reply::Integer(1));
    let moved = cluster.nodes()[1].command(&["GET", key]).await.unwrap_err();
    assert_eq!(moved, format!("GET {key}: MOVED 0 127.0.0.1:{}", primary.port().unwrap()));

    primary.kill().await?;
    let start = Instant::now();
    while role(replica).await? != "master" {
        assert!(start.elapsed() < PATIENCE, "no replica has taken over");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(replica.command(&["GET", key]).await?.text(), "v");
    primary.restart().await?;
    cluster.wait_until_whole(PATIENCE).await?;
    // A busy machine may see to it that roles have changed once more.
    assert_eq!(primaries_of(cluster.nodes()).await?, 3);
    cluster.stop().await;
    assert!(RespClient::connect(&url.replace("-cluster", "")).await.is_err(), "a stopped server answers");
    Ok(())
}

async fn a_cluster_may_have_a_password() -> TestResult {
    let options = RedisOptions { password: Some("hunter2".to_owned()), ..RedisOptions::default() };
    let cluster = RedisCluster::start_with(2, 0, &options).await?;
    let ports: Vec<u16> = cluster.primaries().iter().map(|node| node.port().unwrap()).collect();
    let expected = format!("redis-cluster://:hunter2@127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
    assert_eq!(cluster.url(), expected);
    assert!(RedisCluster::start(0, 1).await.err().unwrap().contains("1 to 12 nodes"));
    Ok(())
}

async fn sentinels_promote_a_replica() -> TestResult {
    let redis = RedisSentinel::start().await?;
    assert_eq!((redis.addresses().len(), redis.replicas().len()), (3, 2));
    let first = redis.primary();
    assert_eq!(redis.current_primary().await?.port(), first.port());
    first.kill().await?;
    let start = Instant::now();
    while redis.current_primary().await?.port() == first.port() {
        assert!(start.elapsed() < PATIENCE, "no replica was promoted");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(role(redis.current_primary().await?).await?, "master");
    first.restart().await?;
    redis.wait_until_whole(PATIENCE).await?;
    assert_eq!(primaries_of(redis.replicas()).await? + primaries_of([first]).await?, 1);
    redis.stop().await;
    Ok(())
}

async fn tls_is_spoken_with_certificates_of_its_own_authority() -> TestResult {
    let redis = RedisTls::start(&RedisOptions::default()).await?;
    assert_eq!(redis.server().command(&["PING"]).await?.text(), "PONG");
    let port = redis.url().strip_prefix("rediss://127.0.0.1:").unwrap();
    let files = redis.certificates();
    let ping = |own: bool| {
        let mut client = Command::new("redis-cli");
        client.args(["-h", "localhost", "-p", port, "--tls", "--cacert"]).arg(files.authority());
        if own {
            client.arg("--cert").arg(files.client()).arg("--key").arg(files.client_key());
        }
        client.arg("PING").output().map_err(|_| TestFailure::unavailable("no redis-cli on the PATH"))
    };
    assert_eq!(ping(true)?.stdout, b"PONG\n");
    assert_ne!(ping(false)?.stdout, b"PONG\n", "a client without a certificate is let in");
    Ok(())
}

async fn valkey_is_started_and_controlled_like_redis() -> TestResult {
    program("valkey-server").map_err(|why| TestFailure::unavailable(why).of("valkey"))?;
    let server = Server::start(Software::Valkey, Way::Process).await?;
    assert!(server.how().contains("valkey-server"), "{server:?}");
    server.restart().await?;
    assert!(server.command(&["INFO", "server"]).await?.text().contains("valkey_version:"));
    Ok(())
}
