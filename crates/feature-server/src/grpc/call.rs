//! What is around every call of gRPC, as it is around every request of HTTP: who asks, how much there may
//! be, until when, and what is noted of it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use feature_core::{Error, ErrorKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};
use prost::Message;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tracing::Instrument;

use super::body::{Allowance, Answer, Held, Metered};
use super::codec::Raw;
use super::measure::{Shape, weigh};
use super::note::Note;
use super::status::status_of;
use crate::auth::Principal;
use crate::calls::{Call, Cause, Refusal, Reservation, limit_of};
use crate::http::{self, Context, REQUEST_ID, TRACE_PARENT, Trace};
use crate::live::{Live, State as Server};
use crate::observe::Route;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A method that has one message, and answers with one.
pub(super) trait Method: Send + 'static {
    /// What it is about.
    const ROUTE: Route;
    /// How much memory its message takes.
    const SHAPE: &'static Shape;
    /// What is asked.
    type Request: Message + Default;
    /// What is answered.
    type Response: Message;

    /// Does what is asked.
    fn handle(
        call: &mut Call,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, Refusal>> + Send;
}

/// Turns a refusal into a status, and keeps it for the log.
#[derive(Clone)]
pub(super) struct Refusing {
    kept: Arc<OnceLock<Refusal>>,
    request_id: Arc<str>,
}

impl Refusing {
    fn new(context: &Context) -> Self {
        Self { kept: Arc::default(), request_id: context.request_id().into() }
    }

    /// The status that a refusal is.
    pub(super) fn status(&self, refusal: Refusal) -> Status {
        let status = status_of(&refusal, &self.request_id);
        let _ = self.kept.set(refusal);
        status
    }

    /// Why the call was refused, if it was.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.kept.get()
    }
}

/// A call of somebody who was let in.
pub(super) struct Arrived {
    pub(super) server: Arc<Server>,
    pub(super) call: Call,
    /// One of the requests that may be worked on; `None` where it is no work.
    pub(super) working: Option<Reservation>,
    /// How long the client said that the call may take.
    pub(super) timeout: Option<Duration>,
    pub(super) refusing: Refusing,
}

impl Arrived {
    /// Decodes a message for which there is memory.
    pub(super) fn decode<T: Message + Default>(
        memory: &mut Reservation,
        message: &Bytes,
        shape: &Shape,
    ) -> Result<T, Refusal> {
        memory.grow(weigh(message, shape))?;
        T::decode(&**message).map_err(|error| {
            let message = format!("the message is not what it should be: {error}");
            Refusal::new(Cause::Malformed(0), Error::invalid_argument(message))
        })
    }
}

/// What kind of call it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One message, answered with one.
    Unary,
    /// One message, answered with many.
    Answers,
    /// Many messages.
    Stream,
    /// What says nothing of any data, takes no work, and ends when the server stops. `true` is open to all.
    Service(bool),
}

/// Answers a method that has one message.
pub(super) async fn unary<M: Method>(
    State(server): State<Arc<Server>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    run(server, M::ROUTE, Kind::Unary, request, |arrived, request| async move {
        let limits = arrived.call.live.settings.limits;
        let handle = move |message: Bytes| handle::<M>(arrived, message);
        Grpc::new(Raw).max_decoding_message_size(limits.body).unary(Once(Some(handle)), request).await
    })
    .await
}

async fn handle<M: Method>(arrived: Arrived, message: Bytes) -> Result<tonic::Response<Vec<u8>>, Status> {
    let Arrived { mut call, working, refusing, .. } = arrived;
    let answer = async {
        let request = Arrived::decode(&mut call.memory, &message, M::SHAPE)?;
        drop(message);
        let response = M::handle(&mut call, request).await?;
        let length = response.encoded_len();
        let limit = call.live.settings.limits.response;
        limit_of("the answer", length, limit, "bytes (limits.response)")?;
        call.memory.resize(length)?;
        Ok(response.encode_to_vec())
    };
    let answer = answer.await.map_err(|refusal| refusing.status(refusal))?;
    drop(working);
    let mut response = tonic::Response::new(answer);
    response.extensions_mut().insert(Taken(Arc::new(call.memory)));
    Ok(response)
}

/// What an answer takes of the memory, on its way to the answer's body.
#[derive(Clone)]
pub(super) struct Taken(
    #[expect(dead_code, reason = "it is given back when it is dropped")] Arc<Reservation>,
);

/// A service that is called once.
pub(super) struct Once<F>(pub(super) Option<F>);

impl<F, A> UnaryService<Bytes> for Once<F>
where
    F: FnOnce(Bytes) -> A,
    A: Future<Output = Result<tonic::Response<Vec<u8>>, Status>> + Send + 'static,
{
    type Response = Vec<u8>;
    type Future = BoxFuture<'static, Result<tonic::Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        once(&mut self.0, request.into_inner())
    }
}

/// Calls what is there; tonic does so once.
pub(super) fn once<T, R, F, A>(function: &mut Option<F>, request: T) -> BoxFuture<'static, Result<R, Status>>
where
    F: FnOnce(T) -> A,
    A: Future<Output = Result<R, Status>> + Send + 'static,
    R: Send + 'static,
{
    match function.take() {
        Some(function) => function(request).boxed(),
        None => futures::future::ready(Err(Status::internal("the call was made twice"))).boxed(),
    }
}

/// Answers a call.
pub(super) async fn run<A>(
    server: Arc<Server>,
    route: Route,
    kind: Kind,
    request: axum::extract::Request,
    answer: impl FnOnce(Arrived, hyper::Request<Metered>) -> A,
) -> axum::response::Response
where
    A: Future<Output = hyper::Response<tonic::body::Body>>,
{
    if !is_call(&request) {
        return http::not_grpc(server, request).await;
    }
    let (parts, body) = request.into_parts();
    let mut context = Context::new(&parts);
    let active = context.peer.as_ref().map(|peer| peer.pulse.request());
    let live = server.live();
    let refusing = Refusing::new(&context);
    let received = Arc::<AtomicUsize>::default();
    let span = http::span(&mut context, route);
    let admitted = admit(&server, &live, &mut context, kind, &parts, &refusing);
    let response = match admitted.instrument(span.clone()).await {
        Ok(arrived) => {
            let one_until = (kind != Kind::Stream && !matches!(kind, Kind::Service(_)))
                .then(|| context.began + live.settings.timeouts.request);
            let allowance = Allowance { message: live.settings.limits.body, one_until };
            let memory = arrived.call.memory.another();
            let body = Metered::new(body, allowance, memory, refusing.clone(), Arc::clone(&received));
            answer(arrived, hyper::Request::from_parts(parts, body)).instrument(span).await
        }
        Err(refusal) => refusing.status(refusal).into_http(),
    };
    let took = (kind == Kind::Unary).then(|| context.began.elapsed());
    let mut response = in_our_words(response, &refusing);
    let code = response.extensions().get::<Status>().map(Status::code);
    response.headers_mut().insert(REQUEST_ID, context.request_id.clone());
    if let Some(trace) = context.trace.as_ref().and_then(Trace::handed_on) {
        response.headers_mut().insert(TRACE_PARENT, trace);
    }
    let end = matches!(kind, Kind::Service(_)).then(|| stopped(&server));
    let _taken = response.extensions_mut().remove::<Taken>();
    let note = Note { server, live, context, route, refusing, received, took, code, sent: 0 };
    response.map(|body| Answer::body(body, Held { active, _taken }, note, end))
}

/// Lets a call in.
async fn admit(
    server: &Arc<Server>,
    live: &Arc<Live>,
    context: &mut Context,
    kind: Kind,
    parts: &Parts,
    refusing: &Refusing,
) -> Result<Arrived, Refusal> {
    if kind != Kind::Service(true) {
        context.principal = Some(http::authenticate(server, live, context, &parts.headers).await?);
    }
    let timeout = timeout_of(&parts.headers)?;
    let own = timeout.unwrap_or(live.deadline).min(live.settings.timeouts.request);
    let principal = context.principal.clone().unwrap_or_else(|| Arc::new(Principal::nobody()));
    let share = server.share(live, &principal, context.peer.as_ref());
    let (memory, deadline) = (share.memory.reserve(), context.began + own);
    let call = Call { live: Arc::clone(live), principal, deadline, memory };
    let working = match kind {
        Kind::Service(_) => None,
        _ => Some(share.work()?),
    };
    Ok(Arrived { server: Arc::clone(server), call, working, timeout, refusing: refusing.clone() })
}

/// Whether a request is a call of gRPC.
pub(crate) fn is_call(request: &axum::extract::Request) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let rest = media_type.and_then(|own| own.strip_prefix("application/grpc"));
    request.version() == Version::HTTP_2
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';') || rest == "+proto")
}

/// Answers a call of a method that there is not.
pub(crate) async fn unknown_method(
    server: Arc<Server>,
    request: axum::extract::Request,
) -> axum::response::Response {
    run(server, Route::Unknown, Kind::Unary, request, |arrived, _| async move {
        let message = "there is no such method; reflection describes those that there are";
        let refusal = Refusal::new(Cause::UnknownPath, Error::invalid_argument(message));
        arrived.refusing.status(refusal).into_http()
    })
    .await
}

/// How long the client says that the call may take.
fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return http::timeout_of(headers) };
    let text = value.to_str().unwrap_or_default();
    parse_timeout(text).map(Some).ok_or_else(|| {
        Refusal::invalid("the header `grpc-timeout` is not up to eight digits and one of H, M, S, m, u, n")
    })
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// What tonic has refused, as we would have.
fn in_our_words(
    response: hyper::Response<tonic::body::Body>,
    refusing: &Refusing,
) -> hyper::Response<tonic::body::Body> {
    let Some(status) = response.extensions().get::<Status>().filter(|_| refusing.refusal().is_none()) else {
        return response;
    };
    let message = format!("the request is not what gRPC has: {}", status.message());
    match status.code() {
        Code::OutOfRange => {
            let message = format!("{message} (limits.body)");
            refusing.status(Error::new(ErrorKind::LimitExceeded, message).into()).into_http()
        }
        Code::Internal | Code::Unknown => refusing.status(Refusal::invalid(message)).into_http(),
        _ => response,
    }
}

/// Ends once the server is about to stop.
fn stopped(server: &Server) -> BoxFuture<'static, Status> {
    let mut stopping = server.stopping();
    async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
        // Whoever watches learns first why.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Status::unavailable("the server is about to stop")
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_as_the_protocol_has_them() {
        for (text, timeout) in [
            ("20m", Some(Duration::from_millis(20))),
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("7u", Some(Duration::from_micros(7))),
            ("100000000n", None),
            ("m", None),
            ("", None),
            ("-1S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), timeout, "{text}");
        }
    }
}
