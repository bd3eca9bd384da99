//! A connection that many callers share: requests go out in order, and each gets the replies that come back for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};

use crate::joint::{Joint, Joints, Limits, Share};
use crate::resp::{Boundary, Replies, Request};
use crate::write::{self, Row};

/// Requests that may wait for their replies; further callers wait before they send.
const WAITING_REQUESTS: usize = 4_096;
/// Room for what comes in. Doubled when it was full, up to the second.
const ROOM: usize = 16 << 10;
const MOST_ROOM: usize = 64 << 10;
/// Rows gather for no longer, where the way to the server and back takes long.
const GATHER: Duration = Duration::from_millis(1);

/// Bytes there and back, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What a caller sends.
pub(crate) enum Sent {
    /// Commands of its own.
    Request(Request),
    /// A row, with its key, that may share a command with those of other callers.
    Row(String, Row),
}

/// A connection. Clones share it; the last one closes it.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    task: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared(Mutex<Sending>);

struct Sending {
    to: WriteHalf<Box<dyn Stream>>,
    /// What is to be sent, from `sent` on.
    bytes: Vec<u8>,
    sent: usize,
    flushed: bool,
    waiting: VecDeque<Waiting>,
    joints: Joints<Caller>,
    /// Wakes the task that reads, which also sends what a caller could not send at once.
    task: Option<Waker>,
    /// Why nothing can be sent any more.
    ended: Option<Arc<io::Error>>,
}

/// A request that has been sent.
struct Waiting {
    replies: usize,
    callers: Callers,
}

enum Callers {
    One(Caller),
    /// Those whose rows share a command.
    Joint(Vec<Caller>),
}

/// Who waits for replies.
struct Caller {
    answer: oneshot::Sender<Answer>,
    _place: OwnedSemaphorePermit,
}

/// Replies, and which row of theirs is the caller's.
type Answer = Result<(Replies, Share), Arc<io::Error>>;

impl Caller {
    fn tell(self, answer: Answer) {
        // One that has given up does not want to know.
        let _ = self.answer.send(answer);
    }
}

impl Callers {
    fn tell(self, answer: Result<Replies, Arc<io::Error>>) {
        match self {
            Self::One(caller) => caller.tell(answer.map(|replies| (replies, Share::ALL))),
            Self::Joint(callers) => {
                let of = callers.len();
                for (at, caller) in callers.into_iter().enumerate() {
                    caller.tell(answer.clone().map(|replies| (replies, Share { at, of })));
                }
            }
        }
    }
}

impl Wire {
    /// Begins to read from a stream.
    pub(crate) fn new(stream: Box<dyn Stream>, limits: Limits) -> Self {
        let (from, to) = tokio::io::split(stream);
        let sending = Sending {
            to,
            bytes: Vec::new(),
            sent: 0,
            flushed: true,
            waiting: VecDeque::new(),
            joints: Joints::new(limits),
            task: None,
            ended: None,
        };
        let shared = Arc::new(Shared(Mutex::new(sending)));
        let reading = Reading {
            shared: Arc::clone(&shared),
            from,
            bytes: BytesMut::new(),
            room: ROOM,
            boundary: None,
            gathering: None,
        };
        let task = tokio::spawn(reading.run()).abort_handle();
        Self(Arc::new(Handle { shared, places: Arc::new(Semaphore::new(WAITING_REQUESTS)), task }))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sends a request and waits for its replies. Who gives up waiting has sent it all the same.
    ///
    /// # Errors
    /// When the connection ends before all replies have come.
    pub(crate) async fn send(&self, sent: Sent) -> Answer {
        let place =
            Arc::clone(&self.0.places).acquire_owned().await.map_err(|e| Arc::new(io::Error::other(e)))?;
        let (caller, answer) = oneshot::channel();
        let caller = Caller { answer: caller, _place: place };
        match sent {
            Sent::Request(request) => {
                let replies = request.commands();
                let waiting = Waiting { replies, callers: Callers::One(caller) };
                self.0.shared.lock().push(request, waiting)?;
            }
            Sent::Row(key, row) => self.0.shared.lock().push_row(key, row, caller)?,
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(io::ErrorKind::ConnectionAborted.into())))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait that nothing will come any more.
    fn end(&self, error: io::Error) {
        let mut sending = self.lock();
        let error = Arc::clone(sending.ended.get_or_insert_with(|| Arc::new(error)));
        sending.bytes = Vec::new();
        let gathered = sending.joints.send_all().into_iter().map(|joint| Callers::Joint(joint.callers));
        for callers in sending.waiting.drain(..).map(|waiting| waiting.callers).chain(gathered) {
            callers.tell(Err(Arc::clone(&error)));
        }
    }
}

impl Sending {
    fn push(&mut self, request: Request, waiting: Waiting) -> Result<(), Arc<io::Error>> {
        if let Some(ended) = &self.ended {
            return Err(Arc::clone(ended));
        }
        let alone = self.waiting.is_empty();
        self.enqueue(request, waiting);
        let Some(task) = self.task.clone() else { return Ok(()) };
        // A caller alone sends by itself, without waiting for another thread. What many send goes out together.
        if !alone || self.flush(&mut Context::from_waker(&task)).is_err() {
            // The task meets the same error, and tells everyone.
            task.wake();
        }
        Ok(())
    }

    fn push_row(&mut self, key: String, row: Row, caller: Caller) -> Result<(), Arc<io::Error>> {
        if let Some(ended) = &self.ended {
            return Err(Arc::clone(ended));
        }
        let was_waiting = self.joints.is_waiting();
        match self.joints.add(key, row, caller) {
            Some(joint) => {
                let (request, waiting) = joint.pack();
                return self.push(request, waiting);
            }
            // The task sees to it that rows do not gather for long.
            None if !was_waiting => self.task.iter().for_each(Waker::wake_by_ref),
            None => {}
        }
        Ok(())
    }

    fn enqueue(&mut self, request: Request, waiting: Waiting) {
        self.waiting.push_back(waiting);
        let bytes = request.into_bytes();
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }

    fn enqueue_joints(&mut self, joints: Vec<Joint<Caller>>) {
        for joint in joints {
            let (request, waiting) = joint.pack();
            self.enqueue(request, waiting);
        }
    }

    /// Sends as much as the other side takes now; the task is woken for the rest.
    fn flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            match Pin::new(&mut self.to).poll_write(context, &self.bytes[self.sent..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => self.sent += sent?,
            }
            self.flushed = false;
        }
        (self.bytes, self.sent) = (Vec::new(), 0);
        if !self.flushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.to).poll_flush(context)
        {
            flushed?;
            self.flushed = true;
        }
        Ok(())
    }
}

impl Joint<Caller> {
    /// As one command.
    fn pack(self) -> (Request, Waiting) {
        let mut request = Request::default();
        write::call(self.rows.iter().map(|(key, row)| (key.as_str(), row)), &mut request);
        (request, Waiting { replies: 1, callers: Callers::Joint(self.callers) })
    }
}

/// The task of a connection.
struct Reading {
    shared: Arc<Shared>,
    from: ReadHalf<Box<dyn Stream>>,
    /// What has come in and belongs to nobody yet.
    bytes: BytesMut,
    room: usize,
    /// How far the replies to the first of those who wait have come.
    boundary: Option<Boundary>,
    /// Ends when rows have gathered for long enough.
    gathering: Option<Pin<Box<Sleep>>>,
}

impl Reading {
    async fn run(mut self) {
        let error = poll_fn(|context| self.poll(context)).await;
        self.shared.end(error);
    }

    /// Reads and sends until that is impossible.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut sending = self.shared.lock();
        if !sending.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            sending.task = Some(context.waker().clone());
        }
        if sending.joints.is_waiting() {
            let gathering = self.gathering.get_or_insert_with(|| Box::pin(sleep(GATHER)));
            if gathering.as_mut().poll(context).is_ready() {
                self.gathering = None;
                let joints = sending.joints.send_all();
                sending.enqueue_joints(joints);
            }
        } else {
            self.gathering = None;
        }
        if let Err(error) = sending.flush(context) {
            return Poll::Ready(error);
        }
        drop(sending);
        loop {
            if self.bytes.capacity() - self.bytes.len() < ROOM / 4 {
                self.bytes.reserve(self.room);
            }
            let read = {
                let read = pin!(self.from.read_buf(&mut self.bytes));
                ready!(read.poll(context))
            };
            match read {
                Err(error) => return Poll::Ready(error),
                Ok(0) => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
            }
            if self.bytes.len() == self.bytes.capacity() {
                self.room = (self.room * 2).min(MOST_ROOM);
            }
            if let Err(error) = self.hand_over(context) {
                return Poll::Ready(error);
            }
        }
    }

    /// Gives each of those who wait what is complete, and sends what has gathered meanwhile.
    fn hand_over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut sending = self.shared.lock();
        while !self.bytes.is_empty() {
            let garbled =
                || io::Error::new(io::ErrorKind::InvalidData, "this is no answer of a Redis server");
            let waiting = sending.waiting.front().ok_or_else(garbled)?;
            let boundary = self.boundary.get_or_insert_with(|| Boundary::of(waiting.replies));
            let Some(end) = boundary.find(&self.bytes).map_err(|_| garbled())? else { break };
            self.boundary = None;
            let replies = Replies::new(self.bytes.split_to(end).freeze());
            if let Some(Waiting { callers, .. }) = sending.waiting.pop_front() {
                let sent = match callers {
                    Callers::One(_) => Ok(()),
                    Callers::Joint(_) => {
                        // The server goes on with what has gathered, while the callers are told.
                        let joints = sending.joints.answered();
                        sending.enqueue_joints(joints);
                        sending.flush(context)
                    }
                };
                callers.tell(Ok(replies));
                sent?;
            }
        }
        Ok(())
    }
}

impl Drop for Reading {
    /// Where the threads that connections were served by are gone, nothing more will come.
    fn drop(&mut self) {
        self.shared.end(io::ErrorKind::ConnectionAborted.into());
    }
}

#[cfg(test)]
mod tests;
