//! Loads of any length: a body is read as it comes, and the answer says meanwhile what becomes of its rows.

mod arriving;
mod lines;
mod messages;
mod options;

use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, ErrorKind, FeatureView, OnlineStore};
use feature_ingest::{Ended, IngestError, Input, Load};
use futures::{StreamExt, stream};
use hyper::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Access, Arriving, Content, Endpoint, Reply, Request, media};
use crate::auth::{Right, Shown};
use crate::calls::{Call, Cause, Refusal, Reservation};
use crate::live::State as Server;
use crate::observe::Route;
use arriving::Body;
use lines::Lines;
use messages::Checked;
use options::Options;

/// A stream of Arrow as far as its messages are right.
#[cfg(feature = "fuzz")]
pub(super) fn checked<R: std::io::Read>(stream: R, memory: Reservation) -> impl std::io::Read {
    Checked::new(stream, memory)
}

/// How often the answer says how far the load is.
const PROGRESS: Duration = Duration::from_secs(1);
/// What a load has in memory, about: rows that are read, that wait, and that are written.
const MEMORY: usize = 12 << 20;

/// `POST /v1/tenants/{tenant}/views/{view}/ingest`.
#[derive(Deserialize)]
pub(super) struct Ingest {
    tenant: String,
    view: String,
}

impl Endpoint for Ingest {
    const ROUTE: Route = Route::Ingest;
    const STREAMS: bool = true;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Write))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let Options { what, listed } = Options::of(&request)?;
        let Some(Arriving { body, server, shown }) = request.arriving else {
            return Err(Error::new(ErrorKind::Internal, "the body is not there").into());
        };
        let slot = server
            .ingests
            .take(1)
            .map_err(|full| full.refusal("as many streams to take in", "limits.ingests"))?;
        let view = call.on(&self.tenant, Right::Write)?.declared(&self.view)?.cloned();
        call.memory.resize(MEMORY)?;
        let until = super::timeout_of(&request.headers)?.map(|timeout| Instant::now() + timeout);
        let (lines, answer) = lines::pair(listed);
        let body = Body::of(body, Arc::clone(&server), lines.clone());
        let opened = open(&body, &call.memory, what.with_clock(&*call.live.clock), view.as_ref());
        let load = by(until, opened).await?;
        let work = Work { load, server, shown, lines, until, tenant: self.tenant, view: self.view };
        let work = async move {
            work.run(body).await;
            drop(slot);
        };
        // The load goes on while its lines are taken, and ends where they are taken no more.
        let work = stream::once(work).filter_map(|()| std::future::ready(None));
        let content = Content::Stream(stream::select(answer.map(Ok), work).boxed());
        Ok(Reply { status: StatusCode::OK, media_type: Some(media::NDJSON), headers: Vec::new(), content })
    }
}

/// Reads the beginning of the body.
async fn open(
    body: &Body,
    memory: &Reservation,
    what: options::What,
    view: Option<&FeatureView>,
) -> Result<Load, Refusal> {
    let options::What { options, format } = what;
    let reader = body.reader();
    let input = match format {
        feature_ingest::Format::Arrow => {
            Input::reader("the body", Some(format), Checked::new(reader, memory.another()))
        }
        format => Input::reader("the body", Some(format), reader),
    };
    Load::of_input(input, options, view).await.map_err(|error| match (body.failure(), error) {
        (Some(error), _) if error.kind() == ErrorKind::DeadlineExceeded => {
            Refusal::new(Cause::SlowBody, error)
        }
        (Some(error), _) | (None, IngestError::Store(error)) => error.into(),
        (None, error) => Refusal::invalid(error.to_string()),
    })
}

/// What is there until an instant.
async fn by<T>(until: Option<Instant>, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    match until {
        None => work.await,
        Some(until) => tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| Err(late().into())),
    }
}

fn late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the deadline of the stream passed")
}

/// A load whose columns are known.
struct Work {
    load: Load,
    server: Arc<Server>,
    shown: Shown,
    lines: Lines,
    until: Option<Instant>,
    tenant: String,
    view: String,
}

impl Work {
    /// Writes the rows, and says what becomes of them.
    async fn run(self, body: Body) {
        let Self { load, server, shown, lines, until, tenant, view } = self;
        lines.columns(load.columns());
        let mut stopping = server.stopping();
        let stop = async {
            let stopped = stopping.wait_for(|stopping| *stopping);
            match until {
                None => drop(stopped.await),
                Some(until) => drop(tokio::time::timeout_at(until, stopped).await),
            }
        };
        let store = {
            let (server, tenant) = (Arc::clone(&server), tenant.clone());
            move || store(&server, &shown, &tenant)
        };
        let (rejects, progress) = (lines.clone(), lines.clone());
        let load = load
            .rejects(move |reject| {
                rejects.reject(&reject);
                Ok(())
            })
            .on_progress(PROGRESS, move |own, _| progress.progress(own));
        let report = load.run_with(store, &tenant, &view, stop).await;
        let (ended, error) = match &report.ended {
            Ended::Complete => ("complete", None),
            Ended::Interrupted if server.is_stopping() => {
                let message = "the server is about to stop; send what was not read again";
                ("interrupted", Some(Error::new(ErrorKind::Unavailable, message)))
            }
            Ended::Interrupted => ("interrupted", Some(late())),
            Ended::Failed(error) => ("failed", Some(body.failure().unwrap_or_else(|| error_of(error)))),
        };
        lines.report(&report, ended, error.as_ref());
    }
}

/// The store, as it is now, for somebody who may still write there.
fn store(server: &Server, shown: &Shown, tenant: &str) -> feature_core::Result<OnlineStore> {
    let live = server.live();
    let principal = live
        .authenticator
        .authenticate(shown.credentials())
        .map_err(|stranger| Error::new(ErrorKind::Unauthenticated, stranger.reason()))?;
    if !principal.may(Right::Write, tenant) {
        let message = "the right to write was taken back while the body came";
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    let deadline = live.longest_write.min(live.settings.timeouts.request);
    Ok(live.store.with_deadline(deadline).online().clone())
}

fn error_of(error: &IngestError) -> Error {
    match error {
        IngestError::Store(error) => error.clone(),
        IngestError::Output(message) => Error::new(ErrorKind::Internal, message.clone()),
        IngestError::Request(message) | IngestError::Input(message) => Error::invalid_argument(message),
    }
}
