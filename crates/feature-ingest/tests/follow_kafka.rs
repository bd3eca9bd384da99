//! Following a topic of Kafka, on the mock cluster of librdkafka: what the store has at the end is the merge of all
//! messages, whatever happened to the followers and the brokers, and every poisoned message is among the dead letters.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod following;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use feature_core::{OnlineStore, OnlineStoreBackend, SystemClock};
use feature_ingest::follow::{Feed, Follow, FollowOptions, FollowTally, KafkaTopic, KafkaTopicSettings};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use store_testkit::MapStore;
use tokio::task::JoinHandle;

use following::{contents, is_poison, mapping, messages};

const TOPIC: &str = "orders";
const DEAD: &str = "dead";
const PARTITIONS: i32 = 4;

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
    let options = FollowOptions { batch_size: 64, ..FollowOptions::default() };
    let follow = Follow::new(feed.clone(), mapping(), options, store.clone(), tally.clone());
    (feed, tokio::spawn(follow.run(std::future::pending())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_that_die_and_brokers_that_go_away_lose_nothing() {
    let cluster = Cluster::new(3).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    cluster.create_topic(DEAD, 1, 3).unwrap();
    let map: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
    let (store, tally) = (OnlineStore::new(Arc::clone(&map)), FollowTally::default());
    let mut followers = vec![follower(&cluster, &store, &tally), follower(&cluster, &store, &tally)];
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();

    let (messages, expected) = messages(1_000);
    let mut poisoned = BTreeSet::new();
    let quarter = messages.len() / 4;
    for (number, payload) in messages.iter().enumerate() {
        let partition = fastrand::i32(0..PARTITIONS);
        let record = FutureRecord::<(), _>::to(TOPIC).payload(payload).partition(partition);
        let delivered = producer.send(record, Duration::from_secs(60)).await.map_err(|(e, _)| e).unwrap();
        if is_poison(payload) {
            poisoned.insert(format!("{}:{}", delivered.partition, delivered.offset));
        }
        match number {
            n if n == quarter => {
                let (_, killed) = followers.remove(0);
                killed.abort();
                followers.push(follower(&cluster, &store, &tally));
            }
            n if n == 2 * quarter => {
                // Its partitions cannot be written meanwhile, so nothing else is done.
                cluster.broker_down(2).unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
                cluster.broker_up(2).unwrap();
            }
            _ => {}
        }
    }

    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if contents(&map).await.is_ok_and(|contents| contents == expected)
            && tally.progress().dead >= poisoned.len() as u64
        {
            break;
        }
    }
    followers.iter().for_each(|(_, running)| assert!(!running.is_finished()));
    let whole = contents(&map).await.is_ok_and(|contents| contents == expected);
    assert!(whole, "{:?}", tally.progress());
    let dead = dead_letters(&cluster);
    assert_eq!(dead.keys().cloned().collect::<BTreeSet<_>>(), poisoned);
    assert!(dead.values().all(|reason| !reason.is_empty()));
    followers.iter().for_each(|(_, running)| running.abort());
}

/// The reasons, by the places of the messages.
fn dead_letters(cluster: &Cluster) -> BTreeMap<String, String> {
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
        dead.insert(text("place"), text("reason"));
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
