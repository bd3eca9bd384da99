//! `WriteStream`: what is acknowledged is there, and what a client sends takes no more memory than it may.
#![allow(clippy::unwrap_used, clippy::panic, reason = "every function here is a test's")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::grpc::{Client, devices, info, pb, row};
use common::{Running, map_store, serving, settings};
use feature_core::OnlineStoreBackend;
use feature_server::new_key;
use futures::stream::{self, Stream};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::{Fault, FaultyBackend};
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status, Streaming};

const PATH: &str = "/fstore.v1.FeatureStore/WriteStream";

fn message(ids: std::ops::Range<i64>) -> pb::WriteStreamRequest {
    pb::WriteStreamRequest { tenant: "acme".to_owned(), view: "devices".to_owned(), rows: Some(devices(ids)) }
}

async fn begin(
    client: &Client,
    messages: impl Stream<Item = pb::WriteStreamRequest> + Send + 'static,
) -> Result<Streaming<pb::WriteStreamResponse>, Status> {
    client.stream(PATH, messages).await
}

/// The messages that a channel brings.
fn of(receiver: mpsc::Receiver<pb::WriteStreamRequest>) -> impl Stream<Item = pb::WriteStreamRequest> {
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

/// All acknowledgements, and how the stream ended.
async fn all(
    mut answers: Streaming<pb::WriteStreamResponse>,
) -> (Vec<pb::WriteStreamResponse>, Option<Status>) {
    let mut all = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => all.push(answer),
            Ok(None) => return (all, None),
            Err(status) => return (all, Some(status)),
        }
    }
}

async fn stored(client: &Client) -> HashSet<String> {
    let rows =
        client.scan(pb::ScanRequest { tenant: "acme".into(), view: "devices".into(), limit: None }).await;
    rows.unwrap().into_iter().map(|mut row| row.entity.remove("device_id").unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_acknowledged_and_there() {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    let messages = (0..1000).map(|n| message(n * 10..n * 10 + 10));
    let (answers, end) = all(begin(&client, stream::iter(messages)).await.unwrap()).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(answers.last().unwrap().rows, 10_000);
    assert_eq!(answers.iter().map(|answer| answer.applied).sum::<u64>(), 10_000);
    assert!(answers.is_sorted_by_key(|answer| answer.rows));
    assert!(answers.len() < 1000, "nothing was written together: {} writes", answers.len());
    assert_eq!(stored(&client).await.len(), 10_000);
    server.stop().await;
}

#[tokio::test]
async fn a_row_is_acknowledged_when_it_is_there_and_not_when_more_come() {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    let (sender, receiver) = mpsc::channel(1);
    sender.send(pb::WriteStreamRequest { rows: None, ..message(0..0) }).await.unwrap();
    let mut answers = begin(&client, of(receiver)).await.unwrap();
    for id in 0..5 {
        // Whom it is about is said once.
        let rows = Some(devices(id..id + 1));
        sender.send(pb::WriteStreamRequest { rows, ..Default::default() }).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.rows, answer.applied), (id as u64 + 1, 1));
    }
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_row_that_fails_does_not_end_the_stream() {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    let bad = pb::WriteRows {
        rows: vec![row(&[("device_id", "x")], &[("logins", pb::value::Kind::String("many".into()))])],
        ..Default::default()
    };
    let (sender, receiver) = mpsc::channel(1);
    let mut answers = {
        sender.send(message(0..3)).await.unwrap();
        begin(&client, of(receiver)).await.unwrap()
    };
    assert_eq!(answers.message().await.unwrap().unwrap().applied, 3);
    sender.send(pb::WriteStreamRequest { rows: Some(bad), ..Default::default() }).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.rows, answer.failed), (4, 1));
    assert_eq!((answer.errors[0].row, answer.errors[0].kind.as_str()), (3, "InvalidArgument"));
    sender.send(message(4..5)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().rows, 5);

    // What is no row at all does, after everything before it.
    sender.send(message(5..6)).await.unwrap();
    sender.send(pb::WriteStreamRequest { view: "customers".into(), ..message(6..7) }).await.unwrap();
    drop(sender);
    let (answers, end) = all(answers).await;
    assert_eq!(answers.last().unwrap().rows, 6);
    let end = end.unwrap();
    assert_eq!(end.code(), Code::InvalidArgument);
    assert!(end.message().contains("one tenant and view"));
    assert_eq!(stored(&client).await.len(), 5);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_allowed_is_told_so() {
    let server = Running::start("").await;
    let client = Client::of(server.address);
    for (first, code) in [
        (pb::WriteStreamRequest { view: "none".into(), ..message(0..1) }, Code::NotFound),
        (pb::WriteStreamRequest { tenant: "__fstore__".into(), ..message(0..1) }, Code::PermissionDenied),
        (message(0..10_001), Code::ResourceExhausted),
    ] {
        let (answers, end) = all(begin(&client, stream::iter([first])).await.unwrap()).await;
        assert_eq!((answers.len(), end.map(|status| status.code())), (0, Some(code)));
    }
    server.stop().await;
}

/// A store whose calls take long until it is told that they need not.
fn gated() -> (Arc<dyn OnlineStoreBackend>, watch::Sender<bool>) {
    let (open, _) = watch::channel(false);
    let gate = open.clone();
    let script = move |_| if *gate.borrow() { Fault::None } else { Fault::Delay(Duration::from_secs(3)) };
    (Arc::new(FaultyBackend::new(map_store(), script)), open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_faster_than_the_store_writes_has_to_wait() {
    let (backend, open) = gated();
    let server = Running::with(&settings("  limits: { rows: 50 }"), backend).await;
    let client = Client::of(server.address);
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    // Each message is 16 KiB of a text that the store will take its time for.
    let text = "x".repeat(16 << 10);
    let messages = stream::iter((0..400).map(move |id: i64| {
        counted.fetch_add(1, Ordering::SeqCst);
        let features = [("country", pb::value::Kind::String(text.clone()))];
        let rows = vec![row(&[("device_id", &id.to_string())], &features)];
        pb::WriteStreamRequest { rows: Some(pb::WriteRows { rows, ..Default::default() }), ..message(0..0) }
    }));
    let answers = begin(&client, messages).await.unwrap();
    let all = tokio::spawn(all(answers));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Fifty rows are written, fifty are gathered, and the windows of the connection are full.
    let before = sent.load(Ordering::SeqCst);
    assert!((50..250).contains(&before), "{before} messages went out while nothing was written");
    open.send_replace(true);
    let (answers, end) = all.await.unwrap();
    assert!(end.is_none(), "{end:?}");
    assert_eq!(answers.last().unwrap().rows, 400);
    assert_eq!(stored(&client).await.len(), 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_client_went_is_there() {
    let server = Running::start("  limits: { rows: 20 }").await;
    let client = Client::of(server.address);
    for _ in 0..10 {
        let messages = stream::iter((0..).map(|id| message(id..id + 1)));
        let mut answers = begin(&client, messages).await.unwrap();
        let mut acknowledged = 0;
        for _ in 0..10 {
            acknowledged = answers.message().await.unwrap().unwrap().rows;
        }
        drop(answers);
        let stored = stored(&client).await;
        assert!((0..acknowledged).all(|id| stored.contains(&id.to_string())));
    }
    // Nothing is left of them: a server that stops waits for those that are left.
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_tells_which_rows_are_written() {
    let file = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig { path: Some(file.path().join("s.redb")), ..EmbeddedConfig::default() };
    let connect = || EmbeddedOnlineStore::connect(config(), Arc::new(common::clock())).unwrap();
    let server = Running::with(&settings("  limits: { rows: 20 }"), Arc::new(connect())).await;
    let client = Client::of(server.address);
    let (sender, receiver) = mpsc::channel(4);
    let answers = begin(&client, of(receiver)).await.unwrap();
    let sending = tokio::spawn(async move {
        let mut id = 0;
        while sender.send(message(id..id + 1)).await.is_ok() {
            id += 1;
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.handle.stop();
    let (answers, end) = all(answers).await;
    server.stop().await;
    sending.await.unwrap();
    let end = end.unwrap();
    let acknowledged = answers.last().unwrap().rows;
    assert!(acknowledged > 0);
    let after = Running::with(&settings(""), Arc::new(connect())).await;
    let stored = stored(&Client::of(after.address)).await.len() as u64;
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.message().contains("not written"), "{end:?}");
    assert_eq!(stored, acknowledged);
    after.stop().await;
}

#[tokio::test]
async fn a_stream_on_which_nothing_comes_ends() {
    let server = Running::start("  timeouts: { idle: 100ms }").await;
    let client = Client::of(server.address);
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(0..1)).await.unwrap();
    let (answers, end) = all(begin(&client, of(receiver)).await.unwrap()).await;
    assert_eq!(answers.len(), 1);
    let end = end.unwrap();
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert!(end.message().contains("timeouts.idle"), "{end:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_taken_back_ends_the_stream() {
    let key = new_key().unwrap();
    let auth = |name: &str, hash: &feature_server::KeyHash| {
        format!(
            "  auth: {{ keys: [{{ name: {name}, sha256: {}, tenants: [acme], rights: [write] }}] }}",
            hash.to_hex()
        )
    };
    let server = Running::start(&auth("first", &key.hash)).await;
    let client = Client::of(server.address).key(key.key.expose());
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(0..1)).await.unwrap();
    let mut answers = begin(&client, of(receiver)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().rows, 1);
    let other = settings(&auth("second", &new_key().unwrap().hash));
    server.handle.replace(serving(&other, &server.backend, common::clock()).await.unwrap()).unwrap();
    sender.send(message(1..2)).await.unwrap();
    let (answers, end) = all(answers).await;
    assert_eq!(answers.len(), 0);
    let end = end.unwrap();
    assert_eq!(end.code(), Code::Unauthenticated);
    assert_eq!(info(&end).reason, "Unauthenticated");
    server.stop().await;
}
