//! What happens to one server in production, under load: deadlines are kept, nothing acknowledged is lost,
//! errors say what to do, and the store recovers by itself.

mod common;
mod harm;

use std::process::ExitCode;
use std::time::Duration;

use common::{VIEW, entity, open, read, write};
use feature_core::{ErrorKind, OnlineStore};
use harm::{RECOVERY, SLACK, opens_lazily};
use store_testkit::load::{Load, LoadPlan, LoadReport};
use store_testkit::servers::{RedisOptions, Server};
use store_testkit::{Proxy, ServerTests, TestFailure};
use tokio::time::sleep;

type Outcome = Result<(), TestFailure>;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("a_server_that_is_killed_and_restarted_loses_nothing", killed)
        .test("a_server_that_stands_still_for_five_seconds_keeps_no_caller_waiting", paused)
        .test("a_connection_reset_in_the_midst_of_a_reply_is_made_anew", reset)
        .test("a_script_that_is_forgotten_is_loaded_again", script_flush)
        .test("a_server_without_memory_refuses_writes_and_goes_on_reading", out_of_memory)
        .test("connections_that_are_killed_are_made_anew", client_kill)
        .test("a_primary_that_becomes_a_replica_and_a_primary_again_is_written_to_again", read_only)
        .test("a_server_busy_with_a_script_is_unavailable_for_so_long", busy)
        .test("a_server_that_loads_its_data_is_waited_for", loading)
        .test("a_wrong_password_is_said_at_once_and_a_changed_one_later", password)
        .test("a_user_without_the_right_to_scripts_reads_and_is_told_what_to_grant", no_script_rights)
        .test("a_key_of_another_type_is_an_error_of_its_row_alone", wrong_type)
        .test("a_store_that_connects_lazily_opens_before_its_server", opened_before_its_server)
        .run()
}

/// A server that keeps what it acknowledges.
async fn durable() -> Result<Server, String> {
    Server::start_redis(&RedisOptions { appendonly: true, ..RedisOptions::default() }).await
}

fn load(store: &OnlineStore) -> Result<Load, String> {
    Load::start(store, "load", LoadPlan::default())
}

/// Ends a load that must have come through whole, and gives its report.
async fn sound(load: Load, store: &OnlineStore) -> Result<LoadReport, String> {
    let report = load.stop().await;
    report.sound(SLACK)?;
    report.verify(store).await?.sound()?;
    Ok(report)
}

async fn killed() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    let load = load(&store)?;
    for _ in 0..3 {
        load.wait_for_success(RECOVERY).await?;
        server.kill().await?;
        load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
        server.restart().await?;
    }
    load.wait_for_success(RECOVERY).await?;
    sound(load, &store).await?;
    Ok(())
}

async fn opened_before_its_server() -> Outcome {
    let server = durable().await?;
    write(&open(server.url()).await?, 1, 7).await?;
    server.kill().await?;
    Ok(opens_lazily(server.url(), async || server.restart().await).await?)
}

async fn paused() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    server.pause().await?;
    sleep(Duration::from_secs(5)).await;
    load.wait_for_error(&[ErrorKind::DeadlineExceeded], RECOVERY).await?;
    server.resume().await?;
    load.wait_for_success(RECOVERY).await?;
    sound(load, &store).await?;
    Ok(())
}

async fn reset() -> Outcome {
    let server = durable().await?;
    let proxy = Proxy::start(server.port().ok_or("the server has no port")?).await?;
    let store = open(&format!("redis://127.0.0.1:{}", proxy.port())).await?;
    let load = load(&store)?;
    for round in 1..=20 {
        load.wait_for_success(RECOVERY).await?;
        let before = proxy.resets();
        // Somewhere in a reply, each time elsewhere.
        proxy.reset_after(150 + 37 * round);
        while proxy.resets() < before + 2 {
            sleep(Duration::from_millis(2)).await;
        }
        proxy.reset_after(0);
    }
    load.wait_for_success(RECOVERY).await?;
    sound(load, &store).await?;
    Ok(())
}

async fn script_flush() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    let load = load(&store)?;
    for _ in 0..50 {
        server.command(&["SCRIPT", "FLUSH", "SYNC"]).await?;
        sleep(Duration::from_millis(10)).await;
    }
    load.wait_for_success(RECOVERY).await?;
    let report = sound(load, &store).await?;
    match report.writes().errors_of(ErrorKind::Unavailable) {
        0 => Ok(()),
        failed => Err(format!("{failed} rows failed: {report:?}").into()),
    }
}

async fn out_of_memory() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    write(&store, 1, 1).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await?;
    load.wait_for_error(&[ErrorKind::Throttled], RECOVERY).await?;
    let error = write(&store, 1, 2).await.err().ok_or("a full server has taken a write")?;
    if !(error.kind() == ErrorKind::Throttled && error.is_retryable() && !error.in_doubt()) {
        return Err(format!("not the error of a full server: {error:?}").into());
    }
    if read(&store, 1).await? != Some(1) {
        return Err("a refused write has changed the record".into());
    }
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    load.wait_for_success(RECOVERY).await?;
    let report = sound(load, &store).await?;
    match report.reads().errors.is_empty() {
        true => Ok(()),
        false => Err(format!("reads failed on a full server: {report:?}").into()),
    }
}

async fn client_kill() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    let load = load(&store)?;
    for _ in 0..30 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await?;
        sleep(Duration::from_millis(20)).await;
    }
    load.wait_for_success(RECOVERY).await?;
    sound(load, &store).await?;
    Ok(())
}

async fn read_only() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    // Of a primary that nobody has: it keeps its data and takes no writes.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).await?;
    load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
    let error = write(&store, 1, 1).await.err().ok_or("a replica has taken a write")?;
    if !(error.kind() == ErrorKind::Unavailable && error.message().contains("replica")) {
        return Err(format!("not the error of a replica: {error:?}").into());
    }
    server.command(&["REPLICAOF", "NO", "ONE"]).await?;
    load.wait_for_success(RECOVERY).await?;
    sound(load, &store).await?;
    Ok(())
}

async fn busy() -> Outcome {
    let server = durable().await?;
    server.command(&["CONFIG", "SET", "busy-reply-threshold", "50"]).await?;
    let store = open(server.url()).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    let url = server.url().to_owned();
    let endless = tokio::spawn(async move {
        let mut client = store_testkit::servers::RespClient::connect(&url).await?;
        client.command(&["EVAL", "while true do end", "0"]).await
    });
    load.wait_for_error(&[ErrorKind::Unavailable, ErrorKind::DeadlineExceeded], RECOVERY).await?;
    let error = write(&store, 1, 1).await.err().ok_or("a busy server has taken a write")?;
    if !(error.kind() == ErrorKind::Unavailable && error.message().contains("SCRIPT KILL")) {
        return Err(format!("not the error of a busy server: {error:?}").into());
    }
    server.command(&["SCRIPT", "KILL"]).await?;
    load.wait_for_success(RECOVERY).await?;
    drop(endless);
    sound(load, &store).await?;
    Ok(())
}

async fn loading() -> Outcome {
    let options = RedisOptions { appendonly: true, ..RedisOptions::default() };
    let server = Server::start_redis(&options.with(["--enable-debug-command", "local"])).await?;
    let store = open(server.url()).await?;
    for number in 0..2_000 {
        write(&store, number, 1).await?;
    }
    // So that it takes long, and answers meanwhile.
    server.command(&["CONFIG", "SET", "key-load-delay", "500"]).await?;
    server.command(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    let url = server.url().to_owned();
    let reload = tokio::spawn(async move {
        let mut client = store_testkit::servers::RespClient::connect(&url).await?;
        client.command(&["DEBUG", "RELOAD"]).await
    });
    load.wait_for_error(&[ErrorKind::Unavailable], RECOVERY).await?;
    let error = read(&store.with_deadline(Duration::from_millis(100)), 1).await.err();
    let error = error.ok_or("a server that loads its data has answered")?;
    if !(error.message().contains("loading") && error.is_retryable()) {
        return Err(format!("not the error of a server that loads: {error:?}").into());
    }
    load.wait_for_success(RECOVERY).await?;
    reload.await.map_err(|e| e.to_string())??;
    sound(load, &store).await?;
    Ok(())
}

async fn password() -> Outcome {
    let secret = "correct-horse".to_owned();
    let options = RedisOptions { appendonly: true, password: Some(secret), ..RedisOptions::default() };
    let server = Server::start_redis(&options).await?;
    let port = server.port().ok_or("the server has no port")?;
    for wrong in [format!("redis://127.0.0.1:{port}"), format!("redis://:hunter2@127.0.0.1:{port}")] {
        let error = match open(&wrong).await {
            // Without a password the connection stands, and the first command is refused.
            Ok(store) => read(&store, 1).await.err().ok_or("a stranger was let in")?,
            Err(error) => error,
        };
        if error.kind() != ErrorKind::Unauthenticated || error.is_retryable() {
            return Err(format!("not the error of a wrong password: {error:?}").into());
        }
        if format!("{error:?}").contains("hunter2") {
            return Err("the error shows the password".into());
        }
    }
    let store = open(server.url()).await?;
    let load = load(&store)?;
    load.wait_for_success(RECOVERY).await?;
    server.command(&["CONFIG", "SET", "requirepass", "another"]).await?;
    let other = format!("redis://:another@127.0.0.1:{port}");
    let mut operator = store_testkit::servers::RespClient::connect(&other).await?;
    operator.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await?;
    load.wait_for_error(&[ErrorKind::Unauthenticated], RECOVERY).await?;
    operator.command(&["CONFIG", "SET", "requirepass", "correct-horse"]).await?;
    load.wait_for_success(RECOVERY).await?;
    sound(load, &store).await?;
    Ok(())
}

async fn no_script_rights() -> Outcome {
    let server = durable().await?;
    let admin = open(server.url()).await?;
    write(&admin, 1, 1).await?;
    server
        .command(&["ACL", "SETUSER", "reader", "on", ">secret", "~feast:*", "+@all", "-@scripting"])
        .await?;
    let port = server.port().ok_or("the server has no port")?;
    let store = open(&format!("redis://reader:secret@127.0.0.1:{port}")).await?;
    if read(&store, 1).await? != Some(1) {
        return Err("a user with the right to read does not read".into());
    }
    let error = write(&store, 1, 2).await.err().ok_or("a user without the right has written")?;
    if error.kind() != ErrorKind::PermissionDenied || error.is_retryable() || error.in_doubt() {
        return Err(format!("not the error of a missing right: {error:?}").into());
    }
    server.command(&["ACL", "SETUSER", "reader", "+evalsha", "+script|load"]).await?;
    write(&store, 1, 2).await?;
    // Keys outside the prefix stay out of reach.
    let elsewhere = format!("redis://reader:secret@127.0.0.1:{port}?key_prefix=other:");
    let error = read(&open(&elsewhere).await?, 1).await.err().ok_or("a key was read without the right")?;
    match error.kind() {
        ErrorKind::PermissionDenied => Ok(()),
        _ => Err(format!("not the error of a missing right: {error:?}").into()),
    }
}

async fn wrong_type() -> Outcome {
    let server = durable().await?;
    let store = open(server.url()).await?;
    for number in [1, 3] {
        write(&store, number, 1).await?;
    }
    let key = format!("feast:acme:{VIEW}:customer_id=2");
    server.command(&["HSET", &key, "orders", "7"]).await?;
    let keys = (1..=3).map(entity).collect::<Result<Vec<_>, _>>()?;
    let rows = store.batch_read("acme", VIEW, &keys, None).await?;
    let [Ok(Some(_)), Err(error), Ok(Some(_))] = &rows[..] else {
        return Err(format!("expected one error between two rows, found {rows:?}").into());
    };
    if error.kind() != ErrorKind::Corrupt || !error.message().contains("key_prefix") {
        return Err(format!("not the error of a foreign key: {error:?}").into());
    }
    let writes = (1..=3).map(|number| {
        let write = feature_core::FeatureWrite::new(entity(number)?, [("orders", 2)]);
        Ok::<_, feature_core::Error>(write)
    });
    let report = store.batch_write("acme", VIEW, writes.collect::<Result<Vec<_>, _>>()?).await?;
    let failed: Vec<_> = report.failures().map(|(row, error)| (row, error.kind())).collect();
    if failed != [(1, ErrorKind::Corrupt)] {
        return Err(format!("expected the second row alone to fail: {failed:?}").into());
    }
    if server.command(&["HGET", &key, "orders"]).await?.text() != "7" {
        return Err("another program's key was changed".into());
    }
    Ok(())
}
