//! From rows to the store.
//!
//! A thread reads the inputs. The rows go to workers by entity: each entity's rows always to the same one,
//! which writes its batches one after another. So they reach the store in the order of the inputs, and the
//! result depends neither on the batch size nor on the number of workers. Every queue is bounded, so a slow
//! store slows the reading down instead of filling the memory.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use twox_hash::XxHash3_64;

use crate::checkpoint::{Marks, Position};
use crate::error::{IngestError, Result};
use crate::progress::Tally;
use crate::row::{Accepted, Chunk};
use crate::worker::{Batch, Target, work};

/// How many chunks of rows may wait.
const CHUNKS_AHEAD: usize = 2;

/// Beyond how many entities they are no longer counted, so that memory stays bounded.
const MAX_COUNTED: usize = 1_000_000;

/// How a load ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// At the end of the inputs.
    Complete,
    /// Because it was told to stop; what had been read is written.
    Interrupted,
    /// Because an input or the store failed.
    Failed(IngestError),
}

/// What the reading thread has read.
pub(crate) enum Read {
    /// Rows of an input, of which so many bytes are read.
    Rows {
        /// Its index.
        input: usize,
        chunk: Chunk,
    },
    /// The end of the last one.
    End,
}

/// The inputs, read one after another.
pub(crate) type Reading = Box<dyn Iterator<Item = Result<Read>> + Send>;

/// What a load works with.
pub(crate) struct Pipeline {
    pub(crate) target: Arc<Target>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) batch_size: usize,
    /// Beyond how many bytes a batch is written although it has fewer rows.
    pub(crate) batch_bytes: usize,
    pub(crate) concurrency: usize,
    /// The inputs' names, where there are several.
    pub(crate) names: Vec<Arc<str>>,
    /// How many bytes the inputs before each have.
    pub(crate) bytes_before: Vec<u64>,
}

impl Pipeline {
    /// Writes what is read until it ends or `stop` does; how it ended, and how many entities there were,
    /// unless there were more than can be counted.
    pub(crate) async fn run(
        self,
        reading: Reading,
        stop: impl Future<Output = ()>,
    ) -> (Ended, Option<usize>) {
        let mut workers = JoinSet::new();
        let mut queues = Vec::new();
        for number in 0..self.concurrency {
            let (queue, batches) = mpsc::channel(1);
            queues.push(Queue { queue, batch: Vec::new(), bytes: 0, input: 0 });
            let (target, tally, marks) =
                (Arc::clone(&self.target), Arc::clone(&self.tally), Arc::clone(&self.marks));
            workers.spawn(async move { work(number, &target, batches, &tally, &marks).await });
        }
        let tally = Arc::clone(&self.tally);
        let mut dispatcher =
            Dispatcher { queues, seen: HashSet::new(), last: Position::default(), pipeline: self };
        let mut ended = dispatcher.run(read(reading), stop).await;
        // The last batches are on their way; with their queues closed the workers end after them.
        dispatcher.queues.clear();
        while let Some(worker) = workers.join_next().await {
            let failure = match worker {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => failure,
                Err(panic) => IngestError::Output(format!("a worker stopped: {panic}")),
            };
            // What the store said tells more than that the reading had to end.
            ended = Ended::Failed(tally.fail(failure));
        }
        if let Err(failure) = tally.flush() {
            ended = Ended::Failed(tally.fail(failure));
        }
        let entities = dispatcher.seen.len();
        (ended, (entities <= MAX_COUNTED).then_some(entities))
    }
}

/// Reads on a thread of its own. The thread is never waited for: it may be reading a pipe into which nobody
/// writes.
fn read(reading: Reading) -> mpsc::Receiver<Result<Read>> {
    let (sender, read) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        for part in reading {
            let failed = part.is_err();
            if sender.blocking_send(part).is_err() || failed {
                return;
            }
        }
    });
    read
}

/// A worker's queue, and the batch that is being filled for it.
struct Queue {
    queue: mpsc::Sender<Batch>,
    batch: Vec<Accepted>,
    /// How many bytes it takes in memory.
    bytes: usize,
    /// The input of the batch.
    input: usize,
}

struct Dispatcher {
    queues: Vec<Queue>,
    /// Hashes of the entities.
    seen: HashSet<u64>,
    last: Position,
    pipeline: Pipeline,
}

impl Dispatcher {
    /// Hands rows to the workers until the inputs end, a worker does, or `stop` does. Rows that were taken
    /// over are always handed on.
    async fn run(&mut self, mut read: mpsc::Receiver<Result<Read>>, stop: impl Future<Output = ()>) -> Ended {
        tokio::pin!(stop);
        let mut ended = loop {
            let part = tokio::select! {
                biased;
                () = &mut stop => break Ended::Interrupted,
                part = read.recv() => part,
            };
            let taken = match part {
                // The thread has not ended by itself.
                None => Err(IngestError::Input("the reading stopped; report it".to_owned())),
                Some(Ok(Read::End)) => break Ended::Complete,
                Some(Ok(Read::Rows { input, chunk })) => self.take(input, chunk).await,
                Some(Err(failure)) => Err(failure),
            };
            if let Err(failure) = taken {
                break Ended::Failed(failure);
            }
        };
        for worker in 0..self.queues.len() {
            if self.send(worker).await.is_err() {
                ended = Ended::Failed(worker_gone());
            }
        }
        ended
    }

    async fn take(&mut self, input: usize, chunk: Chunk) -> Result<()> {
        let tally = Arc::clone(&self.pipeline.tally);
        for row in chunk.rows {
            tally.read.fetch_add(1, Ordering::Relaxed);
            let row = match row {
                Ok(row) => row,
                Err(mut reject) => {
                    self.last = Position { inputs: input, rows: reject.row };
                    reject.file = self.name(input).map(|name| name.to_string());
                    tally.reject(*reject)?;
                    continue;
                }
            };
            tally.times_cut.fetch_add(u64::from(row.cut), Ordering::Relaxed);
            let before = Position { inputs: input, rows: row.number - 1 };
            self.last = Position { inputs: input, rows: row.number };
            let hash = XxHash3_64::oneshot(row.write.entity_key.canonical().as_bytes());
            if self.seen.len() <= MAX_COUNTED {
                self.seen.insert(hash);
            }
            let worker = (hash % self.queues.len() as u64) as usize;
            let full = |queue: &Queue, size| queue.batch.len() >= size || queue.input != input;
            if !self.queues[worker].batch.is_empty() && full(&self.queues[worker], self.pipeline.batch_size) {
                self.send(worker).await?;
            }
            let queue = &mut self.queues[worker];
            if queue.batch.is_empty() {
                queue.input = input;
                self.pipeline.marks.begin(worker, before);
            }
            queue.bytes += row.bytes;
            queue.batch.push(row);
            if queue.batch.len() >= self.pipeline.batch_size || queue.bytes >= self.pipeline.batch_bytes {
                self.send(worker).await?;
            }
        }
        self.pipeline.marks.hand_out(self.last);
        let before = self.pipeline.bytes_before.get(input).copied().unwrap_or_default();
        tally.bytes.store(before + chunk.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Hands the batch that is being filled to its worker.
    async fn send(&mut self, worker: usize) -> Result<()> {
        let input = self.name(self.queues[worker].input);
        let queue = &mut self.queues[worker];
        if queue.batch.is_empty() {
            return Ok(());
        }
        let room = Vec::with_capacity(queue.batch.len().min(self.pipeline.batch_size));
        let rows = std::mem::replace(&mut queue.batch, room);
        queue.bytes = 0;
        queue.queue.send(Batch { rows, input }).await.map_err(|_| worker_gone())
    }

    fn name(&self, input: usize) -> Option<Arc<str>> {
        self.pipeline.names.get(input).cloned()
    }
}

/// Said only until the worker's own failure is known.
fn worker_gone() -> IngestError {
    IngestError::Output("a worker stopped".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;
    use std::time::Duration;

    use feature_core::{
        EntityKey, Error, ErrorKind, FeatureWrite, Features, OnlineStore, OnlineStoreBackend, SystemClock,
        Timestamp,
    };
    use store_testkit::{Call, Fault, FaultyBackend, MapStore, Operation};

    use super::*;
    use crate::progress::{Progress, lock};
    use crate::row::Reject;

    const ENTITIES: u64 = 7;
    const ROWS: u64 = 500;

    /// Rows of a few entities, all of the same time: the order alone decides.
    fn reading() -> Reading {
        let row = |number| {
            let entity = EntityKey::new("id", number % ENTITIES).unwrap();
            let features = Features::from([("n", number as i64)]);
            let write = FeatureWrite::new(entity, features).at(Timestamp::from_micros(1));
            Ok(Accepted { number, cut: false, bytes: 100, write })
        };
        let numbers: Vec<u64> = (1..=ROWS).collect();
        let chunk = |numbers: &[u64]| {
            let chunk = Chunk { rows: numbers.iter().map(|n| row(*n)).collect(), bytes: numbers[0] };
            Ok(Read::Rows { input: 0, chunk })
        };
        let chunks: Vec<_> = numbers.chunks(30).map(chunk).collect();
        Box::new(chunks.into_iter().chain([Ok(Read::End)]))
    }

    struct Loaded {
        ended: Ended,
        entities: Option<usize>,
        progress: Progress,
        rejects: Vec<Reject>,
        /// Up to which row everything was done with.
        done: u64,
    }

    async fn load_from(
        reading: Reading,
        store: OnlineStore,
        (batch_size, concurrency): (usize, usize),
        stop: impl Future<Output = ()>,
    ) -> Loaded {
        let rejects = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&rejects);
        let sink = move |reject| {
            lock(&kept).push(reject);
            Ok(())
        };
        let tally = Arc::new(Tally::new(Box::new(sink), None));
        let marks = Arc::new(Marks::new(concurrency, Position::default()));
        let pipeline = Pipeline {
            target: Arc::new(Target {
                store: Box::new(move || Ok(store.clone())),
                tenant: "t".to_owned(),
                view: "v".to_owned(),
            }),
            tally: Arc::clone(&tally),
            marks: Arc::clone(&marks),
            batch_size,
            batch_bytes: usize::MAX,
            concurrency,
            names: Vec::new(),
            bytes_before: vec![0],
        };
        let (ended, entities) = pipeline.run(reading, stop).await;
        let rejects = lock(&rejects).clone();
        Loaded { ended, entities, progress: tally.progress(), rejects, done: marks.done().rows }
    }

    /// Loads the rows into a store with faults; what came of it, and each entity's value.
    async fn load(
        batch_size: usize,
        concurrency: usize,
        script: impl Fn(Call) -> Fault + Send + Sync + 'static,
    ) -> (Loaded, Vec<Option<i64>>) {
        let inner: Arc<dyn OnlineStoreBackend> = Arc::new(MapStore::new(Arc::new(SystemClock)));
        let faulty = OnlineStore::new(Arc::new(FaultyBackend::new(Arc::clone(&inner), script)));
        let loaded = load_from(reading(), faulty, (batch_size, concurrency), pending()).await;
        let keys: Vec<_> = (0..ENTITIES).map(|id| EntityKey::new("id", id).unwrap()).collect();
        let rows = OnlineStore::new(inner).batch_read("t", "v", &keys, None).await.unwrap();
        let values = rows.into_iter().map(|row| row.unwrap()?.get("n")?.as_i64()).collect();
        (loaded, values)
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
            let (Loaded { ended, entities, progress, rejects, done }, values) =
                load(batch_size, concurrency, passing).await;
            assert!(matches!(ended, Ended::Complete), "{ended:?}");
            assert_eq!((progress.read, progress.written, progress.rejected), (ROWS, ROWS, 0), "{rejects:?}");
            assert_eq!((entities, done), (Some(ENTITIES as usize), ROWS));
            assert_eq!(values, last_rows(), "{batch_size} {concurrency}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_that_the_store_refuses_is_rejected_and_the_others_are_written() {
        let too_large = |call: Call| match (call.operation, call.number) {
            (Operation::Put, 2) => Fault::FailRow(0, Error::limit_exceeded("the record", 2, 1, "bytes")),
            _ => Fault::None,
        };
        let (Loaded { ended, progress, rejects, .. }, _) = load(1, 1, too_large).await;
        assert!(matches!(ended, Ended::Complete));
        assert_eq!((progress.written, progress.rejected), (ROWS - 1, 1));
        let reject = &rejects[0];
        assert_eq!((reject.row, reject.entity.as_deref()), (3, Some("id=3")));
        assert!(reject.reason.starts_with("LimitExceeded: the record is 2 bytes"), "{reject:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_takes_nothing_any_more_ends_the_load_and_what_failed_first_is_said() {
        let denied = |call: Call| match (call.operation, call.number) {
            (Operation::Put, 2) => Fault::Fail(Error::new(ErrorKind::PermissionDenied, "no space left")),
            (Operation::Put, 3..) => {
                Fault::Fail(Error::new(ErrorKind::PermissionDenied, "an earlier failure"))
            }
            _ => Fault::None,
        };
        for concurrency in [1, 4] {
            let (loaded, _) = load(10, concurrency, denied).await;
            let Ended::Failed(IngestError::Store(e)) = &loaded.ended else { panic!("{:?}", loaded.ended) };
            assert!(e.message().contains("no space left"), "{e}");
            assert_eq!(loaded.progress.written, 20);
            assert_eq!(loaded.rejects.len() as u64, loaded.progress.rejected);
            // What is not written can be read again.
            assert!(loaded.done <= 40 && loaded.done < loaded.progress.read, "{}", loaded.done);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn told_to_stop_it_writes_what_it_has_taken_over() {
        let store = OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock))));
        let endless =
            std::iter::repeat_with(|| reading().filter(|part| !matches!(part, Ok(Read::End)))).flatten();
        let stop = tokio::time::sleep(Duration::from_millis(50));
        let loaded = load_from(Box::new(endless), store, (1000, 3), stop).await;
        assert!(matches!(loaded.ended, Ended::Interrupted));
        assert_eq!(loaded.progress.read, loaded.progress.written);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_breaks_off_is_no_end() {
        let store = OnlineStore::new(Arc::new(MapStore::new(Arc::new(SystemClock))));
        let breaks = reading().take(3);
        let loaded = load_from(Box::new(breaks), store, (10, 2), pending()).await;
        assert!(matches!(loaded.ended, Ended::Failed(IngestError::Input(_))), "{:?}", loaded.ended);
    }

    proptest::proptest! {
        /// Wherever a load is stopped, going on from its mark leaves nothing out.
        #[test]
        fn what_is_before_the_mark_is_done_with(
            finished in proptest::collection::vec(0..3_usize, 0..40), rows in 1..60_u64
        ) {
            let marks = Marks::new(3, Position::default());
            let at = |rows| Position { inputs: 0, rows };
            // Every row is a batch of its own.
            let mut open: Vec<std::collections::VecDeque<u64>> = vec![Default::default(); 3];
            for row in 1..=rows {
                let worker = (row % 3) as usize;
                marks.begin(worker, at(row - 1));
                open[worker].push_back(row);
                marks.hand_out(at(row));
                if let Some(worker) = finished.get(row as usize)
                    && open[*worker].pop_front().is_some()
                {
                    marks.finish(*worker);
                }
                let first_open = open.iter().filter_map(|rows| rows.front()).min();
                proptest::prop_assert_eq!(marks.done(), at(first_open.map_or(row, |first| first - 1)));
            }
        }
    }
}
