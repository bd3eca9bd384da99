//! Bodies of calls: what comes is counted and has its memory before it is there; what goes tells what became
//! of the call.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use feature_core::{Error, ErrorKind};
use futures::future::BoxFuture;
use http_body::{Body as _, Frame, SizeHint};
use hyper::HeaderMap;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::call::{Refusing, Taken};
use super::note::Note;
use crate::calls::{Cause, Refusal, Reservation, limit_of};
use crate::listen::Active;

/// The flag of compression, and the length.
const HEAD: usize = 5;
/// How much a connection hands over at a time, at most.
const PIECE: usize = 16 << 10;

/// How much there may be of a request, and until when.
pub(super) struct Allowance {
    /// The longest message, in bytes.
    pub(super) message: usize,
    /// Whether there is one message only, and until when it must be there.
    pub(super) one_until: Option<Instant>,
}

/// The body of a request. Of a message that has begun to arrive its memory is taken at once, since its
/// buffer is made then.
pub(super) struct Metered {
    body: Body,
    allowance: Allowance,
    memory: Reservation,
    refusing: Refusing,
    received: Arc<AtomicUsize>,
    head: [u8; HEAD],
    /// How much of the head of a message is there.
    begun: usize,
    /// How much of the message is not there.
    missing: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    pub(super) fn new(
        body: Body,
        allowance: Allowance,
        memory: Reservation,
        refusing: Refusing,
        received: Arc<AtomicUsize>,
    ) -> Self {
        let timer = allowance.one_until.map(|until| Box::pin(tokio::time::sleep_until(until)));
        Self { body, allowance, memory, refusing, received, head: [0; HEAD], begun: 0, missing: 0, timer }
    }

    /// Some more of it is there.
    fn take(&mut self, mut piece: &[u8]) -> Result<(), Refusal> {
        let limit = self.allowance.message;
        let all = self.received.fetch_add(piece.len(), Relaxed) + piece.len();
        if self.allowance.one_until.is_some() && all > limit.saturating_add(HEAD) {
            limit_of("the request", all - HEAD, limit, "bytes or more (limits.body)")?;
        }
        while !piece.is_empty() {
            let of_message = self.missing.min(piece.len());
            self.missing -= of_message;
            piece = &piece[of_message..];
            while let (true, Some((first, rest))) = (self.missing == 0, piece.split_first()) {
                self.head[self.begun] = *first;
                self.begun += 1;
                piece = rest;
                if self.begun == HEAD {
                    let [_, length @ ..] = self.head;
                    (self.begun, self.missing) = (0, u32::from_be_bytes(length) as usize);
                    limit_of("the message", self.missing, limit, "bytes (limits.body)")?;
                    self.memory.resize(self.missing + PIECE)?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn late(&self) -> Refusal {
        let message = "the request was not there before the deadline (timeouts.request)";
        Refusal::new(Cause::SlowBody, Error::new(ErrorKind::DeadlineExceeded, message))
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
                let late = self.late();
                return Poll::Ready(Some(Err(self.refusing.status(late))));
            }
            return Poll::Pending;
        };
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|_| Status::cancelled("the request ended before it was whole"))?;
            if let Some(piece) = frame.data_ref() {
                self.take(piece).map_err(|refusal| self.refusing.status(refusal))?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an answer holds until it is taken.
pub(super) struct Held {
    pub(super) active: Option<Active>,
    /// Only kept.
    pub(super) _taken: Option<Taken>,
}

/// The body of an answer, with what it holds until it is taken.
pub(super) struct Answer {
    body: tonic::body::Body,
    held: Held,
    note: Note,
    /// Ends the answer before its time.
    end: Option<BoxFuture<'static, Status>>,
}

impl Answer {
    pub(super) fn body(
        body: tonic::body::Body,
        held: Held,
        note: Note,
        end: Option<BoxFuture<'static, Status>>,
    ) -> Body {
        Body::new(Self { body, held, note, end })
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(end) = &mut self.end
            && let Poll::Ready(status) = end.as_mut().poll(cx)
        {
            self.end = None;
            self.body = tonic::body::Body::empty();
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = self.next(cx);
        if let Some(active) = &mut self.held.active {
            match &next {
                Poll::Ready(_) => active.taking(),
                Poll::Pending => active.waiting(),
            }
        }
        if let Poll::Ready(Some(Ok(frame))) = &next {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.note.sent(data.len()),
                (_, Some(trailers)) => self.note.ended(trailers),
                _ => {}
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
