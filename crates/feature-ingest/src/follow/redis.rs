//! Streams of Redis and Valkey, with consumer groups.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{Error, ErrorKind, Result, Secret, Timestamp};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, Script, Value, cmd};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::feed::{Dead, Feed, Message};

/// How long an answer may take, beyond what the server is asked to wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Buries what is still this group's to settle, so that each message is buried once, whoever got it how often.
const BURY: &str = "
local buried = 0
for i = 2, #ARGV, 4 do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[2], '*', 'stream', KEYS[1], 'id', ARGV[i], 'reason', ARGV[i + 1],
               'entered', ARGV[i + 2], 'payload', ARGV[i + 3])
    buried = buried + 1
  end
end
return buried";

/// How a stream of Redis is followed.
#[derive(Clone, Debug)]
pub struct RedisStreamSettings {
    /// The server, such as `redis://localhost:6379/0`.
    pub url: Secret,
    /// The stream's key.
    pub stream: String,
    /// The consumer group; made where it does not exist.
    pub group: String,
    /// The name of this consumer in the group, which no other may have at the same time.
    pub consumer: String,
    /// The field of an entry that has the JSON; `None` takes the entry's own fields, whose values are JSON, or else
    /// text.
    pub payload: Option<String>,
    /// The stream that messages go to which cannot be taken.
    pub dead_letters: String,
    /// Whether a group that is made begins with what comes from now on, rather than with all that is there.
    pub from_end: bool,
    /// After what time without a sign of it a message that another consumer got is taken over.
    pub claim_after: Duration,
}

/// A stream of Redis or Valkey, followed as one consumer of a group.
#[derive(Debug)]
pub struct RedisStream {
    settings: RedisStreamSettings,
    client: Client,
    reading: Mutex<Reading>,
    settling: Mutex<Option<MultiplexedConnection>>,
    bury: Script,
}

/// Where the reading is.
#[derive(Debug)]
struct Reading {
    connection: Option<MultiplexedConnection>,
    /// Up to where the messages have been read that this consumer got before and did not settle; `None` when
    /// there are no more.
    own: Option<String>,
    /// Up to where the messages of others have been looked at, and when that is to go on.
    claimed: String,
    claim_at: Instant,
}

impl RedisStream {
    /// The stream; connects when it is first read.
    ///
    /// # Errors
    /// `InvalidArgument` for a URL that is none, which is not shown.
    pub fn new(settings: RedisStreamSettings) -> Result<Self> {
        let client = Client::open(settings.url.expose())
            .map_err(|_| Error::invalid_argument("the stream's URL is not one of a Redis server"))?;
        let reading = Reading {
            connection: None,
            own: Some("0".to_owned()),
            claimed: "0-0".to_owned(),
            claim_at: Instant::now(),
        };
        Ok(Self {
            settings,
            client,
            reading: Mutex::new(reading),
            settling: Mutex::new(None),
            bury: Script::new(BURY),
        })
    }

    async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(patience));
        self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(|e| self.error(&e))
    }

    /// A connection for reading, of a group that exists.
    async fn join(&self) -> Result<MultiplexedConnection> {
        // A read lets the server wait.
        let mut connection = self.connect(PATIENCE * 2).await?;
        let RedisStreamSettings { stream, group, from_end, .. } = &self.settings;
        let start = if *from_end { "$" } else { "0" };
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(stream).arg(group).arg(start).arg("MKSTREAM");
        match create.exec_async(&mut connection).await {
            Err(error) if error.code() == Some("BUSYGROUP") => {}
            made => made.map_err(|e| self.error(&e))?,
        }
        Ok(connection)
    }

    async fn read(&self, reading: &mut Reading, most: usize, wait: Duration) -> Result<Vec<Message>> {
        let mut connection = match reading.connection.take() {
            Some(connection) => connection,
            None => {
                // What was on its way when the connection was lost is with this consumer.
                reading.own = Some("0".to_owned());
                self.join().await?
            }
        };
        let messages = self.read_from(&mut connection, reading, most, wait).await?;
        reading.connection = Some(connection);
        Ok(messages)
    }

    async fn read_from(
        &self,
        connection: &mut MultiplexedConnection,
        reading: &mut Reading,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Message>> {
        while let Some(after) = reading.own.take() {
            let answer = self.query(self.group_read(most, None, &after), connection).await?;
            let entries = self.entries(answer)?;
            let Some(last) = entries.last().map(|entry| entry.id.clone()) else { break };
            reading.own = Some(last);
            let messages = self.messages(entries, connection).await?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
        if Instant::now() >= reading.claim_at {
            let claimed = self.claim(connection, reading, most).await?;
            if !claimed.is_empty() {
                return Ok(claimed);
            }
        }
        let answer = self.query(self.group_read(most, Some(wait), ">"), connection).await?;
        let entries = self.entries(answer)?;
        self.messages(entries, connection).await
    }

    /// Takes over what others got and have not settled for long.
    async fn claim(
        &self,
        connection: &mut MultiplexedConnection,
        reading: &mut Reading,
        most: usize,
    ) -> Result<Vec<Message>> {
        let RedisStreamSettings { stream, group, consumer, claim_after, .. } = &self.settings;
        let idle = u64::try_from(claim_after.as_millis()).unwrap_or(u64::MAX);
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(stream).arg(group).arg(consumer).arg(idle).arg(&reading.claimed).arg("COUNT").arg(most);
        let Value::Array(answer) = self.query(claim, connection).await? else { return Err(self.odd()) };
        let mut answer = answer.into_iter();
        let (Some(next), Some(Value::Array(entries))) = (answer.next(), answer.next()) else {
            return Err(self.odd());
        };
        reading.claimed = text(next).ok_or_else(|| self.odd())?;
        if reading.claimed == "0-0" {
            reading.claim_at = Instant::now() + *claim_after / 2;
        }
        let entries = entries.into_iter().filter(|entry| *entry != Value::Nil).map(|entry| self.entry(entry));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        self.messages(entries, connection).await
    }

    fn group_read(&self, most: usize, wait: Option<Duration>, from: &str) -> Cmd {
        let RedisStreamSettings { stream, group, consumer, .. } = &self.settings;
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(most);
        if let Some(wait) = wait {
            // Zero would be for ever.
            read.arg("BLOCK").arg(wait.as_millis().max(1) as u64);
        }
        read.arg("STREAMS").arg(stream).arg(from);
        read
    }

    async fn query(&self, command: Cmd, connection: &mut MultiplexedConnection) -> Result<Value> {
        command.query_async(connection).await.map_err(|e| self.error(&e))
    }

    /// The entries of the one stream of an answer.
    fn entries(&self, answer: Value) -> Result<Vec<Entry>> {
        let stream = match answer {
            Value::Nil => return Ok(Vec::new()),
            Value::Array(mut streams) => match streams.pop() {
                Some(Value::Array(mut stream)) if stream.len() == 2 => stream.pop(),
                _ => None,
            },
            Value::Map(mut streams) => streams.pop().map(|(_, entries)| entries),
            _ => None,
        };
        let Some(Value::Array(entries)) = stream else { return Err(self.odd()) };
        entries.into_iter().map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, entry: Value) -> Result<Entry> {
        let Value::Array(parts) = entry else { return Err(self.odd()) };
        let [id, fields] = <[Value; 2]>::try_from(parts).map_err(|_| self.odd())?;
        let fields = match fields {
            Value::Array(fields) => Some(fields),
            // The stream was trimmed, and the message is no more.
            _ => None,
        };
        Ok(Entry { id: text(id).ok_or_else(|| self.odd())?, fields })
    }

    /// The messages of entries. Those of which the stream has nothing left are settled at once.
    async fn messages(
        &self,
        entries: Vec<Entry>,
        connection: &mut MultiplexedConnection,
    ) -> Result<Vec<Message>> {
        let mut trimmed = Vec::new();
        let mut messages = Vec::with_capacity(entries.len());
        for Entry { id, fields } in entries {
            match fields {
                Some(fields) => {
                    let time = entered(&id).ok_or_else(|| self.odd())?;
                    messages.push(Message { time, payload: self.payload(fields), place: id });
                }
                None => trimmed.push(id),
            }
        }
        if !trimmed.is_empty() {
            self.acknowledge(&trimmed, connection).await?;
        }
        Ok(messages)
    }

    fn payload(&self, fields: Vec<Value>) -> Bytes {
        let mut pairs = fields.into_iter();
        let mut object = serde_json::Map::new();
        while let (Some(name), Some(value)) = (pairs.next(), pairs.next()) {
            let (name, value) = (bytes(name), bytes(value));
            match &self.settings.payload {
                Some(payload) if payload.as_bytes() == name => return value.into(),
                Some(_) => {}
                None => {
                    let own = String::from_utf8_lossy(&value);
                    let json = serde_json::from_str(&own);
                    let json = json.unwrap_or_else(|_| serde_json::Value::String(own.into_owned()));
                    object.insert(String::from_utf8_lossy(&name).into_owned(), json);
                }
            }
        }
        match self.settings.payload {
            // Which is no JSON, and will be said to be none.
            Some(_) => Bytes::new(),
            None => serde_json::Value::Object(object).to_string().into(),
        }
    }

    async fn acknowledge(&self, ids: &[String], connection: &mut MultiplexedConnection) -> Result<()> {
        let RedisStreamSettings { stream, group, .. } = &self.settings;
        for ids in ids.chunks(1_000) {
            let mut command = cmd("XACK");
            command.arg(stream).arg(group).arg(ids);
            command.exec_async(connection).await.map_err(|e| self.error(&e))?;
        }
        Ok(())
    }

    async fn settle_over(
        &self,
        connection: &mut MultiplexedConnection,
        done: &[Message],
        dead: &[Dead],
    ) -> Result<()> {
        let RedisStreamSettings { stream, group, dead_letters, .. } = &self.settings;
        for dead in dead.chunks(100) {
            let mut bury = self.bury.key(stream);
            bury.key(dead_letters).arg(group);
            for Dead { message, reason } in dead {
                bury.arg(&message.place).arg(reason).arg(message.time.to_string()).arg(&message.payload[..]);
            }
            bury.invoke_async::<u64>(connection).await.map_err(|e| self.error(&e))?;
        }
        let done: Vec<String> = done.iter().map(|message| message.place.clone()).collect();
        self.acknowledge(&done, connection).await
    }

    fn odd(&self) -> Error {
        Error::new(ErrorKind::Internal, "the server's answer is not one of a stream; report it")
            .with_key(&self.settings.stream)
    }

    fn error(&self, error: &RedisError) -> Error {
        use redis::ErrorKind as E;
        let kind = match (error.kind(), error.code()) {
            (_, Some("NOAUTH" | "WRONGPASS")) | (E::AuthenticationFailed, _) => ErrorKind::Unauthenticated,
            (_, Some("NOPERM")) => ErrorKind::PermissionDenied,
            (_, Some("WRONGTYPE")) => ErrorKind::InvalidArgument,
            (_, Some("OOM")) => ErrorKind::Throttled,
            // The group or the stream was removed: it is made again with the next connection.
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("the stream cannot be used: {error}")).with_key(&self.settings.stream)
    }
}

/// An entry of the stream; without fields where it was trimmed away.
struct Entry {
    id: String,
    fields: Option<Vec<Value>>,
}

#[async_trait]
impl Feed for RedisStream {
    fn name(&self) -> &str {
        &self.settings.stream
    }

    async fn next(&self, most: usize, wait: Duration) -> Result<Vec<Message>> {
        let mut reading = self.reading.lock().await;
        self.read(&mut reading, most, wait).await
    }

    async fn settle(&self, done: &[Message], dead: &[Dead]) -> Result<()> {
        let mut settling = self.settling.lock().await;
        let mut connection = match settling.take() {
            Some(connection) => connection,
            None => self.connect(PATIENCE).await?,
        };
        self.settle_over(&mut connection, done, dead).await?;
        *settling = Some(connection);
        Ok(())
    }

    async fn lag(&self) -> Result<Option<u64>> {
        let mut connection = self.connect(PATIENCE).await?;
        let mut info = cmd("XINFO");
        info.arg("GROUPS").arg(&self.settings.stream);
        let groups: Vec<std::collections::HashMap<String, Value>> =
            info.query_async(&mut connection).await.map_err(|e| self.error(&e))?;
        let own = groups.into_iter().find(|group| {
            group.get("name").cloned().and_then(text).as_deref() == Some(self.settings.group.as_str())
        });
        Ok(match own.and_then(|mut own| own.remove("lag")) {
            Some(Value::Int(lag)) => u64::try_from(lag).ok(),
            _ => None,
        })
    }

    async fn leave(&self) -> Result<()> {
        let RedisStreamSettings { stream, group, consumer, .. } = &self.settings;
        let mut connection = self.connect(PATIENCE).await?;
        let mut pending = cmd("XPENDING");
        pending.arg(stream).arg(group).arg("-").arg("+").arg(1).arg(consumer);
        // A consumer that is removed takes with it what it has not settled.
        if self.query(pending, &mut connection).await? == Value::Array(Vec::new()) {
            let mut leave = cmd("XGROUP");
            leave.arg("DELCONSUMER").arg(stream).arg(group).arg(consumer);
            leave.exec_async(&mut connection).await.map_err(|e| self.error(&e))?;
        }
        Ok(())
    }
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)).ok().filter(|text| !text.is_empty())
}

/// When an entry entered the stream, by its id: milliseconds, and a number among those of the same.
fn entered(id: &str) -> Option<Timestamp> {
    let (millis, number) = id.split_once('-')?;
    let (millis, number) = (millis.parse::<i64>().ok()?, number.parse::<u64>().ok()?);
    Some(Timestamp::from_micros(millis.checked_mul(1_000)? + number.min(999) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_millisecond_keep_their_order_as_event_times() {
        assert_eq!(entered("5-0"), Some(Timestamp::from_micros(5_000)));
        assert_eq!(entered("5-7"), Some(Timestamp::from_micros(5_007)));
        assert_eq!(entered("5-18446744073709551615"), Some(Timestamp::from_micros(5_999)));
        assert_eq!(entered("9223372036854775807-0"), None);
        assert_eq!(entered("5"), None);
    }
}
