//! Writes, deletes and purges.

use feature_core::EntityKey;
use hyper::StatusCode;
use serde::Deserialize;

use super::json::{self, Bounds, DeleteSeed, WriteSeed};
use super::media::{self, Media};
use super::{Access, Endpoint, Reply, Request, arrow};
use crate::auth::Right;
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// `POST /v1/tenants/{tenant}/views/{view}/write`.
#[derive(Deserialize)]
pub(super) struct Write {
    tenant: String,
    view: String,
}

impl Endpoint for Write {
    const ROUTE: Route = Route::Write;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Write))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let language = media::of_body(&request.headers)?;
        let limits = call.live.settings.limits;
        let mut on = call.on(&self.tenant, Right::Write)?;
        let view = on.declared(&self.view)?;
        let rows = match language {
            Media::Json => {
                let bounds = Bounds::new(&limits);
                json::read(&request.body, &bounds, WriteSeed { bounds: &bounds, view })?
            }
            Media::Arrow => {
                let options = arrow::decode::Options::of_query(request.query.as_deref())?;
                arrow::decode::rows(&request.body, view, &options, &limits)?
            }
        };
        let written = on.write(&self.view, rows).await?;
        let failed = written.rows.iter().any(Result::is_err);
        Ok(partly(failed, json::encode::written(&written)))
    }
}

/// `POST /v1/tenants/{tenant}/views/{view}/delete`.
#[derive(Deserialize)]
pub(super) struct Delete {
    tenant: String,
    view: String,
}

impl Endpoint for Delete {
    const ROUTE: Route = Route::Delete;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Write))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let entities = entities(call, &request)?;
        let rows = call.on(&self.tenant, Right::Write)?.delete(&self.view, &entities).await?;
        Ok(partly(rows.iter().any(Result::is_err), json::encode::deleted(&rows)))
    }
}

/// `DELETE /v1/tenants/{tenant}/entities`: an entity's records in every view that has its join keys.
#[derive(Deserialize)]
pub(super) struct Forget {
    tenant: String,
}

impl Endpoint for Forget {
    const ROUTE: Route = Route::Forget;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Write))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let entities = entities(call, &request)?;
        let views = call.on(&self.tenant, Right::Write)?.forget(&entities).await?;
        let failed = views.iter().flat_map(|view| &view.rows).any(|(_, row)| row.is_err());
        Ok(partly(failed, json::encode::forgotten(&views)))
    }
}

/// `DELETE /v1/tenants/{tenant}/views/{view}`: all records of a view.
#[derive(Deserialize)]
pub(super) struct PurgeView {
    tenant: String,
    view: String,
}

impl Endpoint for PurgeView {
    const ROUTE: Route = Route::PurgeView;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Admin))
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        purge(call, &self.tenant, Some(&self.view)).await
    }
}

/// `DELETE /v1/tenants/{tenant}`: all records of a tenant.
#[derive(Deserialize)]
pub(super) struct PurgeTenant {
    tenant: String,
}

impl Endpoint for PurgeTenant {
    const ROUTE: Route = Route::PurgeTenant;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Admin))
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        purge(call, &self.tenant, None).await
    }
}

async fn purge(call: &mut Call, tenant: &str, view: Option<&str>) -> Result<Reply, Refusal> {
    let removed = call.on(tenant, Right::Admin)?.purge(view).await?;
    Ok(Reply::json(serde_json::json!({ "removed": removed }).to_string()))
}

fn entities(call: &Call, request: &Request) -> Result<Vec<EntityKey>, Refusal> {
    media::json_body(&request.headers)?;
    let bounds = Bounds::new(&call.live.settings.limits);
    json::read(&request.body, &bounds, DeleteSeed(&bounds))
}

/// An answer about rows some of which may have failed.
fn partly(failed: bool, body: Vec<u8>) -> Reply {
    let status = if failed { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    Reply::new(status, media::JSON, body)
}
