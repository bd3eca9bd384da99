//! From a source to the store.
//!
//! A thread reads the file. The rows go to workers by entity: each entity's rows always to the same one,
//! which writes its batches one after another. So they reach the store in the order of the file, and the
//! result depends neither on the batch size nor on the number of workers. Every queue is bounded, so a slow
//! store slows the reading down instead of filling the memory.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use feature_core::OnlineStore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use twox_hash::XxHash3_64;

use super::progress;
use super::row::{Accepted, Chunk, Source};
use super::worker::{Job, Tally, work};
use crate::exit::{Failure, Result};

/// How many chunks of a source may wait.
const CHUNKS_AHEAD: usize = 2;

/// Beyond how many entities they are no longer counted, so that memory stays bounded.
const MAX_COUNTED: usize = 1_000_000;

/// What an ingest has done. Every row read is either written or rejected, unless it failed.
pub(crate) struct Report {
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// How many of those written were older than what the store had, or than another row of their batch.
    pub(crate) superseded: u64,
    pub(crate) rejected: u64,
    /// How many entities they concern; `None` when there are more than can be counted.
    pub(crate) entities: Option<usize>,
    pub(crate) took: Duration,
    pub(crate) ended: Ended,
}

/// How an ingest ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// At the end of the file.
    Complete,
    /// Because it was told to stop; what had been read is written.
    Interrupted,
    /// Because the file or the store failed.
    Failed(Failure),
}

/// Writes the rows of a source until it ends or `stop` does.
pub(crate) async fn ingest(
    store: &OnlineStore,
    job: Job,
    source: Source,
    stop: impl Future<Output = ()>,
) -> Report {
    let started = Instant::now();
    let tally = Arc::new(Tally::new(&job.rejects));
    let job = Arc::new(job);
    let mut workers = JoinSet::new();
    let mut queues = Vec::new();
    for _ in 0..job.concurrency {
        let (queue, batches) = mpsc::channel(1);
        queues.push(Queue { queue, batch: Vec::new() });
        let (store, job, tally) = (store.clone(), Arc::clone(&job), Arc::clone(&tally));
        workers.spawn(async move { work(store, &job, batches, &tally).await });
    }
    let total = source.total;
    let mut dispatcher =
        Dispatcher { queues, batch_size: job.batch_size, seen: HashSet::new(), tally: Arc::clone(&tally) };
    let run = async {
        let mut ended = dispatcher.run(read(source), stop).await;
        // The last batches are on their way; with their queues closed the workers end after them.
        dispatcher.queues.clear();
        while let Some(worker) = workers.join_next().await {
            let failure = match worker {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => failure,
                Err(panic) => Failure::Other(format!("a worker stopped: {panic}")),
            };
            // What the store said tells more than that the reading had to end.
            ended = Ended::Failed(failure);
        }
        match tally.flush() {
            Ok(()) => ended,
            Err(failure) => Ended::Failed(failure),
        }
    };
    let ended = tokio::select! {
        ended = run => ended,
        () = progress::show(&tally, total) => Ended::Complete,
    };
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    Report {
        read: count(&tally.read),
        written: count(&tally.written),
        superseded: count(&tally.superseded),
        rejected: count(&tally.rejected),
        entities: (dispatcher.seen.len() <= MAX_COUNTED).then_some(dispatcher.seen.len()),
        took: started.elapsed(),
        ended,
    }
}

/// Reads a source on a thread of its own. The thread is never waited for: it may be reading a pipe into
/// which nobody writes.
fn read(source: Source) -> mpsc::Receiver<Result<Chunk>> {
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        for chunk in source.chunks {
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    chunks
}

/// A worker's queue, and the batch that is being filled for it.
struct Queue {
    queue: mpsc::Sender<Vec<Accepted>>,
    batch: Vec<Accepted>,
}

struct Dispatcher {
    queues: Vec<Queue>,
    batch_size: usize,
    /// Hashes of the entities.
    seen: HashSet<u64>,
    tally: Arc<Tally>,
}

impl Dispatcher {
    /// Hands rows to the workers until the chunks end, a worker does, or `stop` does. Rows that were taken
    /// over are always handed on.
    async fn run(
        &mut self,
        mut chunks: mpsc::Receiver<Result<Chunk>>,
        stop: impl Future<Output = ()>,
    ) -> Ended {
        tokio::pin!(stop);
        let mut ended = loop {
            let chunk = tokio::select! {
                biased;
                () = &mut stop => break Ended::Interrupted,
                chunk = chunks.recv() => chunk,
            };
            match chunk {
                None => break Ended::Complete,
                Some(Err(failure)) => break Ended::Failed(failure),
                Some(Ok(chunk)) => {
                    if let Err(failure) = self.take(chunk).await {
                        break Ended::Failed(failure);
                    }
                }
            }
        };
        for Queue { queue, batch } in &mut self.queues {
            if !batch.is_empty() && queue.send(std::mem::take(batch)).await.is_err() {
                ended = Ended::Failed(worker_gone());
            }
        }
        ended
    }

    async fn take(&mut self, chunk: Chunk) -> Result<()> {
        for row in chunk.rows {
            self.tally.read.fetch_add(1, Ordering::Relaxed);
            let row = match row {
                Ok(row) => row,
                Err(reject) => {
                    self.tally.reject(&reject)?;
                    continue;
                }
            };
            let hash = XxHash3_64::oneshot(row.write.entity_key.canonical().as_bytes());
            if self.seen.len() <= MAX_COUNTED {
                self.seen.insert(hash);
            }
            let worker = (hash % self.queues.len() as u64) as usize;
            let Queue { queue, batch } = &mut self.queues[worker];
            batch.push(row);
            if batch.len() >= self.batch_size {
                let full = std::mem::replace(batch, Vec::with_capacity(self.batch_size));
                queue.send(full).await.map_err(|_| worker_gone())?;
            }
        }
        self.tally.position.store(chunk.position, Ordering::Relaxed);
        Ok(())
    }
}

/// Said only until the worker's own failure is known.
fn worker_gone() -> Failure {
    Failure::Other("a worker stopped".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use feature_core::{
        EntityKey, Error, ErrorKind, FeatureWrite, Features, OnlineStoreBackend, SystemClock, Timestamp,
    };
    use store_testkit::{Call, Fault, FaultyBackend, MapStore, Operation};

    use super::*;

    const ENTITIES: u64 = 7;
    const ROWS: u64 = 500;

    /// Rows of a few entities, all of the same time: the order alone decides.
    fn source() -> Source {
        let row = |number| {
            let entity = EntityKey::new("id", number % ENTITIES).unwrap();
            let features = Features::from([("n", number as i64)]);
            Ok(Accepted { number, write: FeatureWrite::new(entity, features).at(Timestamp::from_micros(1)) })
        };
        let numbers: Vec<u64> = (1..=ROWS).collect();
        let chunk =
            |numbers: &[u64]| Ok(Chunk { rows: numbers.iter().map(|n| row(*n)).collect(), position: 0 });
        let chunks: Vec<_> = numbers.chunks(30).map(chunk).collect();
        Source { total: None, chunks: Box::new(chunks.into_iter()) }
    }

    /// Loads the source into a store with faults; what came of it, the rejects, and each entity's value.
    async fn load(
        batch_size: usize,
        concurrency: usize,
        script: impl Fn(Call) -> Fault + Send + Sync + 'static,
    ) -> (Report, String, Vec<Option<i64>>) {
        let inner: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
        let directory = tempfile::tempdir().unwrap();
        let rejects = directory.path().join("rejects");
        let (tenant, view) = ("t".to_owned(), "v".to_owned());
        let job = Job { tenant, view, batch_size, concurrency, rejects: rejects.clone() };
        let faulty = OnlineStore::new(Arc::new(FaultyBackend::new(Arc::clone(&inner), script)));
        let report = ingest(&faulty, job, source(), pending()).await;
        let keys: Vec<_> = (0..ENTITIES).map(|id| EntityKey::new("id", id).unwrap()).collect();
        let rows = OnlineStore::new(inner).batch_read("t", "v", &keys, None).await.unwrap();
        let values = rows.into_iter().map(|row| row.unwrap()?.get("n")?.as_i64()).collect();
        (report, std::fs::read_to_string(rejects).unwrap_or_default(), values)
    }

    /// For each entity the number of its last row.
    fn last_rows() -> Vec<Option<i64>> {
        (0..ENTITIES).map(|id| (1..=ROWS).rev().find(|n| n % ENTITIES == id).map(|n| n as i64)).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_later_row_wins_whatever_the_batches_and_workers_and_passing_failures() {
        let passing = |call: Call| match (call.operation, call.number) {
            (Operation::Put, 0 | 3) => Fault::Fail(Error::new(ErrorKind::Unavailable, "gone for a moment")),
            (Operation::Put, 1 | 5) => Fault::LoseReply,
            (Operation::Put, 2) => Fault::Refuse,
            _ => Fault::None,
        };
        for (batch_size, concurrency) in [(1, 1), (3, 4), (100, 2), (1000, 16)] {
            let (report, rejects, values) = load(batch_size, concurrency, passing).await;
            assert!(matches!(report.ended, Ended::Complete), "{:?}", report.ended);
            assert_eq!((report.read, report.written, report.rejected), (ROWS, ROWS, 0), "{rejects}");
            assert_eq!(report.entities, Some(ENTITIES as usize));
            assert_eq!(values, last_rows(), "{batch_size} {concurrency}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_that_the_store_refuses_is_rejected_and_the_others_are_written() {
        let too_large = |call: Call| match (call.operation, call.number) {
            (Operation::Put, 2) => Fault::FailRow(0, Error::limit_exceeded("the record", 2, 1, "bytes")),
            _ => Fault::None,
        };
        let (report, rejects, _) = load(1, 1, too_large).await;
        assert!(matches!(report.ended, Ended::Complete));
        assert_eq!((report.written, report.rejected), (ROWS - 1, 1));
        assert!(
            rejects.starts_with("{\"row\":3,\"reason\":\"LimitExceeded: the record is 2 bytes"),
            "{rejects}"
        );
        assert!(rejects.contains("\"entity\":\"id=3\""), "{rejects}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_takes_nothing_any_more_ends_the_ingest() {
        let denied = |call: Call| match (call.operation, call.number) {
            (Operation::Put, 2..) => Fault::Fail(Error::new(ErrorKind::PermissionDenied, "read-only")),
            _ => Fault::None,
        };
        let (report, rejects, _) = load(10, 1, denied).await;
        assert!(
            matches!(&report.ended, Ended::Failed(Failure::Store(e)) if e.kind() == ErrorKind::PermissionDenied)
        );
        assert_eq!((report.written, report.rejected), (20, 10));
        assert_eq!(rejects.lines().count(), 10);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn told_to_stop_it_writes_what_it_has_taken_over() {
        let inner = Arc::new(MapStore::new(Arc::new(SystemClock)));
        let (tenant, view) = ("t".to_owned(), "v".to_owned());
        let job = Job { tenant, view, batch_size: 1000, concurrency: 3, rejects: "unused".into() };
        let endless = std::iter::from_fn(|| source().chunks.next());
        let endless = Source { total: None, chunks: Box::new(endless) };
        let stop = tokio::time::sleep(Duration::from_millis(50));
        let report = ingest(&OnlineStore::new(inner), job, endless, stop).await;
        assert!(matches!(report.ended, Ended::Interrupted));
        assert_eq!(report.read, report.written);
    }
}
