//! The lines of an answer, which come while the body does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use feature_core::Error;
use feature_ingest::{ColumnPlan, Progress, Reject, Report};
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::PROGRESS;

/// How many bytes of lines may wait for the client before no more of its body is taken.
const WAITING: usize = 256 << 10;

/// Says what becomes of a load. Clones say it in the same answer.
#[derive(Clone)]
pub(super) struct Lines {
    queue: mpsc::UnboundedSender<Bytes>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Bytes that the client has not taken.
    waiting: AtomicUsize,
    taken: Notify,
    /// How many rejected rows may still be listed.
    listed: AtomicU64,
    began: Instant,
}

/// Where lines go, and where they come out. So many rejected rows are listed.
pub(super) fn pair(listed: u64) -> (Lines, impl Stream<Item = Bytes> + Send + use<>) {
    let (queue, lines) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        waiting: AtomicUsize::new(0),
        taken: Notify::new(),
        listed: AtomicU64::new(listed),
        began: Instant::now(),
    });
    let take = |(mut lines, shared): (mpsc::UnboundedReceiver<Bytes>, Arc<Shared>)| async move {
        let line = lines.recv().await?;
        shared.waiting.fetch_sub(line.len(), Relaxed);
        shared.taken.notify_one();
        Some((line, (lines, shared)))
    };
    let answer = futures::stream::unfold((lines, Arc::clone(&shared)), take);
    (Lines { queue, shared }, answer)
}

impl Lines {
    /// Until the client has taken most of what there is.
    pub(super) async fn taken(&self) {
        while self.shared.waiting.load(Relaxed) > WAITING {
            self.shared.taken.notified().await;
        }
    }

    fn say(&self, line: &Value) {
        let line = Bytes::from(format!("{line}\n"));
        self.shared.waiting.fetch_add(line.len(), Relaxed);
        // That nobody listens ends the load by itself.
        let _ = self.queue.send(line);
    }

    /// What each column becomes.
    pub(super) fn columns(&self, columns: &[ColumnPlan]) {
        let column = |column: &ColumnPlan| {
            let mut line = json!({ "name": column.name, "role": column.role.name(), "found": column.found });
            if let Some(becomes) = column.becomes {
                line["becomes"] = becomes.name().into();
            }
            if let Some(note) = &column.note {
                line["note"] = note.as_str().into();
            }
            line
        };
        self.say(&json!({ "columns": columns.iter().map(column).collect::<Vec<_>>() }));
    }

    /// How far the load is. Of one that is soon over the report is enough.
    pub(super) fn progress(&self, progress: &Progress) {
        if self.shared.began.elapsed() >= PROGRESS {
            self.say(&json!({ "progress": counts(progress) }));
        }
    }

    /// A row that is not written.
    pub(super) fn reject(&self, reject: &Reject) {
        let listed = &self.shared.listed;
        if listed.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.say(&json!({ "reject": reject }));
        }
    }

    /// How it ended.
    pub(super) fn report(&self, report: &Report, ended: &str, error: Option<&Error>) {
        let mut line = counts(&report.progress);
        line["ended"] = ended.into();
        line["entities"] = report.entities.into();
        if let Some(error) = error {
            line["kind"] = error.kind().name().into();
            line["error"] = error.message().into();
            line["in_doubt"] = error.in_doubt().into();
        }
        self.say(&json!({ "report": line }));
    }
}

fn counts(progress: &Progress) -> Value {
    json!({
        "read": progress.read,
        "written": progress.written,
        "superseded": progress.superseded,
        "rejected": progress.rejected,
        "times_cut": progress.times_cut,
        "bytes": progress.bytes,
    })
}
