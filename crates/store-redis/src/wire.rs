//! A connection that many callers share: requests go out in order, and each gets the replies that come back for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;

use crate::resp::{Boundary, Replies, Request};

/// Requests that may wait for their replies; further callers wait before they send.
const WAITING_REQUESTS: usize = 4_096;
/// Room for what comes in. Doubled when it was full, up to the second.
const ROOM: usize = 16 << 10;
const MOST_ROOM: usize = 64 << 10;

/// Bytes there and back, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

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
    /// Wakes the task that reads, which also sends what a caller could not send at once.
    task: Option<Waker>,
    /// Why nothing can be sent any more.
    ended: Option<Arc<io::Error>>,
}

struct Waiting {
    replies: usize,
    caller: oneshot::Sender<Result<Replies, Arc<io::Error>>>,
    _place: OwnedSemaphorePermit,
}

impl Wire {
    /// Begins to read from a stream.
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        let (from, to) = tokio::io::split(stream);
        let sending = Sending {
            to,
            bytes: Vec::new(),
            sent: 0,
            flushed: true,
            waiting: VecDeque::new(),
            task: None,
            ended: None,
        };
        let shared = Arc::new(Shared(Mutex::new(sending)));
        let reading =
            Reading { shared: Arc::clone(&shared), from, bytes: BytesMut::new(), room: ROOM, boundary: None };
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
    pub(crate) async fn send(&self, request: Request) -> Result<Replies, Arc<io::Error>> {
        let replies = request.commands();
        let place =
            Arc::clone(&self.0.places).acquire_owned().await.map_err(|e| Arc::new(io::Error::other(e)))?;
        let (caller, answer) = oneshot::channel();
        self.0.shared.lock().push(request.into_bytes(), Waiting { replies, caller, _place: place })?;
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
        for waiting in sending.waiting.drain(..) {
            // One that has given up does not want to know.
            let _ = waiting.caller.send(Err(Arc::clone(&error)));
        }
    }
}

impl Sending {
    fn push(&mut self, bytes: Vec<u8>, waiting: Waiting) -> Result<(), Arc<io::Error>> {
        if let Some(ended) = &self.ended {
            return Err(Arc::clone(ended));
        }
        let alone = self.waiting.is_empty();
        self.waiting.push_back(waiting);
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
        let Some(task) = self.task.clone() else { return Ok(()) };
        // A caller alone sends by itself, without waiting for another thread. What many send goes out together.
        if !alone || self.flush(&mut Context::from_waker(&task)).is_err() {
            // The task meets the same error, and tells everyone.
            task.wake();
        }
        Ok(())
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

/// The task of a connection.
struct Reading {
    shared: Arc<Shared>,
    from: ReadHalf<Box<dyn Stream>>,
    /// What has come in and belongs to nobody yet.
    bytes: BytesMut,
    room: usize,
    /// How far the replies to the first of those who wait have come.
    boundary: Option<Boundary>,
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
            if let Err(error) = self.hand_over() {
                return Poll::Ready(error);
            }
        }
    }

    /// Gives each of those who wait what is complete.
    fn hand_over(&mut self) -> io::Result<()> {
        let mut sending = self.shared.lock();
        while !self.bytes.is_empty() {
            let garbled =
                || io::Error::new(io::ErrorKind::InvalidData, "this is no answer of a Redis server");
            let waiting = sending.waiting.front().ok_or_else(garbled)?;
            let boundary = self.boundary.get_or_insert_with(|| Boundary::of(waiting.replies));
            let Some(end) = boundary.find(&self.bytes).map_err(|_| garbled())? else { break };
            self.boundary = None;
            let replies = Replies::new(self.bytes.split_to(end).freeze());
            if let Some(waiting) = sending.waiting.pop_front() {
                // One that has given up does not want to know.
                let _ = waiting.caller.send(Ok(replies));
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
mod tests {
    use bytes::Bytes;
    use futures::future::{FutureExt, join_all};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::resp::Reply;

    fn text(text: &str) -> Reply {
        Reply::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A server that answers each `ECHO` of a single digit with that many bytes of it.
    async fn serve(stream: tokio::io::DuplexStream) -> io::Result<()> {
        let (mut from, mut to) = tokio::io::split(stream);
        let mut request = [0; 21];
        while from.read_exact(&mut request).await.is_ok() {
            let digit = request[20 - 2] - b'0';
            let many = usize::from(digit) * 1_000;
            to.write_all(
                format!("${many}\r\n{}\r\n", char::from(digit + b'0').to_string().repeat(many)).as_bytes(),
            )
            .await?;
        }
        Ok(())
    }

    fn echo(digit: usize) -> Request {
        Request::of([&b"ECHO"[..], digit.to_string().as_bytes()])
    }

    #[tokio::test]
    async fn each_caller_gets_its_own_replies_though_others_give_up() {
        let (ours, theirs) = tokio::io::duplex(700);
        tokio::spawn(serve(theirs));
        let wire = Wire::new(Box::new(ours));
        let calls = (0..200).map(|call| {
            let (wire, digit) = (wire.clone(), call % 10);
            async move {
                let sent = wire.send(echo(digit));
                if call % 3 == 0 {
                    assert!(sent.now_or_never().is_none());
                    return;
                }
                let mut replies = sent.await.unwrap();
                assert_eq!(replies.next(), Some(text(&digit.to_string().repeat(digit * 1_000))));
                assert_eq!(replies.next(), None);
            }
        });
        join_all(calls).await;
    }

    #[tokio::test]
    async fn who_waits_learns_that_the_connection_has_ended_and_so_does_who_comes_later() {
        let (ours, mut theirs) = tokio::io::duplex(700);
        let wire = Wire::new(Box::new(ours));
        let (first, second, ()) = tokio::join!(wire.send(echo(1)), wire.send(echo(2)), async {
            theirs.write_all(b"$1\r\nx\r\n$5\r\nhal").await.unwrap();
            theirs.shutdown().await.unwrap();
        });
        assert_eq!(first.unwrap().next(), Some(text("x")));
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(wire.send(echo(3)).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_nobody_has_asked_for_ends_the_connection() {
        let (ours, mut theirs) = tokio::io::duplex(700);
        let wire = Wire::new(Box::new(ours));
        theirs.write_all(b"+OK\r\n").await.unwrap();
        tokio::task::yield_now().await;
        let error = wire.send(echo(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
