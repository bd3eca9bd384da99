//! From a stream to the store.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use feature_core::{
    Clock, Error, ErrorKind, FeatureWrite, OnlineStore, Result, SystemClock, Timestamp, WriteOutcome,
};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::feed::{Dead, Feed, Message};
use super::mapping::{Change, StreamMapping};
use super::tally::FollowTally;

/// How long the stream is waited for before it is looked whether to stop.
const WAIT: Duration = Duration::from_millis(500);
/// The longest pause before what failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many bytes of messages a batch has, about, since as many as eight are on their way.
const BATCH_BYTES: usize = 2 << 20;
/// How many messages are read before it is known how long they are.
const FIRST_MESSAGES: usize = 100;

/// How messages are taken.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// At most so many messages are written at once; fewer, once they come to 2 MiB. Default 5,000.
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

/// Says when it is time to stop.
type Stopped = watch::Receiver<bool>;

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

/// A batch on its way, and what has become of its messages so far.
#[derive(Default)]
struct Taken {
    /// What is to be written, by tenant and view.
    groups: HashMap<(String, String), Group>,
    /// When the oldest message entered the stream.
    oldest: Option<Timestamp>,
    done: Vec<Message>,
    dead: Vec<Dead>,
}

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
    /// and no more is read than a few batches.
    ///
    /// # Errors
    /// What will not pass by itself: wrong credentials, say.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let follow = Arc::new(self);
        let (stopping, stopped) = watch::channel(false);
        let (to_map, batches) = mpsc::channel(1);
        let (to_write, mapped) = mpsc::channel(1);
        let (to_settle, written) = mpsc::channel(1);
        // Batches go through in their order, and each step works while the others do. Whoever drops this stops them.
        let mut steps = JoinSet::new();
        steps.spawn(Arc::clone(&follow).read(to_map, stopped.clone()));
        steps.spawn(Arc::clone(&follow).map(batches, to_write, stopped.clone()));
        steps.spawn(Arc::clone(&follow).write(mapped, to_settle, stopped.clone()));
        steps.spawn(Arc::clone(&follow).settle(written, stopped));
        let ended = async {
            while let Some(step) = steps.join_next().await {
                step.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))??;
            }
            Ok(())
        };
        tokio::pin!(ended, stop);
        tokio::select! {
            ended = &mut ended => ended?,
            () = &mut stop => {
                let _ = stopping.send(true);
                ended.await?;
            }
        }
        follow.feed.leave().await
    }

    /// Reads batches until it is time to stop.
    async fn read(self: Arc<Self>, batches: Sender<Vec<Message>>, stopped: Stopped) -> Result<()> {
        let mut most = self.options.batch_size.clamp(1, FIRST_MESSAGES);
        while !*stopped.borrow() {
            let batch = self.next(most, &stopped).await?;
            if batch.is_empty() {
                continue;
            }
            // Messages are mostly about as long as those before them.
            let bytes: usize = batch.iter().map(|message| message.payload.len()).sum();
            most = (BATCH_BYTES * batch.len() / bytes.max(1)).clamp(1, self.options.batch_size.max(1));
            if batches.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Finds what messages say.
    async fn map(
        self: Arc<Self>,
        mut batches: Receiver<Vec<Message>>,
        mapped: Sender<Taken>,
        stopped: Stopped,
    ) -> Result<()> {
        'batches: while let Some(batch) = batches.recv().await {
            let mut pauses = pauses();
            while let Err(error) = self.mapping.encoding.prepare(&batch).await {
                self.pause(error, &mut pauses, &stopped).await?;
                if *stopped.borrow() {
                    continue 'batches;
                }
            }
            let mut taken =
                Taken { oldest: batch.iter().map(|message| message.time).min(), ..Taken::default() };
            for message in batch {
                match self.mapping.change(&message, &self.store) {
                    Ok(Some(Change { tenant, view, write })) => {
                        taken.groups.entry((tenant, view)).or_default().push((message, write));
                    }
                    Ok(None) => {
                        self.tally.add(|counts| &counts.empty, 1);
                        taken.done.push(message);
                    }
                    Err(reason) => taken.dead.push(Dead { message, reason }),
                }
            }
            if mapped.send(taken).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Writes batches one after another, so that of equal event times the later message counts.
    async fn write(
        self: Arc<Self>,
        mut mapped: Receiver<Taken>,
        written: Sender<Taken>,
        stopped: Stopped,
    ) -> Result<()> {
        while let Some(mut taken) = mapped.recv().await {
            for ((tenant, view), group) in std::mem::take(&mut taken.groups) {
                self.write_group(&tenant, &view, group, &mut taken, &stopped).await?;
            }
            if let Some(oldest) = taken.oldest.filter(|_| !taken.done.is_empty()) {
                self.tally.fresh(SystemClock.now().since(oldest));
            }
            if written.send(taken).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Settles what is written. When it is time to stop and the stream is away, it will be delivered again.
    async fn settle(self: Arc<Self>, mut written: Receiver<Taken>, stopped: Stopped) -> Result<()> {
        'batches: while let Some(Taken { done, dead, .. }) = written.recv().await {
            let mut pauses = pauses();
            while let Err(error) = self.feed.settle(&done, &dead).await {
                if *stopped.borrow() {
                    continue 'batches;
                }
                self.pause(error, &mut pauses, &stopped).await?;
            }
            self.tally.add(|counts| &counts.dead, dead.len());
        }
        Ok(())
    }

    /// The next batch; empty when there is none for a while, or when it is time to stop.
    async fn next(&self, most: usize, stopped: &Stopped) -> Result<Vec<Message>> {
        let mut pauses = pauses();
        while !*stopped.borrow() {
            match self.batch(most).await {
                Ok(batch) => {
                    self.tally.add(|counts| &counts.delivered, batch.len());
                    return Ok(batch);
                }
                Err(error) => self.pause(error, &mut pauses, stopped).await?,
            }
        }
        Ok(Vec::new())
    }

    async fn batch(&self, most: usize) -> Result<Vec<Message>> {
        let linger = self.options.linger;
        let mut batch = self.feed.next(most, WAIT).await?;
        let until = tokio::time::Instant::now() + linger;
        while !linger.is_zero() && !batch.is_empty() && batch.len() < most {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                break;
            }
            batch.extend(self.feed.next(most - batch.len(), left).await?);
        }
        Ok(batch)
    }

    /// Writes the rows of a view, again and again until each is written or found to be impossible. When it is time to
    /// stop and the store is away, they are left to be delivered again.
    async fn write_group(
        &self,
        tenant: &str,
        view: &str,
        mut group: Group,
        Taken { done, dead, .. }: &mut Taken,
        stopped: &Stopped,
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
        stopped: &Stopped,
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
