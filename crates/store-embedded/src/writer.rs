//! The thread that owns all write transactions. Whatever waits goes into one transaction, so that many
//! writers share a sync of the disk.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use feature_core::{Error, ErrorKind, RecordHeader, Result, Timestamp};
use redb::{AccessGuard, Database, ReadableTable, Table};
use tokio::sync::oneshot;

use crate::cache::Changing;
use crate::config::Durability;
use crate::engine::{Engine, RECORDS};
use crate::key::KeyRange;

/// A transaction takes on no more work once it has this many rows.
const MAX_GROUP_ROWS: usize = 10_000;
/// Without a sync the database cannot use the room of what was overwritten again, so that even a store that
/// promises no durability syncs once this many bytes are written.
const MAX_UNSYNCED_BYTES: u64 = 32 << 20;
/// What a change counts at least, since it takes a page of 4 KiB unless a neighbour changes with it: rewritten at
/// random, a store of small records would grow to more than twice its size before a sync.
const LEAST_CHANGE: usize = 512;

/// The end of the queue that work is put into.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Sender<Message>);

enum Message {
    /// To be done in a transaction, with others.
    Write(Box<dyn Job>),
    /// To be done between transactions.
    Alone(Box<dyn FnOnce(&Engine) + Send>),
}

impl Writer {
    /// Puts work on the records of `rows` keys into the queue. It is done, as a whole or not at all, even
    /// if nobody waits for the answer; there is none when the store has been closed.
    pub(crate) fn submit<T, F>(&self, rows: usize, work: F) -> oneshot::Receiver<Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T, redb::Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        // If nobody takes the message, the answer's end goes with it, which the caller notices.
        let _ = self.0.send(Message::Write(Box::new(Task { rows, work: Some(work), done: None, answer })));
        answered
    }

    /// Puts work that needs the database for itself into the queue.
    pub(crate) fn submit_alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let (answer, answered) = oneshot::channel();
        let work = move |engine: &Engine| drop(answer.send(work(engine)));
        let _ = self.0.send(Message::Alone(Box::new(work)));
        answered
    }
}

/// Work of a transaction.
trait Job: Send {
    fn rows(&self) -> usize;
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), redb::Error>;
    /// Answers, once it is known what became of the transaction.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

struct Task<F, T> {
    rows: usize,
    work: Option<F>,
    done: Option<T>,
    answer: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Task<F, T>
where
    T: Send,
    F: FnOnce(&mut Batch<'_>) -> Result<T, redb::Error> + Send,
{
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), redb::Error> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(batch)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        let lost = || Error::new(ErrorKind::Internal, "the transaction was committed without this work");
        let Self { done, answer, .. } = *self;
        // The caller may have stopped waiting.
        let _ = answer.send(outcome.and_then(|()| done.ok_or_else(lost)));
    }
}

/// The records inside a write transaction.
pub(crate) struct Batch<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    changes: Changes,
    /// What of the cache is no longer true.
    stale: Changing,
}

#[derive(Default)]
struct Changes {
    any: bool,
    bytes: u64,
    earliest_expiry: Option<Timestamp>,
}

impl Batch<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<AccessGuard<'_, &'static [u8]>>, redb::Error> {
        Ok(self.records.get(key)?)
    }

    /// Up to `limit` keys of a range, in order.
    pub(crate) fn keys(&self, range: &KeyRange, limit: usize) -> Result<Vec<Vec<u8>>, redb::Error> {
        let entries = self.records.range::<&[u8]>(range.bounds())?;
        entries.take(limit).map(|entry| Ok(entry?.0.value().to_vec())).collect()
    }

    /// Stores a record unless there is an objection to replacing what is stored, which is given back.
    ///
    /// A record is looked for once where it can be replaced on its page. One that grows is put in anew, since only
    /// that divides a page that has become too large.
    pub(crate) fn put_if<T>(
        &mut self,
        key: &[u8],
        record: &[u8],
        objection: impl FnOnce(Option<&[u8]>) -> Option<T>,
    ) -> Result<Option<T>, redb::Error> {
        let mut stored = self.records.get_mut(key)?;
        if let Some(objection) = objection(stored.as_ref().map(redb::AccessGuardMut::value)) {
            return Ok(Some(objection));
        }
        self.stale.change(key);
        match &mut stored {
            Some(stored) if record.len() <= stored.value().len() => stored.insert(record)?,
            _ => {
                drop(stored);
                self.records.insert(key, record)?;
            }
        }
        let changes = &mut self.changes;
        let expires_at = RecordHeader::parse(record).ok().and_then(|header| header.expires_at);
        changes.any = true;
        changes.bytes += (key.len() + record.len()).max(LEAST_CHANGE) as u64;
        changes.earliest_expiry = changes.earliest_expiry.into_iter().chain(expires_at).min();
        Ok(None)
    }

    /// Whether there was such a record.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<bool, redb::Error> {
        self.stale.change(key);
        let existed = self.records.remove(key)?.is_some();
        self.changes.any |= existed;
        self.changes.bytes += key.len().max(LEAST_CHANGE) as u64;
        Ok(existed)
    }
}

/// What the thread knows.
struct WriterThread {
    engine: Arc<Engine>,
    durability: Durability,
    /// Since when, and how much of, what is acknowledged has not been synced.
    unsynced: Option<(Instant, u64)>,
}

/// Starts the thread. It ends when the engine is closed.
pub(crate) fn start(
    engine: Arc<Engine>,
    durability: Durability,
) -> std::io::Result<(Writer, std::thread::JoinHandle<()>)> {
    let (writer, queue) = mpsc::channel();
    let thread = WriterThread { engine, durability, unsynced: None };
    let handle = std::thread::Builder::new()
        .name("feature-store-write".to_owned())
        .spawn(move || thread.run(&queue))?;
    Ok((Writer(writer), handle))
}

impl WriterThread {
    fn run(mut self, queue: &Receiver<Message>) {
        while !self.engine.is_closed() {
            match queue.recv_timeout(self.until_sync()) {
                Ok(first) => self.work(first, queue),
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn until_sync(&self) -> Duration {
        match (self.durability, self.unsynced) {
            (Durability::Interval(interval), Some((since, _))) => interval.saturating_sub(since.elapsed()),
            _ => Duration::MAX,
        }
    }

    /// Does a message and what waits behind it, as far as that can share its transaction.
    fn work(&mut self, first: Message, queue: &Receiver<Message>) {
        let (mut group, mut rows) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(Message::Write(job)) = next {
            rows += job.rows();
            group.push(job);
            next = if rows < MAX_GROUP_ROWS { queue.try_recv().ok() } else { None };
        }
        if !group.is_empty() {
            self.transact(group);
        }
        if let Some(Message::Alone(work)) = next {
            work(&self.engine);
        }
    }

    fn transact(&mut self, mut group: Vec<Box<dyn Job>>) {
        let (mut changes, mut committing) = (Changes::default(), false);
        let must_sync = |bytes: u64| match (self.durability, self.unsynced) {
            (Durability::EachWrite, _) => true,
            // A queue that is always full must not keep the sync from coming.
            (Durability::Interval(interval), Some((since, _))) if since.elapsed() >= interval => true,
            (_, unsynced) => unsynced.map_or(0, |(_, bytes)| bytes) + bytes >= MAX_UNSYNCED_BYTES,
        };
        let mut synced = false;
        // Until it is known what became of the transaction.
        let mut stale = None;
        let outcome = self.engine.with(|db| {
            let mut txn = db.begin_write()?;
            (changes, stale) = {
                let records = txn.open_table(RECORDS)?;
                let mut batch =
                    Batch { records, changes: Changes::default(), stale: self.engine.cache.changes() };
                for job in &mut group {
                    job.run(&mut batch)?;
                }
                (batch.changes, Some(batch.stale))
            };
            if !changes.any {
                return Ok(txn.abort()?);
            }
            synced = must_sync(changes.bytes);
            txn.set_durability(durability(synced))?;
            committing = true;
            Ok(txn.commit()?)
        });
        drop(stale);
        if outcome.is_ok() && changes.any {
            if let Some(earliest) = changes.earliest_expiry {
                self.engine.note_expiry(earliest);
            }
            self.unsynced = match self.unsynced {
                _ if synced => None,
                Some((since, bytes)) => Some((since, bytes + changes.bytes)),
                None => Some((Instant::now(), changes.bytes)),
            };
        }
        let outcome = outcome.map_err(|error| error.with_in_doubt(committing));
        for job in group {
            job.finish(outcome.clone());
        }
    }

    /// Makes durable what is acknowledged.
    fn sync(&mut self) {
        let synced = self.engine.with(sync);
        // After a failure the next attempt comes an interval later.
        self.unsynced = synced.as_ref().err().map(|_| (Instant::now(), 0));
        self.engine.note_trouble(synced.err());
    }
}

fn sync(db: &Database) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(durability(true))?;
    Ok(txn.commit()?)
}

fn durability(synced: bool) -> redb::Durability {
    if synced { redb::Durability::Immediate } else { redb::Durability::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::engine;

    /// The thread's work, done by the test.
    struct Bench {
        thread: WriterThread,
        writer: Writer,
        queue: Receiver<Message>,
    }

    impl Bench {
        fn new(durability: Durability) -> Self {
            let (writer, queue) = mpsc::channel();
            let thread = WriterThread { engine: Arc::new(engine()), durability, unsynced: None };
            Self { thread, writer: Writer(writer), queue }
        }

        fn work(&mut self) {
            self.thread.work(self.queue.recv().unwrap(), &self.queue);
        }

        /// Writes a record of so many bytes; how many are not synced after that.
        fn write(&mut self, bytes: usize) -> Option<u64> {
            let put = move |batch: &mut Batch<'_>| batch.put_if(b"key", &vec![0; bytes], |_| None::<()>);
            let mut answer = self.writer.submit(1, put);
            self.work();
            assert_eq!(answer.try_recv().unwrap().unwrap(), None);
            self.thread.unsynced.map(|(_, bytes)| bytes)
        }
    }

    #[test]
    fn a_transaction_takes_on_no_more_work_once_it_has_enough() {
        let mut bench = Bench::new(Durability::Off);
        let mut answers: Vec<_> = (0..5).map(|_| bench.writer.submit(5_000, |_| Ok(()))).collect();
        for left in [3, 1, 0] {
            bench.work();
            answers.retain_mut(|answer| answer.try_recv().is_err());
            assert_eq!(answers.len(), left);
        }
    }

    #[test]
    fn what_is_not_synced_is_counted_until_it_is() {
        let mut bench = Bench::new(Durability::Off);
        let nothing = bench.writer.submit(1, |_| Ok(()));
        bench.work();
        assert!(nothing.blocking_recv().is_ok() && bench.thread.unsynced.is_none());
        assert_eq!(bench.write(10_000), Some(10_003));
        assert_eq!(bench.write(20), Some(10_003 + 512), "a page changes, however small the record");
        assert_eq!(bench.write(10_000), Some(20_006 + 512));
        assert_eq!(bench.write(32 << 20), None);
        assert_eq!(bench.write(20), Some(512));
    }

    #[test]
    fn a_sync_that_is_due_is_not_put_off() {
        assert_eq!(Bench::new(Durability::EachWrite).write(20), None);
        let mut seldom = Bench::new(Durability::Interval(Duration::from_secs(86_400)));
        assert_eq!((seldom.write(20), seldom.write(20)), (Some(512), Some(1_024)));
        let mut often = Bench::new(Durability::Interval(Duration::from_nanos(1)));
        assert_eq!((often.write(20), often.write(20)), (Some(512), None));
    }
}
