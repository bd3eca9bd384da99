//! What goes on on a connection, so that one on which nothing does can be closed.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::settings::Timeouts;

/// How long is read, and thrown away, what a client sends after its last answer. Were it left unread, the
/// kernel would reset the connection, and with it the answer that is still under way.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much of it, in bytes.
const UNREAD: usize = 2 << 20;

/// When something last went on on a connection. Instants are milliseconds since it was opened, plus one;
/// zero is none.
#[derive(Debug)]
pub(crate) struct Pulse {
    opened: Instant,
    /// Bytes came or went.
    moved: AtomicU64,
    /// The head of a request began.
    head: AtomicU64,
    /// The client began not to take what is sent.
    stalled: AtomicU64,
    /// A part of an answer was taken.
    taken: AtomicU64,
    /// Requests whose answer has not been taken whole.
    active: AtomicUsize,
    /// Answers that are being taken.
    answers: AtomicUsize,
    /// Whether the head timer is for HTTP/1 only, where a client sends nothing between requests.
    multiplexed: AtomicBool,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does something, or may yet.
    Alive,
    /// Nothing goes on: ask the client to go.
    Idle,
    /// The client sends or takes too slowly.
    Slow,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            moved: AtomicU64::new(1),
            head: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            multiplexed: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn received(&self, bytes: &[u8]) {
        let now = self.now();
        if self.moved.swap(now, Relaxed) == 1 && bytes.starts_with(b"PRI") {
            self.multiplexed.store(true, Relaxed);
        }
        if self.active.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 {
            self.head.store(now, Relaxed);
        }
    }

    fn sent(&self, poll: &Poll<io::Result<usize>>) {
        match poll {
            Poll::Ready(_) => {
                self.moved.store(self.now(), Relaxed);
                self.stalled.store(0, Relaxed);
            }
            Poll::Pending if self.stalled.load(Relaxed) == 0 => self.stalled.store(self.now(), Relaxed),
            Poll::Pending => {}
        }
    }

    /// A request's head is there. What it gives goes with the answer's body.
    pub(crate) fn request(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        Active { pulse: Arc::clone(self), answering: false }
    }

    /// Whether it speaks HTTP/2.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    pub(super) fn verdict(&self, timeouts: &Timeouts) -> Verdict {
        let now = self.now();
        let over = |since: u64, limit: Duration| u128::from(now.saturating_sub(since)) > limit.as_millis();
        let (stalled, head) = (self.stalled.load(Relaxed), self.head.load(Relaxed));
        if stalled != 0 && over(stalled, timeouts.write) {
            return Verdict::Slow;
        }
        if self.answers.load(Relaxed) > 0 && over(self.taken.load(Relaxed), timeouts.write) {
            return Verdict::Slow;
        }
        if self.active.load(Relaxed) > 0 {
            return Verdict::Alive;
        }
        if head != 0 && !self.multiplexed.load(Relaxed) && over(head, timeouts.header) {
            return Verdict::Slow;
        }
        if over(self.moved.load(Relaxed), timeouts.idle) { Verdict::Idle } else { Verdict::Alive }
    }
}

/// A request whose answer has not been taken whole.
#[derive(Debug)]
pub(crate) struct Active {
    pulse: Arc<Pulse>,
    answering: bool,
}

impl Active {
    /// The answer begins to be taken, or some more of it has been.
    pub(crate) fn taking(&mut self) {
        self.pulse.taken.store(self.pulse.now(), Relaxed);
        if !self.answering {
            self.answering = true;
            self.pulse.answers.fetch_add(1, Relaxed);
        }
    }

    /// There is nothing to take at the moment: that is not the client's doing.
    pub(crate) fn waiting(&mut self) {
        if self.answering {
            self.answering = false;
            self.pulse.answers.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.waiting();
        self.pulse.active.fetch_sub(1, Relaxed);
        self.pulse.moved.store(self.pulse.now(), Relaxed);
    }
}

/// A stream whose pulse is taken.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
    /// Until when the client may notice that the connection is closed, and how much it has sent meanwhile.
    farewell: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, farewell: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.pulse.received(bytes);
        }
        poll
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.pulse.sent(&poll);
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.pulse.sent(&poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (until, sent) = match &mut this.farewell {
            Some(farewell) => farewell,
            none => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                none.insert((Box::pin(tokio::time::sleep(FAREWELL)), 0))
            }
        };
        let mut bytes = [MaybeUninit::uninit(); 4096];
        while *sent < UNREAD && until.as_mut().poll(cx).is_pending() {
            let mut unread = ReadBuf::uninit(&mut bytes);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut unread));
            if read.is_err() || unread.filled().is_empty() {
                break;
            }
            *sent += unread.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(secs: u64) {
        tokio::time::advance(Duration::from_secs(secs)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_connection_does_decides_how_long_it_may_stay() {
        let timeouts = Timeouts::default();
        let pulse = Arc::new(Pulse::new());
        let says = || pulse.verdict(&timeouts);
        pass(75).await;
        assert_eq!(says(), Verdict::Alive);
        pass(1).await;
        assert_eq!(says(), Verdict::Idle, "it never said anything");

        pulse.received(b"GET");
        pass(9).await;
        pulse.received(b" /");
        assert_eq!(says(), Verdict::Alive);
        pass(2).await;
        assert_eq!(says(), Verdict::Slow, "byte by byte does not help");

        let mut active = pulse.request();
        pass(1000).await;
        assert_eq!(says(), Verdict::Alive, "the store is slow, not the client");
        active.taking();
        pass(19).await;
        active.taking();
        pass(19).await;
        assert_eq!(says(), Verdict::Alive);
        pass(2).await;
        assert_eq!(says(), Verdict::Slow);
        active.waiting();
        assert_eq!(says(), Verdict::Alive);
        drop(active);
        pass(70).await;
        assert_eq!(says(), Verdict::Alive);
        pass(6).await;
        assert_eq!(says(), Verdict::Idle);

        pulse.sent(&Poll::Pending);
        pass(15).await;
        pulse.sent(&Poll::Pending);
        assert_ne!(says(), Verdict::Slow);
        pass(6).await;
        assert_eq!(says(), Verdict::Slow);
        pulse.sent(&Poll::Ready(Ok(1)));
        assert_eq!(says(), Verdict::Alive);
    }

    #[tokio::test(start_paused = true)]
    async fn what_http2_sends_between_requests_is_no_head() {
        let pulse = Arc::new(Pulse::new());
        pulse.received(b"PRI * HTTP/2.0");
        pass(11).await;
        assert_eq!(pulse.verdict(&Timeouts::default()), Verdict::Alive);
    }
}
