//! Following a stream of Redis: what the store has at the end is the merge of all messages, whatever happened to the
//! followers, the stream and the store meanwhile; and what cannot be taken is kept, each message once.

mod following;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    EntityKey, Error, ErrorKind, OnlineStore, OnlineStoreBackend, SystemClock, Timestamp, WriteMode,
};
use feature_ingest::follow::{
    Envelope, Feed, Follow, FollowOptions, FollowTally, Part, RedisStream, RedisStreamSettings, StreamMapping,
};
use serde_json::json;
use store_testkit::servers::{RedisOptions, Reply, RespClient, Server};
use store_testkit::{Fault, FaultyBackend, MapStore, Operation, ServerTests, TestFailure};
use tokio::task::JoinHandle;

use following::{contents, is_poison, mapping, message, messages};

type Outcome = Result<(), TestFailure>;

const STREAM: &str = "orders";
const GROUP: &str = "features";
const CLAIM_AFTER: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("followers_that_die_lose_nothing_and_repeat_nothing", || storm(Harm::Followers))
        .test("a_store_that_is_away_is_waited_for", || storm(Harm::Store))
        .test("a_stream_that_is_killed_and_comes_back_is_followed_on", || storm(Harm::Stream))
        .test("a_follower_that_is_told_to_stop_leaves_nothing_behind", stop)
        .test("entries_without_a_payload_are_their_own_fields", own_fields)
        .test("a_deleted_row_of_debezium_is_retracted", debezium)
        .test("what_will_not_pass_ends_the_following", wrong_password)
        .run()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    Followers,
    Store,
    Stream,
}

fn settings(server: &Server, consumer: &str) -> RedisStreamSettings {
    RedisStreamSettings {
        url: server.url().into(),
        stream: STREAM.to_owned(),
        group: GROUP.to_owned(),
        consumer: consumer.to_owned(),
        payload: Some("data".to_owned()),
        dead_letters: "dead".to_owned(),
        from_end: false,
        claim_after: CLAIM_AFTER,
    }
}

/// A follower on its way; to abort it is to kill it: it settles nothing any more.
fn follower(
    server: &Server,
    store: &OnlineStore,
    tally: &FollowTally,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<feature_core::Result<()>>, TestFailure> {
    let feed = RedisStream::new(settings(server, &format!("{:x}", fastrand::u64(..))))?;
    let options = FollowOptions { batch_size: 64, ..FollowOptions::default() };
    let follow = Follow::new(Arc::new(feed), mapping(), options, store.clone(), tally.clone());
    Ok(tokio::spawn(follow.run(stop)))
}

async fn add(client: &mut RespClient, payload: &str) -> Result<String, String> {
    Ok(client.command(&["XADD", STREAM, "*", "data", payload]).await?.text().to_owned())
}

/// Waits until the group has taken and settled everything.
async fn settled(server: &Server) -> Outcome {
    for _ in 0..600 {
        // In the order that a message goes: asked for the other way round, one that is delivered in between is missed.
        let groups = server.command(&["XINFO", "GROUPS", STREAM]).await;
        let pending = server.command(&["XPENDING", STREAM, GROUP]).await;
        if let (Ok(pending), Ok(groups)) = (pending, groups) {
            let fields = groups.items().first().map(|group| group.items().to_vec()).unwrap_or_default();
            let lag = fields.iter().skip_while(|field| field.text() != "lag").nth(1).map(ToString::to_string);
            let pending = pending.items().first().map(ToString::to_string);
            if (pending.as_deref(), lag.as_deref()) == (Some("0"), Some("0")) {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the stream was not followed to its end within a minute".into())
}

/// Out of order and with repetitions, while something is harmed again and again.
async fn storm(harm: Harm) -> Outcome {
    let server =
        Arc::new(Server::start_redis(&RedisOptions { appendonly: true, ..Default::default() }).await?);
    let map: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let away = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let script = Arc::clone(&away);
    let faulty = FaultyBackend::new(Arc::clone(&map), move |call| {
        let is_away = script.load(std::sync::atomic::Ordering::Relaxed);
        match call.operation {
            _ if is_away => Fault::Fail(Error::new(ErrorKind::Unavailable, "the store is away")),
            Operation::Put if call.number % 7 == 3 => Fault::LoseReply,
            _ => Fault::None,
        }
    });
    let store = OnlineStore::new(Arc::new(faulty));
    let tally = FollowTally::default();
    let mut followers = Vec::new();
    for _ in 0..3 {
        followers.push(follower(&server, &store, &tally, std::future::pending())?);
    }

    let (messages, expected) = messages(3_000);
    let mut poisoned = BTreeSet::new();
    let mut client = RespClient::connect(server.url()).await?;
    for (number, payload) in messages.iter().enumerate() {
        let id = match add(&mut client, payload).await {
            Ok(id) => id,
            Err(_) => {
                // The server is just being started again; the entry may be there, which is one repetition.
                client = RespClient::connect(server.url()).await?;
                add(&mut client, payload).await?
            }
        };
        if is_poison(payload) {
            poisoned.insert(id);
        }
        if number % 300 == 299 {
            match harm {
                Harm::Followers => {
                    let victim = fastrand::usize(..followers.len());
                    followers.swap_remove(victim).abort();
                    followers.push(follower(&server, &store, &tally, std::future::pending())?);
                }
                Harm::Store => {
                    let now = (number / 300) % 2 == 0;
                    away.store(now, std::sync::atomic::Ordering::Relaxed);
                }
                Harm::Stream if number % 900 == 899 => {
                    server.kill().await?;
                    server.restart().await?;
                    client = RespClient::connect(server.url()).await?;
                }
                Harm::Stream => {}
            }
        }
    }
    away.store(false, std::sync::atomic::Ordering::Relaxed);
    settled(&server).await?;
    for follower in &followers {
        if follower.is_finished() {
            return Err("a follower has ended by itself".into());
        }
    }
    followers.iter().for_each(JoinHandle::abort);

    let contents = contents(&map).await?;
    if contents != expected {
        let differ = expected.iter().find(|(key, record)| contents.get(*key) != Some(record));
        return Err(
            format!("{differ:?}, and the store has {:?}", differ.map(|(key, _)| contents.get(key))).into()
        );
    }
    let dead = server.command(&["XRANGE", "dead", "-", "+"]).await?;
    let mut places = Vec::new();
    for entry in dead.items() {
        let fields = entry.items()[1].items();
        let field = |name: &str| fields.iter().skip_while(|own| own.text() != name).nth(1).map(Reply::text);
        if field("reason").is_none_or(str::is_empty) || field("stream") != Some(STREAM) {
            return Err(format!("a dead letter without reason or place: {entry:?}").into());
        }
        places.push(field("id").unwrap_or_default().to_owned());
    }
    let distinct: BTreeSet<String> = places.iter().cloned().collect();
    // Of a server that was killed nobody knows whether an entry was added whose answer was lost.
    let same = if harm == Harm::Stream { distinct.is_superset(&poisoned) } else { distinct == poisoned };
    if !same || places.len() != distinct.len() {
        return Err(format!("{} dead letters of {} poisoned messages", places.len(), poisoned.len()).into());
    }
    if harm != Harm::Followers && tally.progress().troubles == 0 {
        return Err("nothing went wrong, so nothing was shown".into());
    }
    Ok(())
}

async fn stop() -> Outcome {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let map: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let (store, tally) = (OnlineStore::new(Arc::clone(&map)), FollowTally::default());
    let mut client = RespClient::connect(server.url()).await?;
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let running = follower(&server, &store, &tally, async move { drop(told.await) })?;
    for time in 0..500 {
        add(&mut client, &message(time, 40).0).await?;
    }
    let _ = tell.send(());
    running.await.map_err(|e| e.to_string())??;
    let pending = server.command(&["XPENDING", STREAM, GROUP]).await?.items()[0].to_string();
    let consumers = server.command(&["XINFO", "CONSUMERS", STREAM, GROUP]).await?;
    let progress = tally.progress();
    if pending != "0" || !consumers.items().is_empty() || progress.delivered != progress.written {
        return Err(format!("{pending} pending, {consumers:?}, {progress:?}").into());
    }
    // The next one goes on with the rest.
    let next = follower(&server, &store, &tally, std::future::pending())?;
    settled(&server).await?;
    next.abort();
    match tally.progress().written {
        500 => Ok(()),
        written => Err(format!("{written} of 500 messages were written").into()),
    }
}

async fn follow_all(
    server: &Server,
    settings: RedisStreamSettings,
    mapping: StreamMapping,
) -> Result<OnlineStore, TestFailure> {
    let store = OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock))));
    let feed = Arc::new(RedisStream::new(settings)?);
    let follow =
        Follow::new(feed.clone(), mapping, FollowOptions::default(), store.clone(), FollowTally::default());
    let running = tokio::spawn(follow.run(std::future::pending()));
    settled(server).await?;
    if feed.lag().await? != Some(0) || feed.name() != STREAM {
        return Err("the feed does not know that it is at the end".into());
    }
    running.abort();
    Ok(store)
}

async fn own_fields() -> Outcome {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    server.command(&["XADD", STREAM, "1700000000000-5", "id", "7", "name", "Ada", "visits", "3"]).await?;
    let settings = RedisStreamSettings { payload: None, ..settings(&server, "me") };
    let id = "id".parse().map_err(|_| "a field".to_owned())?;
    let mapping = StreamMapping {
        tenant: Part::Constant("t".to_owned()),
        entity: vec![("id".to_owned(), id)],
        event_time: None,
        mode: Part::Constant(WriteMode::Merge),
        ..mapping()
    };
    let store = follow_all(&server, settings, mapping).await?;
    let row = store.read_features("t", "customers", &EntityKey::new("id", 7)?, None).await?;
    let row = row.ok_or("there is no record")?;
    let expected = (Some(&"Ada".into()), Some(&3_i64.into()), Timestamp::from_micros(1_700_000_000_000_005));
    match (row.get("name"), row.get("visits"), row.timestamp) == expected {
        true => Ok(()),
        false => Err(format!("{row:?}").into()),
    }
}

async fn debezium() -> Outcome {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let mut client = RespClient::connect(server.url()).await?;
    let change = |op: &str, before, after, ms: i64| {
        json!({"op": op, "before": before, "after": after, "source": {"ts_ms": 1_700_000_000_000 + ms}})
            .to_string()
    };
    let row = |id: i64, visits: i64| json!({"id": id, "visits": visits});
    let none = serde_json::Value::Null;
    for payload in [
        change("d", row(1, 1), none.clone(), 9),
        change("c", none.clone(), row(1, 1), 1),
        change("c", none.clone(), row(2, 1), 1),
        change("u", row(2, 2), row(2, 3), 5),
        change("u", row(2, 1), row(2, 2), 4),
    ] {
        add(&mut client, &payload).await?;
    }
    let id = "id".parse().map_err(|_| "a field".to_owned())?;
    let mapping = StreamMapping {
        envelope: Envelope::Debezium,
        tenant: Part::Constant("t".to_owned()),
        entity: vec![("id".to_owned(), id)],
        event_time: None,
        mode: Part::Constant(WriteMode::Merge),
        ..mapping()
    };
    let store = follow_all(&server, settings(&server, "me"), mapping).await?;
    let gone = store.read_features("t", "customers", &EntityKey::new("id", 1)?, None).await?;
    let changed = store.read_features("t", "customers", &EntityKey::new("id", 2)?, None).await?;
    match (gone, changed.as_ref().and_then(|row| row.get("visits"))) {
        (None, Some(visits)) if visits.as_i64() == Some(3) => Ok(()),
        found => Err(format!("{found:?}").into()),
    }
}

async fn wrong_password() -> Outcome {
    let options = RedisOptions { password: Some("right".to_owned()), ..Default::default() };
    let server = Server::start_redis(&options).await?;
    let url = server.url().replace("right", "s3cret");
    let feed = RedisStream::new(RedisStreamSettings { url: url.into(), ..settings(&server, "me") })?;
    let store = OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock))));
    let follow =
        Follow::new(Arc::new(feed), mapping(), FollowOptions::default(), store, FollowTally::default());
    match follow.run(std::future::pending()).await {
        Err(error)
            if error.kind() == ErrorKind::Unauthenticated && !format!("{error:?}").contains("s3cret") =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}
