//! The streams that a server follows.

use std::path::Path;
use std::time::Duration;

use feature_core::{Error, OnlineStore};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::metrics;
use crate::exit::{Failure, Result};
use crate::followers::Followers;
use crate::streams::{self, Stream};

/// How long streams have to end when the server is told to stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long their last counts may take to be shown.
const LAST_SIGHT: Duration = Duration::from_secs(1);

/// What is to be followed, and into which store.
pub(super) struct ToFollow {
    pub(super) streams: Vec<Stream>,
    pub(super) store: OnlineStore,
}

/// The streams on their way.
pub(super) struct Streams {
    followers: Followers,
    shown: JoinHandle<()>,
    /// Dropped once they have ended.
    following: Option<oneshot::Sender<()>>,
}

/// The streams of a settings file.
pub(super) fn of(file: &Path) -> Result<Vec<Stream>> {
    let wrong = |what: &dyn std::fmt::Display| Failure::Usage(format!("{}: {what}", file.display()));
    let streams = streams::read(file)?.map_err(|problems| wrong(&problems))?;
    if streams.is_empty() {
        return Err(wrong(&"it has no `streams` to follow"));
    }
    Ok(streams)
}

impl Streams {
    /// Follows them.
    pub(super) fn follow(ToFollow { streams, store }: ToFollow) -> Result<Self> {
        metrics::describe();
        let followers = Followers::start(streams, &store, metrics::freshness)?;
        let (following, ended) = oneshot::channel();
        let shown = tokio::spawn(metrics::show(followers.streams().to_vec(), ended));
        Ok(Self { followers, shown, following: Some(following) })
    }

    /// Why one of them is not followed any more; waits for ever while all are.
    pub(super) async fn failed(&mut self) -> Error {
        loop {
            match self.followers.ended().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return error,
                None => std::future::pending().await,
            }
        }
    }

    /// Writes what was delivered, and ends. What takes too long is left to be delivered again.
    pub(super) async fn stop(&mut self) {
        self.followers.stop();
        let all = async { while self.followers.ended().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("a stream did not end in time: what it had delivered is delivered again");
        }
        self.following = None;
        // A stream that is away may keep it from seeing that at once.
        let _ = tokio::time::timeout(LAST_SIGHT, &mut self.shown).await;
    }
}
