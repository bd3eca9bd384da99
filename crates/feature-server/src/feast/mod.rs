//! Feast's HTTP protocol, as its SDK speaks it. `docs/feast.md` lists where this server differs from Feast's.

mod encode;
mod error;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod read;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use feature_core::Error;
use hyper::StatusCode;
use serde::Deserialize;

pub(crate) use error::refuse;
pub(crate) use read::{Asked, Found, find};

use crate::calls::{Call, Cause, Refusal};
use crate::http::{Access, Content, Context, Endpoint, Reply, Request, endpoint};
use crate::live::State;
use crate::observe::Route;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/get-online-features", post(endpoint::<read::GetOnlineFeatures>))
        .route("/push", post(endpoint::<write::Push>))
        .route("/write-to-online-store", post(endpoint::<write::WriteToOnlineStore>))
        .route("/health", get(endpoint::<Health>))
        .route("/materialize", post(endpoint::<Materialize>))
        .route("/materialize-incremental", post(endpoint::<Materialize>))
}

/// Whose features a request is about: the only tenant of its principal, or that of the settings.
fn tenant_of(call: &Call) -> Result<String, Refusal> {
    let tenant = call.principal.only_tenant().or(call.live.settings.feast.tenant.as_deref());
    tenant.map(str::to_owned).ok_or_else(|| {
        Refusal::invalid(
            "Feast's protocol names no tenant: use a key that has exactly one, or set `server.feast.tenant`",
        )
    })
}

/// `GET /health`.
#[derive(Deserialize)]
struct Health {}

impl Endpoint for Health {
    const ROUTE: Route = Route::FeastHealth;
    const OPEN: bool = true;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Open)
    }

    async fn handle(self, _: &mut Call, _: Request) -> Result<Reply, Refusal> {
        let content = Content::Whole(bytes::Bytes::new());
        Ok(Reply { status: StatusCode::OK, media_type: None, headers: Vec::new(), content })
    }

    fn refuse(refusal: &Refusal, _: &Context) -> Reply {
        refuse(refusal)
    }
}

/// `POST /materialize` and `/materialize-incremental`, which need an offline store.
#[derive(Deserialize)]
struct Materialize {}

impl Endpoint for Materialize {
    const ROUTE: Route = Route::FeastMaterialize;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        let message = "this server has no offline store to materialize from: load files with `fstore ingest`, or \
                       write rows to /push or /write-to-online-store";
        Err(Refusal::new(Cause::NotHere, Error::invalid_argument(message)))
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        self.access(call).map(|_| Reply::json("null"))
    }

    fn refuse(refusal: &Refusal, _: &Context) -> Reply {
        refuse(refusal)
    }
}
