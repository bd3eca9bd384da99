//! From a stream to the store.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{Clock, Error, ErrorKind, FeatureWrite, OnlineStore, Result, SystemClock, WriteOutcome};
use tokio::sync::watch;

use super::feed::{Dead, Feed, Message};
use super::mapping::{Change, StreamMapping};
use super::tally::FollowTally;

/// How long the stream is waited for before it is looked whether to stop.
const WAIT: Duration = Duration::from_millis(500);
/// The longest pause before what failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How messages are taken.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// At most so many messages are written at once. Default 5,000.
    pub batch_size: usize,
    /// How long a batch that is not full waits for more messages. Default zero: a batch is what has come while
    /// the one before it was written, so batches grow with the load by themselves.
    pub linger: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self { batch_size: 5_000, linger: Duration::ZERO }
    }
}

/// A stream that is followed into a store.
pub struct Follow {
    feed: Arc<dyn Feed>,
    mapping: StreamMapping,
    options: FollowOptions,
    store: OnlineStore,
    tally: FollowTally,
}

/// The writes of one view, each with its message.
type Group = Vec<(Message, FeatureWrite)>;

impl Follow {
    /// Writes what the feed says, by the mapping, into the store.
    pub fn new(
        feed: Arc<dyn Feed>,
        mapping: StreamMapping,
        options: FollowOptions,
        store: OnlineStore,
        tally: FollowTally,
    ) -> Self {
        Self { feed, mapping, options, store, tally }
    }

    /// Follows until `stop` ends; then what has been delivered is written and settled, and the stream is left.
    /// While the store or the stream is away, waits for it: nothing is settled that the store has not taken,
    /// and no more is read than a batch or two.
    ///
    /// # Errors
    /// What will not pass by itself: wrong credentials, say.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let work = self.follow(stopped);
        tokio::pin!(work, stop);
        tokio::select! {
            ended = &mut work => return ended,
            () = &mut stop => drop(stopping.send(true)),
        }
        work.await
    }

    async fn follow(&self, stopped: watch::Receiver<bool>) -> Result<()> {
        let mut batch = self.next(&stopped).await?;
        while !batch.is_empty() || !*stopped.borrow() {
            // While a batch is written the next one is read.
            let (taken, next) = tokio::join!(self.take(batch, &stopped), self.next(&stopped));
            taken?;
            batch = next?;
        }
        self.feed.leave().await
    }

    /// The next batch; empty when there is none for a while, or when it is time to stop.
    async fn next(&self, stopped: &watch::Receiver<bool>) -> Result<Vec<Message>> {
        let mut pauses = pauses();
        while !*stopped.borrow() {
            match self.batch().await {
                Ok(batch) => {
                    self.tally.add(|counts| &counts.delivered, batch.len());
                    return Ok(batch);
                }
                Err(error) => self.pause(error, &mut pauses, stopped).await?,
            }
        }
        Ok(Vec::new())
    }

    async fn batch(&self) -> Result<Vec<Message>> {
        let FollowOptions { batch_size, linger } = self.options;
        let mut batch = self.feed.next(batch_size.max(1), WAIT).await?;
        let until = tokio::time::Instant::now() + linger;
        while !linger.is_zero() && !batch.is_empty() && batch.len() < batch_size {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                break;
            }
            batch.extend(self.feed.next(batch_size - batch.len(), left).await?);
        }
        Ok(batch)
    }

    /// Writes a batch and settles it. When it is time to stop and the store is away, it is left to be delivered
    /// again.
    async fn take(&self, batch: Vec<Message>, stopped: &watch::Receiver<bool>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut pauses = pauses();
        while let Err(error) = self.mapping.encoding.prepare(&batch).await {
            self.pause(error, &mut pauses, stopped).await?;
            if *stopped.borrow() {
                return Ok(());
            }
        }
        let oldest = batch.iter().map(|message| message.time).min();
        let (mut done, mut dead) = (Vec::with_capacity(batch.len()), Vec::new());
        let mut groups: HashMap<(String, String), Group> = HashMap::new();
        for message in batch {
            match self.mapping.change(&message, &self.store) {
                Ok(Some(Change { tenant, view, write })) => {
                    groups.entry((tenant, view)).or_default().push((message, write));
                }
                Ok(None) => {
                    self.tally.add(|counts| &counts.empty, 1);
                    done.push(message);
                }
                Err(reason) => dead.push(Dead { message, reason }),
            }
        }
        for ((tenant, view), group) in groups {
            self.write(&tenant, &view, group, &mut done, &mut dead, stopped).await?;
        }
        if let Some(oldest) = oldest.filter(|_| !done.is_empty()) {
            self.tally.fresh(SystemClock.now().since(oldest));
        }
        let mut pauses = self::pauses();
        while let Err(error) = self.feed.settle(&done, &dead).await {
            if *stopped.borrow() {
                return Ok(());
            }
            self.pause(error, &mut pauses, stopped).await?;
        }
        self.tally.add(|counts| &counts.dead, dead.len());
        Ok(())
    }

    /// Writes the rows of a view, again and again until each is written or found to be impossible.
    async fn write(
        &self,
        tenant: &str,
        view: &str,
        mut group: Group,
        done: &mut Vec<Message>,
        dead: &mut Vec<Dead>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let mut pauses = pauses();
        while !group.is_empty() {
            let writes = group.iter().map(|(_, write)| write.clone());
            let report = match self.store.batch_write(tenant, view, writes).await {
                Ok(report) => report,
                // A name that the store does not take is wrong in each message.
                Err(error) if is_about_the_message(&error) => {
                    let reason = error.to_string();
                    let all = group.into_iter().map(|(message, _)| Dead { message, reason: reason.clone() });
                    dead.extend(all);
                    return Ok(());
                }
                Err(error) => {
                    self.pause(error, &mut pauses, stopped).await?;
                    if *stopped.borrow() { return Ok(()) } else { continue }
                }
            };
            let (mut again, mut trouble) = (Vec::new(), None);
            for ((message, write), outcome) in group.into_iter().zip(report.rows()) {
                match outcome {
                    Ok(outcome) => {
                        let superseded = usize::from(*outcome == WriteOutcome::Superseded);
                        self.tally.add(|counts| &counts.written, 1);
                        self.tally.add(|counts| &counts.superseded, superseded);
                        done.push(message);
                    }
                    Err(error) if is_about_the_message(error) => {
                        dead.push(Dead { message, reason: error.to_string() });
                    }
                    Err(error) => {
                        trouble.get_or_insert_with(|| error.clone());
                        again.push((message, write));
                    }
                }
            }
            group = again;
            if let Some(error) = trouble {
                self.pause(error, &mut pauses, stopped).await?;
                if *stopped.borrow() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits before something is tried again.
    ///
    /// # Errors
    /// The error itself, if that would not help.
    async fn pause(
        &self,
        error: Error,
        pauses: &mut impl Iterator<Item = Duration>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        if !error.is_retryable() {
            return Err(error);
        }
        self.tally.add(|counts| &counts.troubles, 1);
        let mut stopped = stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        Ok(())
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Whether the message itself is at fault, so that to repeat it would not help, and the next may do better.
fn is_about_the_message(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::LimitExceeded | ErrorKind::Corrupt | ErrorKind::Unsupported
    )
}
