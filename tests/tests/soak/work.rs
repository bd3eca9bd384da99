//! Who writes and reads all the while, and knows what must be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use feature_core::{Clock, SystemClock, Timestamp};
use serde_json::json;
use store_testkit::servers::{RespClient, Server as Redis};
use tokio::time::{Instant, sleep};

use super::Outcome;
use super::server::{Client, Server};

/// Features of a record that is written in parts.
const FEATURES: [&str; 3] = ["f0", "f1", "f2"];
/// Records of one writer.
const OWNED: usize = 50;
/// What a record lives for that expires.
const TTL: Duration = Duration::from_secs(2);
pub(crate) const STREAMED: &str = "streamed";
/// Entities of the stream, and how far out of order its messages are.
const STREAM_ENTITIES: i64 = 2_000;
const OUT_OF_ORDER: usize = 500;

/// What was done and checked.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) writes: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) checked: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) poisoned: AtomicU64,
}

/// What all who work have in common.
pub(crate) struct Shared {
    pub(crate) server: Server,
    pub(crate) tally: Tally,
    pub(crate) stopped: AtomicBool,
    /// While set, nobody begins a new write.
    pub(crate) resting: AtomicBool,
    /// How many are in the midst of something.
    pub(crate) at_work: AtomicU64,
}

impl Shared {
    /// Waits for permission to begin something; `None` at the end.
    async fn turn(&self) -> Option<Turn<'_>> {
        loop {
            if self.stopped.load(Relaxed) {
                return None;
            }
            if !self.resting.load(Relaxed) {
                self.at_work.fetch_add(1, Relaxed);
                return Some(Turn(self));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets everybody come to rest.
    pub(crate) async fn rest(&self) {
        self.resting.store(true, Relaxed);
        // One that has just looked may still begin.
        sleep(Duration::from_millis(50)).await;
        while self.at_work.load(Relaxed) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn go_on(&self) {
        self.resting.store(false, Relaxed);
    }
}

struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Relaxed);
    }
}

/// Writes records of its own, part by part or as a whole, and reads after each write exactly what it has written,
/// until it is told to end.
pub(crate) async fn own(shared: Arc<Shared>, tenant: String, name: String, end: Arc<AtomicBool>) -> Outcome {
    let mut client = Client::new(&shared.server);
    let mut records: Vec<BTreeMap<&str, i64>> = vec![BTreeMap::new(); OWNED];
    for n in 0.. {
        if end.load(Relaxed) {
            return Ok(());
        }
        let Some(_turn) = shared.turn().await else { return Ok(()) };
        let (at, feature) = (fastrand::usize(..OWNED), FEATURES[fastrand::usize(..FEATURES.len())]);
        let (id, replaces) = (format!("{name}-{at}"), fastrand::u8(..8) == 0);
        let mut row = json!({
            "entity": { "id": id }, "features": { feature: n }, "event_time": SystemClock.now().to_string(),
        });
        if replaces {
            row["mode"] = "replace".into();
            records[at].clear();
        }
        records[at].insert(feature, n);
        let attempts = client.write(&tenant, "owned", &row).await?;
        shared.tally.writes.fetch_add(1, Relaxed);
        shared.tally.repeated.fetch_add(attempts - 1, Relaxed);
        let found = client.read(&tenant, "owned", std::slice::from_ref(&id), &FEATURES).await?;
        let wanted: Vec<_> = FEATURES.iter().map(|feature| records[at].get(feature).copied()).collect();
        if found[0] != wanted {
            return Err(format!("{tenant} {id}: acknowledged was {wanted:?}, read was {:?}", found[0]).into());
        }
        shared.tally.checked.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Writes records that expire, and reads none of them after that.
pub(crate) async fn mortal(shared: Arc<Shared>) -> Outcome {
    let mut client = Client::new(&shared.server);
    for n in 0_i64.. {
        let ids: Vec<_> = (0..20).map(|id| format!("mortal-{id}")).collect();
        let begun = Instant::now();
        for id in &ids {
            let Some(_turn) = shared.turn().await else { return Ok(()) };
            let row = json!({ "entity": { "id": id }, "features": { "n": n }, "ttl": format!("{}s", TTL.as_secs()) });
            client.write("acme", "mortal", &row).await?;
        }
        let written = Instant::now();
        let found = client.read("acme", "mortal", &ids, &["n"]).await?;
        if begun.elapsed() < TTL && found.iter().any(|row| row[0] != Some(n)) {
            return Err(format!("records that have not expired are {found:?} instead of {n}").into());
        }
        tokio::time::sleep_until(written + TTL).await;
        let found = client.read("acme", "mortal", &ids, &["n"]).await?;
        if found.iter().any(|row| row[0].is_some()) {
            return Err(format!("records that have expired are served: {found:?}").into());
        }
        shared.tally.expired.fetch_add(ids.len() as u64, Relaxed);
    }
    Ok(())
}

/// A producer of messages out of order, some twice and some poisoned.
pub(crate) struct Producer {
    shared: Arc<Shared>,
    redis: RespClient,
    /// The newest of each feature of each entity that was sent.
    newest: BTreeMap<(i64, usize), i64>,
    held_back: Vec<(i64, String)>,
    time: i64,
}

impl Producer {
    pub(crate) async fn new(shared: Arc<Shared>, url: &str) -> Outcome<Self> {
        let redis = RespClient::connect(url).await?;
        Ok(Self { shared, redis, newest: BTreeMap::new(), held_back: Vec::new(), time: 0 })
    }

    /// Sends so many messages.
    pub(crate) async fn send(&mut self, messages: usize) -> Outcome {
        let epoch = 1_700_000_000_000_000;
        for _ in 0..messages {
            self.time += 1;
            let (id, feature) = (fastrand::i64(0..STREAM_ENTITIES), fastrand::usize(..2));
            let mut message = json!({ "id": id, "at": epoch + self.time, FEATURES[feature]: self.time });
            if self.time % 1_000 == 0 {
                message["id"] = serde_json::Value::Null;
                self.shared.tally.poisoned.fetch_add(1, Relaxed);
            } else {
                self.newest.insert((id, feature), self.time);
            }
            self.held_back.push((self.time, message.to_string()));
            if self.held_back.len() > OUT_OF_ORDER {
                let picked = fastrand::usize(..self.held_back.len());
                let (time, message) = self.held_back.swap_remove(picked);
                self.add(&message).await?;
                if time % 20 == 0 && time % 1_000 != 0 {
                    self.add(&message).await?;
                }
            }
        }
        Ok(())
    }

    async fn add(&mut self, message: &str) -> Outcome {
        self.redis.command(&["XADD", "orders", "MAXLEN", "~", "100000", "*", "data", message]).await?;
        self.shared.tally.messages.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Sends what is held back, waits until all is settled, and requires the merge of all messages from the store.
    pub(crate) async fn settle(&mut self, stream: &Redis) -> Outcome {
        for (_, message) in std::mem::take(&mut self.held_back) {
            self.add(&message).await?;
        }
        settled(stream, Duration::from_secs(120)).await?;
        let letters = stream.command(&["XLEN", "orders.dead"]).await?.to_string();
        let poisoned = self.shared.tally.poisoned.load(Relaxed);
        if letters != poisoned.to_string() {
            return Err(format!("{letters} dead letters of {poisoned} poisoned messages").into());
        }
        let mut client = Client::new(&self.shared.server);
        let ids: Vec<i64> = (0..STREAM_ENTITIES).collect();
        let mut compared = 0;
        for ids in ids.chunks(500) {
            let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let found = client.read(STREAMED, "clicks", &names, &FEATURES[..2]).await?;
            for (id, row) in ids.iter().zip(found) {
                let wanted: Vec<_> =
                    (0..2).map(|feature| self.newest.get(&(*id, feature)).copied()).collect();
                if row != wanted {
                    return Err(format!("entity {id} of the stream is {row:?} instead of {wanted:?}").into());
                }
                compared += row.iter().flatten().count();
                self.shared.tally.checked.fetch_add(1, Relaxed);
            }
        }
        match compared == self.newest.len() {
            true => Ok(()),
            false => Err(format!("{compared} features of {} were compared", self.newest.len()).into()),
        }
    }
}

/// Waits until the group has taken and settled everything.
async fn settled(stream: &Redis, within: Duration) -> Outcome {
    let until = Instant::now() + within;
    while Instant::now() < until {
        // In the order that a message goes: asked for the other way round, one that is delivered in between is missed.
        let groups = stream.command(&["XINFO", "GROUPS", "orders"]).await;
        let pending = stream.command(&["XPENDING", "orders", "fstore"]).await;
        if let (Ok(pending), Ok(groups)) = (pending, groups)
            && let (Some(pending), Some(group)) = (pending.items().first(), groups.items().first())
        {
            let lag = group
                .items()
                .iter()
                .skip_while(|field| field.text() != "lag")
                .nth(1)
                .map(ToString::to_string);
            if pending.to_string() == "0" && lag.as_deref() == Some("0") {
                return Ok(());
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the stream was not followed to its end within {within:?}").into())
}

/// A moment, as text for file names.
pub(crate) fn today() -> String {
    let now: Timestamp = SystemClock.now();
    now.to_string().chars().take(10).collect()
}
