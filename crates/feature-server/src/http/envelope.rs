//! What is around every request: who asks, whether they may, how much there may be, until when, and what is
//! noted of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use feature_core::{Error, ErrorKind, parse_duration};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};
use tokio::time::Instant;
use tracing::Instrument;

use super::body::{Answer, Held, take_in};
use super::trace::{self, TRACE_PARENT, Trace};
use super::{Access, Arriving, Content, Endpoint, Reply, Request, kind_of};
use crate::auth::{Credentials, Principal, Shown};
use crate::calls::{Call, Cause, Refusal, Reservation};
use crate::listen::Peer;
use crate::live::{Live, State as Server};
use crate::observe::{Route, Turned};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What is known of a request beside what it asks.
pub(crate) struct Context {
    pub(crate) began: Instant,
    pub(crate) request_id: HeaderValue,
    pub(crate) trace: Option<Trace>,
    pub(crate) path: String,
    method: hyper::Method,
    version: Version,
    pub(crate) peer: Option<Peer>,
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) received: usize,
}

impl Context {
    pub(crate) fn new(parts: &Parts) -> Self {
        let own = parts.headers.get(REQUEST_ID).filter(|id| is_plain(id.as_bytes()));
        Self {
            began: Instant::now(),
            request_id: own.cloned().unwrap_or_else(new_id),
            trace: Trace::of(&parts.headers),
            path: parts.uri.path().to_owned(),
            method: parts.method.clone(),
            version: parts.version,
            peer: parts.extensions.get::<Peer>().cloned(),
            principal: None,
            received: 0,
        }
    }

    /// The request's id, which every answer carries.
    pub(crate) fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

/// An id that a client may give: it goes into logs as it is.
fn is_plain(id: &[u8]) -> bool {
    (1..=64).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
}

fn new_id() -> HeaderValue {
    let id = format!("{:016x}", fastrand::u64(..));
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("-"))
}

/// Answers requests for an endpoint whose type is what the path says.
pub(crate) async fn endpoint<E: Endpoint + serde::de::DeserializeOwned>(
    State(server): State<Arc<Server>>,
    path: Result<Path<E>, PathRejection>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let endpoint = path.map(|Path(endpoint)| endpoint).map_err(|rejection| {
        Refusal::new(
            Cause::UnknownPath,
            Error::invalid_argument(format!("the address is not right: {rejection}")),
        )
    });
    run(server, endpoint, request).await
}

/// Answers a request.
pub(crate) async fn run<E: Endpoint>(
    server: Arc<Server>,
    endpoint: Result<E, Refusal>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let mut context = Context::new(&parts);
    let active = context.peer.as_ref().map(|peer| peer.pulse.request());
    let live = server.live();
    let span = trace::span(&mut context, E::ROUTE);
    let outcome = answer(&server, &live, &mut context, endpoint, parts, body).instrument(span).await;
    let (reply, refusal, taken) = match outcome {
        Ok((reply, taken)) => (reply, None, taken),
        Err(refusal) => (E::refuse(&refusal, &context), Some(refusal), Vec::new()),
    };
    note::<E>(&server, &live, &context, &reply, refusal.as_ref());
    let mut response = respond(reply, &context, Held { active, _taken: taken });
    if server.is_stopping() && context.version < Version::HTTP_2 {
        // The client shall not ask once more over this connection.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer<E: Endpoint>(
    server: &Arc<Server>,
    live: &Arc<Live>,
    context: &mut Context,
    endpoint: Result<E, Refusal>,
    parts: Parts,
    body: axum::body::Body,
) -> Result<(Reply, Vec<Reservation>), Refusal> {
    if !E::OPEN {
        let principal = authenticate(server, live, context, &parts.headers).await?;
        context.principal = Some(principal);
    }
    let endpoint = endpoint?;
    let longest = live.settings.timeouts.request;
    let timeout = timeout_of(&parts.headers)?.unwrap_or(live.deadline).min(longest);
    let principal = context.principal.clone().unwrap_or_else(|| Arc::new(Principal::nobody()));
    let share = server.share(live, &principal, context.peer.as_ref());
    let (deadline, memory) = (context.began + timeout, share.memory.reserve());
    let mut call = Call { live: Arc::clone(live), principal, deadline, memory };
    if let Access::Tenant(tenant, right) = endpoint.access(&call)? {
        call.on(&tenant, right)?;
    }
    let working = share.work()?;
    let (body, arriving) = match E::STREAMS {
        true => {
            let shown = Shown::of(token_of(&parts.headers), context.peer.as_ref());
            (Bytes::new(), Some(Arriving { body, server: Arc::clone(server), shown }))
        }
        false => {
            let until = context.began + longest;
            (take_in(&parts.headers, body, &live.settings, until, &mut call.memory).await?, None)
        }
    };
    context.received = body.len();
    let query = parts.uri.query().map(str::to_owned);
    let request = Request { headers: parts.headers, query, body, arriving };
    let reply = endpoint.handle(&mut call, request).await?;
    match &reply.content {
        Content::Whole(answer) => {
            let limit = live.settings.limits.response;
            crate::calls::limit_of("the answer", answer.len(), limit, "bytes (limits.response)")?;
            call.memory.resize(answer.len())?;
            Ok((reply, vec![call.memory]))
        }
        // It is worked on until its end.
        Content::Stream(_) => Ok((reply, vec![call.memory, working])),
    }
}

/// Who asks. Whoever is not let in waits for the answer, each time longer.
pub(crate) async fn authenticate(
    server: &Server,
    live: &Live,
    context: &Context,
    headers: &HeaderMap,
) -> Result<Arc<Principal>, Refusal> {
    let certificate = context.peer.as_ref().map(|peer| &*peer.certificate).unwrap_or_default();
    let credentials = Credentials { token: token_of(headers), certificate };
    let shown = credentials.token.is_some();
    match live.authenticator.authenticate_anew(credentials).await {
        Ok(principal) => Ok(principal),
        Err(stranger) => {
            server.metrics.turned_away(Turned::Unauthenticated);
            if let Some(peer) = context.peer.as_ref().filter(|_| shown) {
                let delay = server.throttle.failed(peer.address.ip(), context.began);
                tokio::time::sleep(delay).await;
            }
            let message = match shown {
                false => "credentials are missing: send `authorization: Bearer <key>`",
                true => stranger.reason(),
            };
            Err(Error::new(ErrorKind::Unauthenticated, message).into())
        }
    }
}

pub(crate) fn token_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            // Something else is shown, which no settings know.
            _ => "",
        }
    });
    bearer.or_else(|| headers.get(API_KEY).map(|key| key.to_str().unwrap_or_default()))
}

pub(crate) fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(REQUEST_TIMEOUT) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let timeout = parse_duration(text).ok().filter(|timeout| !timeout.is_zero());
    timeout.map(Some).ok_or_else(|| {
        Refusal::invalid("the header `x-request-timeout` is not a duration above zero, such as 20ms")
    })
}

fn respond(reply: Reply, context: &Context, held: Held) -> axum::response::Response {
    let Reply { status, media_type, headers, content } = reply;
    let mut response = axum::response::Response::new(Answer::body(content, held));
    *response.status_mut() = status;
    let own = response.headers_mut();
    if let Some(media_type) = media_type {
        own.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    for (name, value) in headers {
        let value = match value {
            Cow::Borrowed(text) => HeaderValue::from_static(text),
            Cow::Owned(text) => match HeaderValue::from_str(&text) {
                Ok(value) => value,
                Err(_) => continue,
            },
        };
        own.insert(HeaderName::from_static(name), value);
    }
    own.insert(REQUEST_ID, context.request_id.clone());
    if let Some(trace) = context.trace.as_ref().and_then(Trace::handed_on) {
        own.insert(TRACE_PARENT, trace);
    }
    response
}

/// Counts the request, and writes a line about one that was slow or failed.
fn note<E: Endpoint>(
    server: &Server,
    live: &Live,
    context: &Context,
    reply: &Reply,
    refusal: Option<&Refusal>,
) {
    let took = context.began.elapsed();
    let status = reply.status.as_u16();
    server.metrics.answered(E::ROUTE, status, took, context.received, reply.content.len());
    if let Some(refusal) = refusal {
        server.metrics.refused(refusal);
    }
    let failed = refusal.is_some() || status == 207;
    if failed || took >= live.settings.timeouts.slow {
        let inside = status >= 500;
        context.log(&Outcome { route: E::ROUTE, status, inside, refusal, sent: reply.content.len(), took });
    }
}

/// What became of a request.
pub(crate) struct Outcome<'a> {
    pub(crate) route: Route,
    /// The status of HTTP, or the code of gRPC.
    pub(crate) status: u16,
    /// Whether it failed for a reason that is the operator's concern.
    pub(crate) inside: bool,
    pub(crate) refusal: Option<&'a Refusal>,
    pub(crate) sent: usize,
    pub(crate) took: Duration,
}

impl Context {
    /// Writes a line about the request.
    pub(crate) fn log(&self, outcome: &Outcome<'_>) {
        let refusal = outcome.refusal;
        // What a client has sent may be personal; what a store says is for the operator.
        let error = refusal.filter(|_| outcome.inside).map(|refusal| refusal.error().message().to_owned());
        tracing::warn!(
            target: "feature_server::request",
            request_id = self.request_id(),
            trace_id = self.trace.as_ref().map(Trace::id),
            route = outcome.route.name(),
            method = self.method.as_str(),
            path = &*crate::calls::shown(&self.path),
            status = outcome.status,
            kind = refusal.map(kind_of),
            error,
            in_doubt = refusal.map(|refusal| refusal.error().in_doubt()),
            principal = self.principal.as_ref().map(|principal| principal.name()),
            peer = self.peer.as_ref().map(|peer| peer.address.to_string()),
            received = self.received,
            sent = outcome.sent,
            took_ms = outcome.took.as_secs_f64() * 1e3,
            "request"
        );
    }
}
