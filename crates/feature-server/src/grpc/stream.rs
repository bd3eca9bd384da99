//! `WriteStream`: rows come, and acknowledgements go. While rows are written, those that arrive are gathered
//! for the next write, as many as one request may have; then the client waits, by the flow control of HTTP/2.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use feature_core::{Error, ErrorKind, WriteOutcome, format_duration};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};

use super::call::{Arrived, Kind, once, run};
use super::codec::Raw;
use super::measure::WRITE;
use super::proto::fstore as pb;
use super::rows::write_rows;
use super::write::{Counts, errors};
use crate::auth::{Right, Shown};
use crate::calls::{Call, Cause, Refusal, Reservation, WriteRows};
use crate::http::token_of;
use crate::listen::Peer;
use crate::live::State as Server;
use crate::observe::Route;

type Messages = BoxStream<'static, Result<Vec<u8>, Status>>;

/// `WriteStream`.
pub(super) async fn write_stream(
    State(server): State<Arc<Server>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let shown = Shown::of(token_of(request.headers()), request.extensions().get::<Peer>());
    run(server, Route::WriteStream, Kind::Stream, request, |arrived, request| async move {
        let limit = arrived.call.live.settings.limits.body;
        let service = Service(Some((arrived, shown)));
        Grpc::new(Raw).max_decoding_message_size(limit).streaming(service, request).await
    })
    .await
}

struct Service(Option<(Arrived, Shown)>);

impl StreamingService<Bytes> for Service {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let input = request.into_inner();
        let mut begin = self.0.take().map(|(arrived, shown)| {
            move |()| futures::future::ready(Ok(Writer::new(arrived, shown, input).acknowledgements()))
        });
        async move { once(&mut begin, ()).await.map(tonic::Response::new) }.boxed()
    }
}

/// Ends once the server is about to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Rows of a message that are to be written.
struct Gathered {
    rows: WriteRows,
    memory: Reservation,
}

/// The state of a stream.
struct Writer {
    input: Streaming<Bytes>,
    /// Whether there is no more input.
    ended: bool,
    /// What ends the stream once everything before it is acknowledged.
    failure: Option<Status>,
    gathered: VecDeque<Gathered>,
    /// How many rows are gathered.
    waiting: usize,
    /// How many rows have an outcome.
    done: u64,
    /// Tenant and view.
    target: Option<(String, String)>,
    shown: Shown,
    arrived: Arrived,
    stopping: watch::Receiver<bool>,
    /// When the client wants it to be over.
    until: Option<Instant>,
}

impl Writer {
    fn new(arrived: Arrived, shown: Shown, input: Streaming<Bytes>) -> Self {
        Self {
            input,
            ended: false,
            failure: None,
            gathered: VecDeque::new(),
            waiting: 0,
            done: 0,
            target: None,
            shown,
            stopping: arrived.server.stopping(),
            until: arrived.timeout.map(|timeout| Instant::now() + timeout),
            arrived,
        }
    }

    fn acknowledgements(self) -> Messages {
        futures::stream::unfold(self, |mut writer| async move {
            let acknowledgement = writer.next().await?;
            Some((acknowledgement, writer))
        })
        .boxed()
    }

    /// The next acknowledgement, or the end.
    async fn next(&mut self) -> Option<Result<Vec<u8>, Status>> {
        // A client that never pauses learns of it too.
        if !self.ended && self.arrived.server.is_stopping() {
            self.leave();
        }
        self.wait().await;
        while self.wants_more()
            && let Some(message) = self.input.next().now_or_never()
        {
            self.take(message);
        }
        let Some(batch) = self.batch() else {
            self.ended = true;
            return self.failure.take().map(Err);
        };
        Some(self.write(batch).await)
    }

    /// Waits until there are rows, or none will come.
    async fn wait(&mut self) {
        let idle = self.arrived.server.live().settings.timeouts.idle;
        while self.gathered.is_empty() && !self.ended {
            let patience = Instant::now() + idle;
            let until = self.until.map_or(patience, |until| until.min(patience));
            tokio::select! {
                biased;
                message = self.input.next() => self.take(message),
                () = stopped(&mut self.stopping) => self.leave(),
                () = tokio::time::sleep_until(until) => {
                    let message = match self.until {
                        Some(until) if until <= Instant::now() => "the deadline of the stream passed".to_owned(),
                        _ => format!("no rows came for {} (timeouts.idle)", format_duration(idle)),
                    };
                    self.fail(Error::new(ErrorKind::DeadlineExceeded, message).into());
                }
            }
        }
    }

    /// Whether more rows may be gathered.
    fn wants_more(&self) -> bool {
        let limits = self.arrived.call.live.settings.limits;
        !self.ended && self.waiting < limits.rows && self.gathered.len() < limits.rows
    }

    /// Takes no more, since the server is about to stop.
    fn leave(&mut self) {
        let message = "the server is about to stop; rows without an acknowledgement are not written";
        self.fail(Refusal::busy(message));
    }

    fn fail(&mut self, refusal: Refusal) {
        self.ended = true;
        self.failure = Some(self.arrived.refusing.status(refusal));
    }

    /// Takes what the input gives.
    fn take(&mut self, message: Option<Result<Bytes, Status>>) {
        match message {
            None => self.ended = true,
            Some(Err(status)) => {
                self.ended = true;
                self.failure = Some(status);
            }
            Some(Ok(message)) => {
                if let Err(refusal) = self.gather(&message) {
                    self.fail(refusal);
                }
            }
        }
    }

    fn gather(&mut self, message: &Bytes) -> Result<(), Refusal> {
        let server = &self.arrived.server;
        let (live, mut memory) = (server.live(), self.arrived.call.memory.another());
        let request: pb::WriteStreamRequest = Arrived::decode(&mut memory, message, &WRITE)?;
        let pb::WriteStreamRequest { tenant, view, rows } = request;
        match &self.target {
            None => {
                let mut call = self.call(self.arrived.call.memory.another())?;
                call.on(&tenant, Right::Write)?.declared(&view)?;
                self.target = Some((tenant, view));
            }
            Some((own_tenant, own_view)) => {
                let same = |own: &String, other: &String| other.is_empty() || own == other;
                if !same(own_tenant, &tenant) || !same(own_view, &view) {
                    return Err(Refusal::invalid(
                        "a stream is about one tenant and view: those of its first message",
                    ));
                }
            }
        }
        // The first message may only say what the stream is about.
        if rows.is_none() {
            return Ok(());
        }
        let rows = write_rows(rows, &live.settings.limits, &mut memory)?;
        if !rows.is_empty() {
            self.waiting += rows.len();
            self.gathered.push_back(Gathered { rows, memory });
        }
        Ok(())
    }

    /// The rows of the next write.
    fn batch(&mut self) -> Option<Gathered> {
        let limit = self.arrived.server.live().settings.limits.rows;
        let mut batch = self.gathered.pop_front()?;
        while let Some(next) = self.gathered.front()
            && batch.rows.len() + next.rows.len() <= limit
            && let Some(mut next) = self.gathered.pop_front()
        {
            batch.rows.append(&mut next.rows);
            batch.memory.absorb(next.memory);
        }
        self.waiting -= batch.rows.len();
        Some(batch)
    }

    /// A call for the next write, with what holds now.
    fn call(&self, memory: Reservation) -> Result<Call, Refusal> {
        let live = self.arrived.server.live();
        let principal = live
            .authenticator
            .authenticate(self.shown.credentials())
            .map_err(|stranger| Refusal::from(Error::new(ErrorKind::Unauthenticated, stranger.reason())))?;
        let deadline = Instant::now() + live.deadline.min(live.settings.timeouts.request);
        let deadline = self.until.map_or(deadline, |until| until.min(deadline));
        Ok(Call { live, principal, deadline, memory })
    }

    /// Writes rows, while more are gathered.
    async fn write(&mut self, batch: Gathered) -> Result<Vec<u8>, Status> {
        let Gathered { rows, memory } = batch;
        let number = rows.len();
        let refusing = self.arrived.refusing.clone();
        let mut call = self.call(memory).map_err(|refusal| {
            self.ended = true;
            self.gathered.clear();
            refusing.status(refusal)
        })?;
        let (tenant, view) = self.target.clone().unwrap_or_default();
        let mut writing =
            std::pin::pin!(async move { call.on(&tenant, Right::Write)?.write(&view, rows).await });
        let written = loop {
            tokio::select! {
                biased;
                written = &mut writing => break written,
                message = self.input.next(), if self.wants_more() => self.take(message),
            }
        };
        let outcomes = match written {
            Ok(written) => written.rows,
            Err(refusal) => match refusal.cause() {
                // To a stream this is no end: what comes next may be right.
                Cause::EveryRow(failures) => {
                    failures.iter().map(|failure| Err(failure.error.clone())).collect()
                }
                _ => {
                    self.ended = true;
                    self.gathered.clear();
                    return Err(refusing.status(refusal));
                }
            },
        };
        debug_assert_eq!(outcomes.len(), number);
        Ok(self.acknowledge(&outcomes).encode_to_vec())
    }

    fn acknowledge(&mut self, outcomes: &[Result<WriteOutcome, Error>]) -> pb::WriteStreamResponse {
        let first = self.done;
        self.done += outcomes.len() as u64;
        let counts = Counts::of(outcomes);
        let mut errors = errors(outcomes.iter().enumerate());
        errors.iter_mut().for_each(|error| error.row += first);
        pb::WriteStreamResponse {
            rows: self.done,
            applied: counts.applied,
            superseded: counts.superseded,
            failed: counts.failed,
            errors,
        }
    }
}
