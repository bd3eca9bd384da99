//! HTTP: what is around every request, and the native interface.

pub(crate) mod arrow;
mod body;
mod envelope;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod ingest;
pub(crate) mod json;
mod media;
mod openapi;
mod problem;
mod read;
mod registry;
mod scan;
mod trace;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post};
use bytes::Bytes;
use feature_core::Error;
use hyper::{HeaderMap, StatusCode};

pub(crate) use body::Content;
pub(crate) use envelope::{Context, Outcome, REQUEST_ID, authenticate, endpoint, timeout_of, token_of};
pub(crate) use media::json_body;
pub(crate) use problem::{headers as refusal_headers, kind_of, status_of};
pub(crate) use trace::{TRACE_PARENT, Trace, span};

use crate::auth::{Right, Shown};
use crate::calls::{Call, Cause, Refusal};
use crate::feast;
use crate::grpc;
use crate::observe::Route;

/// Something that can be asked over HTTP. The type itself is what the path says.
pub(crate) trait Endpoint: Sized + Send + 'static {
    /// What it is about.
    const ROUTE: Route;
    /// Whether anybody may ask it.
    const OPEN: bool = false;
    /// Whether it reads the body as it comes.
    const STREAMS: bool = false;

    /// What it needs. Checked before the body is looked at.
    fn access(&self, call: &Call) -> Result<Access, Refusal>;

    /// Does what is asked.
    fn handle(self, call: &mut Call, request: Request)
    -> impl Future<Output = Result<Reply, Refusal>> + Send;

    /// The answer that a refusal is.
    fn refuse(refusal: &Refusal, context: &Context) -> Reply {
        problem::reply(refusal, context)
    }
}

/// What a request needs: a right, for the data of a tenant.
pub(crate) enum Access {
    /// None.
    Open,
    /// This right, for this tenant.
    Tenant(String, Right),
}

/// A request whose body is there, unless its endpoint [reads it as it comes](Endpoint::STREAMS).
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) query: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) arriving: Option<Arriving>,
}

/// What an endpoint needs that reads the body as it comes.
pub(crate) struct Arriving {
    pub(crate) body: axum::body::Body,
    pub(crate) server: Arc<crate::live::State>,
    pub(crate) shown: Shown,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) media_type: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) content: Content,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let content = Content::Whole(body.into());
        Self { status, media_type: Some(media_type), headers: Vec::new(), content }
    }

    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, media::JSON, body)
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An address at which nothing is, or nothing for this method.
pub(crate) struct Nowhere(Cause);

impl Endpoint for Nowhere {
    const ROUTE: Route = Route::Unknown;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        let message = match self.0 {
            Cause::Method => "this address does not take the method; the header `allow` says which it takes",
            Cause::MediaType => {
                "this is a method of gRPC: call it with a client of gRPC, over HTTP/2 and with the content type \
                 application/grpc"
            }
            _ => "there is nothing at this address; GET /openapi.json describes what there is",
        };
        Err(Refusal::new(self.0.clone(), Error::invalid_argument(message)))
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        self.access(call).map(|_| Reply::json(""))
    }

    fn refuse(refusal: &Refusal, context: &Context) -> Reply {
        if context.path.starts_with("/v1/") || *refusal.cause() == Cause::MediaType {
            problem::reply(refusal, context)
        } else {
            feast::refuse(refusal)
        }
    }
}

/// Answers a request that is not of gRPC, at the address of one of its methods.
pub(crate) async fn not_grpc(
    state: Arc<crate::live::State>,
    request: axum::extract::Request,
) -> axum::response::Response {
    envelope::run(state, Ok(Nowhere(Cause::MediaType)), request).await
}

/// Everything that is answered on the data port.
pub(crate) fn router(state: Arc<crate::live::State>) -> Router {
    let nowhere = |cause: Cause| {
        move |State(state): State<Arc<crate::live::State>>, request: axum::extract::Request| async move {
            match grpc::is_call(&request) {
                true => grpc::unknown_method(state, request).await,
                false => envelope::run(state, Ok(Nowhere(cause)), request).await,
            }
        }
    };
    Router::new()
        .route("/v1/tenants/{tenant}/read", post(endpoint::<read::Read>))
        .route("/v1/tenants/{tenant}/views/{view}/read", post(endpoint::<read::ReadView>))
        .route("/v1/tenants/{tenant}/views/{view}/write", post(endpoint::<write::Write>))
        .route("/v1/tenants/{tenant}/views/{view}/delete", post(endpoint::<write::Delete>))
        .route("/v1/tenants/{tenant}/views/{view}/ingest", post(endpoint::<ingest::Ingest>))
        .route("/v1/tenants/{tenant}/views/{view}/scan", get(endpoint::<scan::Scan>))
        .route("/v1/tenants/{tenant}/views/{view}/route", get(endpoint::<registry::Destination>))
        .route("/v1/tenants/{tenant}/views/{view}", delete(endpoint::<write::PurgeView>))
        .route("/v1/tenants/{tenant}/entities", delete(endpoint::<write::Forget>))
        .route("/v1/tenants/{tenant}", delete(endpoint::<write::PurgeTenant>))
        .route("/v1/views", get(endpoint::<registry::Views>))
        .route("/v1/services", get(endpoint::<registry::Services>))
        .route("/openapi.json", get(endpoint::<openapi::OpenApi>))
        .route("/docs", get(endpoint::<openapi::Docs>))
        .merge(feast::router())
        .merge(grpc::router(&state))
        .method_not_allowed_fallback(nowhere(Cause::Method))
        .fallback(nowhere(Cause::UnknownPath))
        .with_state(state)
}
