//! Streams that are followed at the same time.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, ErrorKind, OnlineStore, Result};
use feature_ingest::follow::{Feed, Follow, FollowTally};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::streams::Stream;

/// Streams that are followed at the same time. Dropping it ends them where they are, and nothing is lost: what was
/// not settled is delivered again.
pub(crate) struct Followers {
    streams: Vec<Followed>,
    tasks: JoinSet<Result<()>>,
    stopping: watch::Sender<bool>,
}

/// A stream on its way. Clones are the same.
#[derive(Clone)]
pub(crate) struct Followed {
    pub(crate) name: String,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) tally: FollowTally,
    task: AbortHandle,
}

impl Followers {
    /// Follows the streams into the store; `observer` makes for each, by its name, what is told how fresh its batches are.
    ///
    /// # Errors
    /// What cannot be a stream.
    pub(crate) fn start<O: Fn(Duration) + Send + Sync + 'static>(
        streams: Vec<Stream>,
        store: &OnlineStore,
        observer: impl Fn(&str) -> O,
    ) -> Result<Self> {
        // All of them first: none is to begin where another cannot.
        let opened: Vec<_> = streams
            .into_iter()
            .map(|Stream { name, source, mapping, options }| Ok((name, source.open()?, mapping, options)))
            .collect::<Result<_>>()?;
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let follow = |(name, feed, mapping, options): (String, Arc<dyn Feed>, _, _)| {
            let tally = FollowTally::observed(observer(&name));
            let follow = Follow::new(Arc::clone(&feed), mapping, options, store.clone(), tally.clone());
            let mut stopped = stopped.clone();
            let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            Followed { name, feed, tally, task: tasks.spawn(follow.run(stop)) }
        };
        let streams = opened.into_iter().map(follow).collect();
        Ok(Self { streams, tasks, stopping })
    }

    /// The streams.
    pub(crate) fn streams(&self) -> &[Followed] {
        &self.streams
    }

    /// Tells all to write what was delivered, and to end.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// How the next stream that ends has ended; `None` when none is followed any more.
    pub(crate) async fn ended(&mut self) -> Option<Result<()>> {
        let ended = self.tasks.join_next().await?;
        Some(ended.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, format!("the following of a stream has ended: {error}")))
        }))
    }
}

impl Followed {
    /// Whether it is still followed.
    pub(crate) fn is_followed(&self) -> bool {
        !self.task.is_finished()
    }
}
