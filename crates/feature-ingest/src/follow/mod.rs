//! Follows streams of events into a store, so that nothing is lost and a repetition changes nothing.
//!
//! A message is acknowledged to the stream only after the store has taken what it says. Whatever is interrupted in
//! between is delivered again, and since writes merge by event time, to write it again changes nothing.

#[cfg(feature = "avro")]
mod avro;
mod encoding;
mod envelope;
mod feed;
#[cfg(feature = "kafka")]
mod kafka;
mod mapping;
#[cfg(feature = "redis-streams")]
mod redis;
mod run;
mod tally;

#[cfg(feature = "avro")]
pub use avro::Avro;
pub use encoding::Encoding;
pub use envelope::Envelope;
pub use feed::{Dead, Feed, Message};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaTopic, KafkaTopicSettings};
pub use mapping::{FieldPath, Part, StreamFeatures, StreamMapping, StreamTime};
#[cfg(feature = "redis-streams")]
pub use redis::{RedisStream, RedisStreamSettings};
pub use run::{Follow, FollowOptions};
pub use tally::{FollowProgress, FollowTally};
