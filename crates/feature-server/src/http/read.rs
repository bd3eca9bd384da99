//! Reads.

use hyper::StatusCode;
use serde::Deserialize;

use super::json::{self, Bounds, ReadBody, ReadOptions, ReadSeed};
use super::media::{self, Media};
use super::{Access, Endpoint, Reply, Request, arrow};
use crate::auth::Right;
use crate::calls::{Call, ReadRequest, Refusal, Table, Wanted};
use crate::observe::Route;

/// `POST /v1/tenants/{tenant}/read`: features of any views.
#[derive(Deserialize)]
pub(super) struct Read {
    tenant: String,
}

impl Endpoint for Read {
    const ROUTE: Route = Route::Read;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Read))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let answer = media::of_answer(&request.headers)?;
        let mut body = body(call, &request, true)?;
        let wanted = match (body.service.take(), body.references()?) {
            (Some(service), None) => Wanted::Service(service),
            (None, Some(features)) => Wanted::Features(features),
            _ => return Err(Refusal::invalid("expected either `service` or `features`")),
        };
        let options = body.options;
        let request = ReadRequest { wanted, entities: entities(body)?, max_age: options.max_age };
        let table = call.on(&self.tenant, Right::Read)?.read(request).await?;
        reply(&table, options, answer)
    }
}

/// `POST /v1/tenants/{tenant}/views/{view}/read`: features of one view.
#[derive(Deserialize)]
pub(super) struct ReadView {
    tenant: String,
    view: String,
}

impl Endpoint for ReadView {
    const ROUTE: Route = Route::ReadView;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Read))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let answer = media::of_answer(&request.headers)?;
        let mut body = body(call, &request, false)?;
        let (features, options) = (body.features.take(), body.options);
        let entities = entities(body)?;
        let mut on = call.on(&self.tenant, Right::Read)?;
        let table = on.read_view(&self.view, features.as_deref(), entities, options.max_age).await?;
        reply(&table, options, answer)
    }
}

fn body(call: &Call, request: &Request, any_view: bool) -> Result<ReadBody, Refusal> {
    media::json_body(&request.headers)?;
    let bounds = Bounds::new(&call.live.settings.limits);
    json::read(&request.body, &bounds, ReadSeed { bounds: &bounds, any_view })
}

fn entities(body: ReadBody) -> Result<Vec<feature_core::EntityKey>, Refusal> {
    body.entities.ok_or_else(|| Refusal::invalid("`entities` is missing"))
}

fn reply(table: &Table, options: ReadOptions, answer: Media) -> Result<Reply, Refusal> {
    match answer {
        Media::Json => Ok(Reply::json(json::encode::table(table, options))),
        Media::Arrow => Ok(Reply::new(StatusCode::OK, media::ARROW, arrow::encode::table(table, options)?)),
    }
}
