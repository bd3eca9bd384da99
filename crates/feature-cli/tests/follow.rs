//! `fstore follow` as processes that are killed: the store has what the messages come to, and a follower that is
//! told to stop leaves nothing behind. `FSTORE_STORM=1000000` makes the first test as large as it is meant.
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::Shell;
use serde_json::{Value, json};
use store_testkit::servers::{RedisOptions, RespClient, Server};
use store_testkit::{ServerTests, TestFailure};
use tokio::task::JoinSet;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .test("killed_followers_lose_nothing", killed)
        .test("a_server_follows_and_stops_without_loss", served)
        .test("mistakes_in_streams_are_shown_with_their_lines", mistakes)
        .run()
}

fn settings(server: &Server) -> String {
    settings_of(server.url(), server.url())
}

fn settings_of(store: &str, stream: &str) -> String {
    format!(
        "stores: {{ main: '{store}/1' }}
streams:
  orders:
    redis: {stream}/0
    payload: data
    claim_after: 1s
    tenant: acme
    view: {{ field: kind }}
    entity: {{ customer_id: id }}
    event_time: {{ field: at, unit: us }}
    batch_size: 500
"
    )
}

fn follower(shell: &Shell) -> Child {
    let mut command = shell.command("follow --config settings.yaml --format json");
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// How much of a storm: `FSTORE_STORM` messages by eight producers, by default few.
struct Storm {
    messages: i64,
    entities: i64,
    /// How long the store is away, once.
    away: Duration,
}

/// The newest of each feature of each entity.
type Newest = BTreeMap<(i64, String), i64>;

const PRODUCERS: usize = 8;
const KILLS: usize = 10;
/// How a program of Rust ends that panics.
const PANICKED: i32 = 101;

impl Storm {
    fn new() -> Self {
        let messages = std::env::var("FSTORE_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000);
        let away = Duration::from_secs(if messages >= 1_000_000 { 10 } else { 1 });
        Self { messages, entities: (messages / 80).max(50), away }
    }

    /// The messages of each producer, out of order, one in twenty repeated and one in a thousand poisoned, and what
    /// they come to.
    fn messages(&self) -> (Vec<Vec<String>>, Newest, u64) {
        let mut newest = Newest::new();
        let (mut all, mut poisoned) = (Vec::new(), 0);
        for time in 0..self.messages {
            let (id, feature) = (fastrand::i64(0..self.entities), ["x", "y"][fastrand::usize(..2)]);
            let at = 1_700_000_000_000_000 + time;
            if time % 1_000 == 999 {
                all.push(json!({"kind": "customers", "at": at, feature: time}).to_string());
                poisoned += 1;
                continue;
            }
            let message = json!({"kind": "customers", "id": id, "at": at, feature: time}).to_string();
            if time % 20 == 0 {
                all.push(message.clone());
            }
            all.push(message);
            newest.insert((id, feature.to_owned()), time);
        }
        fastrand::shuffle(&mut all);
        let share = all.len().div_ceil(PRODUCERS);
        (all.chunks(share).map(<[String]>::to_vec).collect(), newest, poisoned)
    }
}

async fn produce(url: String, messages: Vec<String>, produced: Arc<AtomicUsize>) -> Result<(), String> {
    let mut client = RespClient::connect(&url).await?;
    for message in messages {
        client.command(&["XADD", "orders", "*", "data", &message]).await?;
        produced.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn killed() -> Result<(), TestFailure> {
    let storm = Storm::new();
    let stream = Server::start_redis(&RedisOptions::default()).await?;
    let store = Server::start_redis(&RedisOptions { appendonly: true, ..Default::default() }).await?;
    let shell = Shell::new();
    shell.file("settings.yaml", settings_of(store.url(), stream.url()));
    let (messages, newest, poisoned) = storm.messages();
    let all: usize = messages.iter().map(Vec::len).sum();
    let produced = Arc::new(AtomicUsize::new(0));
    let mut producers = JoinSet::new();
    for messages in messages {
        producers.spawn(produce(stream.url().to_owned(), messages, Arc::clone(&produced)));
    }
    let mut followers = [(); 3].map(|()| follower(&shell));
    for number in 1..=KILLS {
        while produced.load(Ordering::Relaxed) < all * number / (KILLS + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A follower has to do something before it is killed.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let victim = &mut followers[fastrand::usize(..3)];
        victim.kill()?;
        victim.wait()?;
        *victim = follower(&shell);
        match number {
            3 => {
                store.pause().await?;
                tokio::time::sleep(storm.away).await;
                store.resume().await?;
            }
            7 => {
                store.kill().await?;
                store.restart().await?;
            }
            _ => {}
        }
    }
    while let Some(ended) = producers.join_next().await {
        ended.map_err(|e| e.to_string())??;
    }
    settled(&stream, Duration::from_secs(60 + storm.messages as u64 / 1_000)).await?;
    let mut stopped = 0;
    for follower in followers {
        Command::new("kill").args(["-TERM", &follower.id().to_string()]).status()?;
        let ended = follower.wait_with_output()?;
        // One that was begun only just now may not have heard it, or may have found no store; whoever looks after it
        // would begin it again.
        if ended.stdout.is_empty() && ended.status.code() != Some(PANICKED) {
            continue;
        }
        let report: Value = serde_json::from_slice(&ended.stdout).map_err(|e| e.to_string())?;
        let expected = if report[0]["dead"] == 0 { Some(0) } else { Some(3) };
        if ended.status.code() != expected {
            return Err(format!("a follower ended with {:?}: {report}", ended.status).into());
        }
        stopped += 1;
    }
    if stopped == 0 {
        return Err("no follower heard that it shall stop".into());
    }
    let letters = stream.command(&["XLEN", "orders.dead"]).await?.to_string();
    let found: Newest = shell
        .objects("scan --config settings.yaml --tenant acme --view customers")
        .into_iter()
        .flat_map(|row| {
            let id: i64 = row["entity"]["customer_id"].as_str().unwrap().parse().unwrap();
            let features = row["features"].as_object().unwrap().clone();
            features.into_iter().map(move |(name, value)| ((id, name), value.as_i64().unwrap()))
        })
        .collect();
    if letters != poisoned.to_string() {
        return Err(format!("{letters} dead letters of {poisoned} poisoned messages").into());
    }
    let wrong: Vec<_> = newest.iter().filter(|(key, time)| found.get(*key) != Some(time)).take(5).collect();
    match found.len() == newest.len() && wrong.is_empty() {
        true => Ok(()),
        false => {
            Err(format!("{} features instead of {}; wrong: {wrong:?}", found.len(), newest.len()).into())
        }
    }
}

/// Waits until the group has taken and settled everything.
async fn settled(stream: &Server, within: Duration) -> Result<(), TestFailure> {
    let until = tokio::time::Instant::now() + within;
    while tokio::time::Instant::now() < until {
        // In the order that a message goes: asked for the other way round, one that is delivered in between is missed.
        let groups = stream.command(&["XINFO", "GROUPS", "orders"]).await;
        let pending = stream.command(&["XPENDING", "orders", "fstore"]).await;
        // Before the first follower has come there is no group.
        if let (Ok(pending), Ok(groups)) = (pending, groups) {
            let fields = groups.items()[0].items();
            let lag = fields.iter().skip_while(|field| field.text() != "lag").nth(1).map(ToString::to_string);
            if pending.items()[0].to_string() == "0" && lag.as_deref() == Some("0") {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the stream was not followed to its end within {within:?}").into())
}

/// A server of these settings, its log, and where it shows metrics.
fn server_of(shell: &Shell) -> (Child, impl Iterator<Item = Value>, String) {
    let arguments = "serve --follow --config settings.yaml --listen 127.0.0.1:0 --admin 127.0.0.1:0";
    let mut server = shell.command(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut log = log.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let admin = log.find(|line| line["message"] == "serving").unwrap()["admin"].as_str().unwrap().to_owned();
    (server, log, admin)
}

fn metrics(admin: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the metrics have these lines.
async fn shown(admin: &str, wanted: &[&str]) -> Result<(), TestFailure> {
    let mut shown = metrics(admin);
    for _ in 0..300 {
        if wanted.iter().all(|line| shown.contains(line)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        shown = metrics(admin);
    }
    let missing: Vec<_> = wanted.iter().filter(|line| !shown.contains(**line)).collect();
    Err(format!("{missing:?} is not in\n{shown}").into())
}

async fn served() -> Result<(), TestFailure> {
    let server = Server::start_redis(&RedisOptions::default()).await?;
    let shell = Shell::new();
    shell.file("settings.yaml", settings(&server));
    let (mut process, mut log, admin) = server_of(&shell);
    let message = |id: i64| json!({"kind": "customers", "id": id, "at": 1_700_000_000_000_000_i64, "x": id});
    for id in 0..300 {
        server.command(&["XADD", "orders", "*", "data", &message(id).to_string()]).await?;
    }
    server.command(&["XADD", "orders", "*", "data", "{"]).await?;
    let wanted = [
        r#"fstore_stream_written_total{stream="orders"} 300"#,
        r#"fstore_stream_dead_letters_total{stream="orders"} 1"#,
        r#"fstore_stream_up{stream="orders"} 1"#,
        r#"fstore_stream_freshness_seconds_count{stream="orders"}"#,
        r#"fstore_stream_lag{stream="orders"}"#,
    ];
    shown(&admin, &wanted).await?;

    // Other streams take the place of these, and counts do not get lost.
    let mut reload = |text: String| {
        shell.file("settings.yaml", text);
        Command::new("kill").args(["-HUP", &process.id().to_string()]).status()?;
        match log.any(|line| line["message"] == "the settings were read again") {
            true => Ok::<_, TestFailure>(()),
            false => Err("the settings were not read again".into()),
        }
    };
    reload(settings(&server).replace("orders:", "clicks:"))?;
    server.command(&["XADD", "clicks", "*", "data", &message(7).to_string()]).await?;
    let wanted = [
        r#"fstore_stream_written_total{stream="clicks"} 1"#,
        r#"fstore_stream_up{stream="clicks"} 1"#,
        r#"fstore_stream_written_total{stream="orders"} 300"#,
        r#"fstore_stream_up{stream="orders"} 0"#,
    ];
    shown(&admin, &wanted).await?;
    reload(settings(&server))?;

    // What has come while it stops is left to others; what it has got is written.
    let mut client = RespClient::connect(server.url()).await?;
    for id in 300..600 {
        client.command(&["XADD", "orders", "*", "data", &message(id).to_string()]).await?;
    }
    Command::new("kill").args(["-TERM", &process.id().to_string()]).status()?;
    let stopped = log.any(|line| line["message"] == "stopped");
    let ended = process.wait()?;
    let pending = server.command(&["XPENDING", "orders", "fstore"]).await?.items()[0].to_string();
    let consumers = server.command(&["XINFO", "CONSUMERS", "orders", "fstore"]).await?;
    if !stopped || !ended.success() || pending != "0" || !consumers.items().is_empty() {
        return Err(format!("it ended with {ended}, {pending} pending, {consumers:?}").into());
    }
    let delivered = server.command(&["XINFO", "GROUPS", "orders"]).await?.items()[0].clone();
    let read = delivered.items().iter().skip_while(|field| field.text() != "entries-read").nth(1);
    let read: usize =
        read.map(ToString::to_string).unwrap_or_default().parse().map_err(|_| "no entries-read")?;
    let records = shell.objects("scan --config settings.yaml --tenant acme --view customers").len();
    // One of them was no message.
    match records + 1 == read {
        true => Ok(()),
        false => Err(format!("{read} messages were taken, and {records} records are there").into()),
    }
}

async fn mistakes() -> Result<(), TestFailure> {
    let shell = Shell::new();
    shell.file(
        "settings.yaml",
        "stores: { main: 'embedded:x.redb' }
streams:
  orders:
    redis: http://:s3cret@localhost
    tenent: acme
    view: { feld: x }
    entity: []
    event_time: { field: at, unit: min }
    mode: add
    avro: { schema: '{' }
",
    );
    let said = shell.run("config check settings.yaml");
    for line in [
        "4: streams.orders.redis: the stream's URL is not one of a Redis server",
        "streams.orders.tenant: it is missing",
        "5: streams.orders.tenent: unknown key; did you mean `tenant`?",
        "6: streams.orders.view.feld: unknown key; did you mean `field`?",
        "7: streams.orders.entity: it names no field",
        "8: streams.orders.event_time.unit: `min` is not a unit of time",
        "10: streams.orders.avro.schema: it is no schema of Avro",
        "9: streams.orders.mode: there is no such word here `add`; known are merge, replace",
    ] {
        if !said.err.contains(line) {
            return Err(format!("{line} is not in\n{}", said.err).into());
        }
    }
    if said.code != 2 || said.err.contains("s3cret") {
        return Err(said.err.into());
    }
    shell.file("settings.yaml", "stores: { main: 'embedded:x.redb' }\n");
    let none = shell.run("follow --config settings.yaml");
    match none.code == 2 && none.err.contains("has no `streams`") {
        true => Ok(()),
        false => Err(none.err.into()),
    }
}
