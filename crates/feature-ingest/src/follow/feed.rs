//! Where messages come from.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{Result, Timestamp};

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it stands in the stream: by this it is acknowledged, and named in reports.
    pub place: String,
    /// When it entered the stream: its event time, if it says none. The same at every delivery.
    pub time: Timestamp,
    /// What it says.
    pub payload: Bytes,
}

/// A message that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The message.
    pub message: Message,
    /// Why not.
    pub reason: String,
}

/// A stream that delivers each message at least once, until it is settled.
///
/// An error of any method is temporary if [it says so](feature_core::Error::is_retryable): the caller tries
/// again, and what was delivered and not settled is delivered again, to this consumer or another.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// The stream's name, for reports.
    fn name(&self) -> &str;

    /// The next messages, at most so many. Waits at most so long for the first of them; none is no end.
    async fn next(&self, most: usize, wait: Duration) -> Result<Vec<Message>>;

    /// Takes messages as done with. Those that are dead are kept, each once, where the settings say, with
    /// their reasons and places.
    async fn settle(&self, done: &[Message], dead: &[Dead]) -> Result<()>;

    /// How many messages are in the stream that nobody has taken yet, if that is known.
    async fn lag(&self) -> Result<Option<u64>>;

    /// Leaves the stream to others, in good order.
    async fn leave(&self) -> Result<()>;
}
