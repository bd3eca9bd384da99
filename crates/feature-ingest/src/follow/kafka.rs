//! Topics of Kafka, with consumer groups.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{Error, ErrorKind, Result, Secret, Timestamp};
use futures::FutureExt;
use futures::future::try_join_all;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::feed::{Dead, Feed, Message};
use crate::progress::lock;

/// How long an answer of the brokers may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a topic of Kafka is followed.
#[derive(Clone, Debug)]
pub struct KafkaTopicSettings {
    /// Some of the brokers: `a:9092,b:9092`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// The topic that messages go to which cannot be taken.
    pub dead_letters: String,
    /// Whether a group without offsets begins with what comes from now on, rather than with all that is there.
    pub from_end: bool,
    /// More properties of librdkafka: `security.protocol`, `sasl.username`, …
    pub properties: BTreeMap<String, Secret>,
}

/// A topic of Kafka, followed as one member of a consumer group.
///
/// Of each partition the offset is committed up to which everything is settled. A dead letter is there at least
/// once: it is written before its message's offset is committed, and has the message's place as its key.
pub struct KafkaTopic {
    settings: KafkaTopicSettings,
    consumer: Arc<StreamConsumer>,
    producer: FutureProducer,
    delivered: Mutex<BTreeMap<i32, Partition>>,
}

/// What has been delivered of a partition.
#[derive(Debug, Default)]
struct Partition {
    /// The offsets that are not settled.
    open: BTreeSet<i64>,
    /// The offset behind the last that was delivered.
    end: i64,
}

impl KafkaTopic {
    /// The topic; connects in the background.
    ///
    /// # Errors
    /// `InvalidArgument` for properties that librdkafka does not take.
    pub fn new(settings: KafkaTopicSettings) -> Result<Self> {
        let wrong = |e: KafkaError| Error::invalid_argument(format!("the topic cannot be followed: {e}"));
        let mut common = ClientConfig::new();
        common.set("bootstrap.servers", &settings.brokers);
        for (name, value) in &settings.properties {
            common.set(name, value.expose());
        }
        let consumer: StreamConsumer = common
            .clone()
            .set("group.id", &settings.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", if settings.from_end { "latest" } else { "earliest" })
            .set("partition.assignment.strategy", "cooperative-sticky")
            // What is read ahead, whatever the lag is.
            .set("queued.max.messages.kbytes", "16384")
            .create()
            .map_err(wrong)?;
        consumer.subscribe(&[&settings.topic]).map_err(wrong)?;
        let producer = common.set("enable.idempotence", "true").create().map_err(wrong)?;
        Ok(Self { settings, consumer: Arc::new(consumer), producer, delivered: Mutex::default() })
    }

    fn message(&self, message: &BorrowedMessage<'_>) -> Message {
        let (partition, offset) = (message.partition(), message.offset());
        let mut delivered = lock(&self.delivered);
        let own = delivered.entry(partition).or_default();
        own.open.insert(offset);
        own.end = own.end.max(offset + 1);
        let millis = message.timestamp().to_millis().unwrap_or_default();
        Message {
            place: format!("{partition}:{offset}"),
            time: Timestamp::from_micros(millis.saturating_mul(1_000)),
            payload: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        }
    }

    async fn bury(&self, dead: &[Dead]) -> Result<()> {
        let sent = dead.iter().map(|Dead { message, reason }| async move {
            let header = |key, value| Header { key, value: Some(value) };
            let headers = OwnedHeaders::new()
                .insert(header("topic", self.settings.topic.as_str()))
                .insert(header("place", message.place.as_str()))
                .insert(header("reason", reason.as_str()));
            let record = FutureRecord::to(&self.settings.dead_letters)
                .key(&message.place)
                .payload(&message.payload[..])
                .headers(headers);
            self.producer.send(record, PATIENCE).await.map_err(|(e, _)| self.error(&e))
        });
        try_join_all(sent).await.map(drop)
    }

    /// Marks messages as settled; the offsets that can be committed.
    fn settled<'a>(&self, messages: impl Iterator<Item = &'a Message>) -> Result<TopicPartitionList> {
        let mut delivered = lock(&self.delivered);
        let mut touched = BTreeSet::new();
        for message in messages {
            let place = message.place.split_once(':');
            let place =
                place.and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
            let Some((partition, offset)) = place else { continue };
            if let Some(own) = delivered.get_mut(&partition) {
                own.open.remove(&offset);
                touched.insert(partition);
            }
        }
        let mut offsets = TopicPartitionList::new();
        for partition in touched {
            let Some(own) = delivered.get(&partition) else { continue };
            let offset = Offset::Offset(own.open.first().copied().unwrap_or(own.end));
            let topic = &self.settings.topic;
            offsets.add_partition_offset(topic, partition, offset).map_err(|e| self.error(&e))?;
        }
        Ok(offsets)
    }

    fn error(&self, error: &KafkaError) -> Error {
        let kind = match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => ErrorKind::Unauthenticated,
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
                ErrorKind::PermissionDenied
            }
            Some(Code::MessageSizeTooLarge) => ErrorKind::LimitExceeded,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("the topic cannot be used: {error}")).with_key(&self.settings.topic)
    }
}

#[async_trait]
impl Feed for KafkaTopic {
    fn name(&self) -> &str {
        &self.settings.topic
    }

    async fn next(&self, most: usize, wait: Duration) -> Result<Vec<Message>> {
        let Ok(first) = tokio::time::timeout(wait, self.consumer.recv()).await else { return Ok(Vec::new()) };
        let mut messages = vec![self.message(&first.map_err(|e| self.error(&e))?)];
        // What has come already. An error among it comes again with the next call.
        while messages.len() < most
            && let Some(Ok(message)) = self.consumer.recv().now_or_never()
        {
            messages.push(self.message(&message));
        }
        Ok(messages)
    }

    async fn settle(&self, done: &[Message], dead: &[Dead]) -> Result<()> {
        self.bury(dead).await?;
        let offsets = self.settled(done.iter().chain(dead.iter().map(|dead| &dead.message)))?;
        if offsets.count() == 0 {
            return Ok(());
        }
        let consumer = Arc::clone(&self.consumer);
        let committed =
            tokio::task::spawn_blocking(move || consumer.commit(&offsets, CommitMode::Sync)).await;
        let committed = committed.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        match committed {
            // The group is being put together anew, or the partition is another's now: whoever has it gets the
            // messages again, and to write them again changes nothing.
            Err(KafkaError::ConsumerCommit(
                Code::RebalanceInProgress | Code::IllegalGeneration | Code::UnknownMemberId | Code::NoOffset,
            )) => Ok(()),
            committed => committed.map_err(|e| self.error(&e)),
        }
    }

    async fn lag(&self) -> Result<Option<u64>> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.settings.topic.clone());
        let lag = tokio::task::spawn_blocking(move || {
            let committed = consumer.committed(PATIENCE)?;
            committed.elements().iter().try_fold(0_u64, |lag, partition| {
                let (low, high) = consumer.fetch_watermarks(&topic, partition.partition(), PATIENCE)?;
                let at = partition.offset().to_raw().filter(|at| *at >= 0).unwrap_or(low);
                Ok(lag + u64::try_from(high - at).unwrap_or_default())
            })
        });
        let lag = lag.await.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        lag.map(Some).map_err(|e| self.error(&e))
    }

    async fn leave(&self) -> Result<()> {
        self.consumer.unsubscribe();
        Ok(())
    }
}

impl fmt::Debug for KafkaTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTopic").field("settings", &self.settings).finish_non_exhaustive()
    }
}
