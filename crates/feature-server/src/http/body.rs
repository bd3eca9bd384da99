//! Bodies: of requests, taken in within the limits; of answers, with what they hold until they are taken.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use feature_core::{Error, ErrorKind, format_duration};
use futures::stream::{BoxStream, Stream};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::time::Instant;

use crate::calls::{Cause, Refusal, Reservation, limit_of};
use crate::listen::Active;
use crate::settings::ServerSettings;

/// How much more memory a request may take than its body: what is made of it has the size of a pointer or a
/// float for every byte or two.
const GROWS: usize = 8;
/// What is handed to the connection at a time.
const PIECE: usize = 256 << 10;

/// Takes the body in.
///
/// # Errors
/// `LimitExceeded` when it is too large, `Unavailable` when there is no memory for it, `DeadlineExceeded`
/// when it does not arrive in time.
pub(crate) async fn take_in(
    headers: &HeaderMap,
    body: Body,
    settings: &ServerSettings,
    deadline: Instant,
    memory: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let limit = settings.limits.body;
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let message =
            format!("the body is compressed ({}): send it as it is", crate::calls::shown(&encoding));
        return Err(Refusal::new(Cause::MediaType, Error::invalid_argument(message)));
    }
    let stated = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = stated {
        limit_of("the body", length, limit, "bytes (limits.body)")?;
        memory.resize(length.saturating_mul(GROWS))?;
    }
    let all = async {
        let mut body = body;
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        loop {
            let Some(frame) = body.frame().await else { break };
            let frame = frame.map_err(|_| Refusal::invalid("the body ended before it was whole"))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = first.len() + more.len() + data.len();
            if length > limit {
                limit_of("the body", length, limit, "bytes or more (limits.body)")?;
            }
            if stated.is_none() {
                memory.resize(length.saturating_mul(GROWS))?;
            }
            if first.is_empty() && more.is_empty() {
                first = data;
            } else {
                if more.is_empty() {
                    more.reserve(stated.unwrap_or(length).min(limit));
                    more.extend_from_slice(&first);
                    first = Bytes::new();
                }
                more.extend_from_slice(&data);
            }
        }
        Ok(if more.is_empty() { first } else { more.freeze() })
    };
    match tokio::time::timeout_at(deadline, all).await {
        Ok(body) => body,
        Err(_) => {
            let longest = format_duration(settings.timeouts.request);
            let message = format!(
                "the body was not there before the deadline, which is {longest} at most (timeouts.request)"
            );
            Err(Refusal::new(Cause::SlowBody, Error::new(ErrorKind::DeadlineExceeded, message)))
        }
    }
}

/// What an answer holds until it is taken.
pub(crate) struct Held {
    pub(crate) active: Option<Active>,
    /// Only kept.
    pub(crate) _taken: Vec<Reservation>,
}

/// The body of an answer.
pub(crate) struct Answer {
    content: Content,
    held: Held,
}

/// What an answer is made of.
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// One piece after the other; an error cuts the answer off.
    Stream(BoxStream<'static, Result<Bytes, Error>>),
}

impl Content {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Stream(_) => 0,
        }
    }
}

impl Answer {
    pub(crate) fn body(content: Content, held: Held) -> Body {
        Body::new(Self { content, held })
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(bytes.split_to(PIECE.min(bytes.len()))))),
            Content::Stream(stream) => Pin::new(stream).poll_next(cx),
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = self.next(cx);
        if let Some(active) = &mut self.held.active {
            match &next {
                Poll::Ready(_) => active.taking(),
                Poll::Pending => active.waiting(),
            }
        }
        next.map(|next| next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
