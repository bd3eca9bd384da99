//! Following a topic of Kafka, on the mock cluster of librdkafka: what the store has at the end is the merge of all
//! messages, whatever happened to the followers and the brokers, and every poisoned message is among the dead letters.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod following;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use feature_core::{Error, ErrorKind, OnlineStore, OnlineStoreBackend, SystemClock};
use feature_ingest::follow::{Feed, Follow, FollowOptions, FollowTally, KafkaTopic, KafkaTopicSettings};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use store_testkit::{Fault, FaultyBackend, MapStore};
use tokio::task::{JoinHandle, JoinSet};

use following::{contents, is_poison, mapping, messages};

const TOPIC: &str = "orders";
const DEAD: &str = "dead";
const PRODUCERS: usize = 8;
const KILLS: usize = 10;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn topic(cluster: &Cluster) -> KafkaTopic {
    let quick = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    let properties = quick.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    KafkaTopic::new(KafkaTopicSettings {
        brokers: cluster.bootstrap_servers(),
        topic: TOPIC.to_owned(),
        group: "features".to_owned(),
        dead_letters: DEAD.to_owned(),
        from_end: false,
        properties,
    })
    .unwrap()
}

fn follower(
    cluster: &Cluster,
    store: &OnlineStore,
    tally: &FollowTally,
) -> (Arc<KafkaTopic>, JoinHandle<feature_core::Result<()>>) {
    let feed = Arc::new(topic(cluster));
    let options = FollowOptions { batch_size: 500, ..FollowOptions::default() };
    let follow = Follow::new(feed.clone(), mapping(), options, store.clone(), tally.clone());
    (feed, tokio::spawn(follow.run(std::future::pending())))
}

/// Some of the messages, as fast as the brokers take them; says how many those are.
async fn produce(brokers: String, messages: Vec<String>, partitions: i32, produced: Arc<AtomicUsize>) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("queue.buffering.max.messages", "10000")
        .create()
        .unwrap();
    for some in messages.chunks(500) {
        let sent = some.iter().map(|payload| {
            let record = FutureRecord::<(), _>::to(TOPIC).payload(payload);
            producer.send(record.partition(fastrand::i32(0..partitions)), Duration::from_secs(60))
        });
        for delivered in futures::future::join_all(sent).await {
            delivered.map_err(|(e, _)| e).unwrap();
        }
        produced.fetch_add(some.len(), Ordering::Relaxed);
    }
}

/// `FSTORE_STORM` messages, by default few.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_that_die_and_brokers_that_go_away_lose_nothing() {
    let storm = std::env::var("FSTORE_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let is_large = storm >= 1_000_000;
    // A partition of the mock cluster forgets what is before its last 5 MiB.
    let partitions = if is_large { 64 } else { 4 };
    let away_for = Duration::from_secs(if is_large { 10 } else { 2 });
    let cluster = Cluster::new(3).unwrap();
    cluster.create_topic(TOPIC, partitions, 3).unwrap();
    cluster.create_topic(DEAD, 1, 3).unwrap();
    let map: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let away = Arc::new(AtomicBool::new(false));
    let script = Arc::clone(&away);
    let faulty = FaultyBackend::new(Arc::clone(&map), move |_| match script.load(Ordering::Relaxed) {
        true => Fault::Fail(Error::new(ErrorKind::Unavailable, "the store is away")),
        false => Fault::None,
    });
    let (store, tally) = (OnlineStore::new(Arc::new(faulty)), FollowTally::default());
    let mut followers = [(); 3].map(|()| follower(&cluster, &store, &tally));

    let (messages, expected) = messages(storm);
    let poisoned: BTreeSet<String> = messages.iter().filter(|message| is_poison(message)).cloned().collect();
    let produced = Arc::new(AtomicUsize::new(0));
    let all = messages.len();
    let mut producers = JoinSet::new();
    for share in messages.chunks(all.div_ceil(PRODUCERS)) {
        let brokers = cluster.bootstrap_servers();
        producers.spawn(produce(brokers, share.to_vec(), partitions, Arc::clone(&produced)));
    }
    drop(messages);
    for number in 1..=KILLS {
        while produced.load(Ordering::Relaxed) < all * number / (KILLS + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Each time the group is put together anew.
        let victim = &mut followers[fastrand::usize(..3)];
        victim.1.abort();
        *victim = follower(&cluster, &store, &tally);
        match number {
            3 => {
                away.store(true, Ordering::Relaxed);
                tokio::time::sleep(away_for).await;
                away.store(false, Ordering::Relaxed);
            }
            7 => {
                cluster.broker_down(2).unwrap();
                tokio::time::sleep(away_for).await;
                cluster.broker_up(2).unwrap();
            }
            _ => {}
        }
    }
    producers.join_all().await;

    let patience = 600 + storm / 1_000;
    for _ in 0..patience {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let dead = tally.progress().dead >= poisoned.len() as u64;
        if dead && contents(&map).await.is_ok_and(|contents| contents == expected) {
            break;
        }
    }
    followers.iter().for_each(|(_, running)| assert!(!running.is_finished()));
    let whole = contents(&map).await.is_ok_and(|contents| contents == expected);
    assert!(whole, "{:?}", tally.progress());
    let dead = dead_letters(&cluster);
    assert_eq!(dead.values().map(|(payload, _)| payload.clone()).collect::<BTreeSet<_>>(), poisoned);
    assert!(dead.values().all(|(_, reason)| !reason.is_empty()));
    followers.iter().for_each(|(_, running)| running.abort());
}

/// Dead letters and their reasons, by the places of the messages.
fn dead_letters(cluster: &Cluster) -> BTreeMap<String, (String, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", format!("reader-{}", fastrand::u64(..)))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let mut all = rdkafka::TopicPartitionList::new();
    all.add_partition_offset(DEAD, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut dead = BTreeMap::new();
    while let Some(Ok(message)) = consumer.poll(Duration::from_secs(2)) {
        let headers = message.headers().unwrap();
        let text = |key: &str| {
            let header = headers.iter().find(|header| header.key == key).and_then(|header| header.value);
            String::from_utf8(header.unwrap().to_vec()).unwrap()
        };
        assert_eq!(text("topic"), TOPIC);
        let payload = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        dead.insert(text("place"), (payload, text("reason")));
    }
    dead
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_is_committed_only_when_everything_before_it_is_settled() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for n in 0..5 {
        let payload = n.to_string();
        let record = FutureRecord::<(), _>::to(TOPIC).payload(&payload);
        producer.send(record, Duration::from_secs(60)).await.map_err(|(e, _)| e).unwrap();
    }
    let feed = topic(&cluster);
    let mut delivered = Vec::new();
    while delivered.len() < 5 {
        delivered.extend(feed.next(10, Duration::from_secs(1)).await.unwrap());
    }
    assert_eq!(
        delivered.iter().map(|message| &*message.place).collect::<Vec<_>>(),
        ["0:0", "0:1", "0:2", "0:3", "0:4"]
    );
    feed.settle(&delivered[1..3], &[]).await.unwrap();
    assert_eq!(feed.lag().await.unwrap(), Some(5), "the first is not settled");
    feed.settle(&delivered[..1], &[]).await.unwrap();
    assert_eq!(feed.lag().await.unwrap(), Some(2));
    feed.settle(&delivered[3..], &[]).await.unwrap();
    assert_eq!(feed.lag().await.unwrap(), Some(0));
    feed.leave().await.unwrap();
}
