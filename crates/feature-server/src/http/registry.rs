//! What is declared, and where records go.

use feature_core::{FeatureView, format_duration};
use serde::Deserialize;
use serde_json::json;
use store_unified::{FeatureService, Registry};

use super::{Access, Endpoint, Reply, Request};
use crate::auth::Right;
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// `GET /v1/views`.
#[derive(Deserialize)]
pub(super) struct Views {}

impl Endpoint for Views {
    const ROUTE: Route = Route::Views;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Open)
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        let views: Vec<&FeatureView> = call.registry().into_iter().flat_map(Registry::views).collect();
        Ok(Reply::json(json!({ "feature_views": views }).to_string()))
    }
}

/// `GET /v1/services`.
#[derive(Deserialize)]
pub(super) struct Services {}

impl Endpoint for Services {
    const ROUTE: Route = Route::Services;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Open)
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        let services: Vec<&FeatureService> =
            call.registry().into_iter().flat_map(Registry::services).collect();
        Ok(Reply::json(json!({ "feature_services": services }).to_string()))
    }
}

/// `GET /v1/tenants/{tenant}/views/{view}/route`: a dry run.
#[derive(Deserialize)]
pub(super) struct Destination {
    tenant: String,
    view: String,
}

impl Endpoint for Destination {
    const ROUTE: Route = Route::Destination;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Read))
    }

    async fn handle(self, call: &mut Call, _: Request) -> Result<Reply, Refusal> {
        let decision = call.on(&self.tenant, Right::Read)?.route(&self.view)?;
        let fallback = decision
            .to
            .fallback
            .as_ref()
            .map(|(store, settings)| json!({ "store": store, "after": format_duration(settings.after) }));
        let mirror = decision
            .to
            .mirror
            .as_ref()
            .map(|mirror| json!({ "store": mirror.to, "required": mirror.required }));
        let body = json!({
            "store": decision.to.store,
            "rule": decision.rule,
            "fallback": fallback,
            "mirror": mirror,
        });
        Ok(Reply::json(body.to_string()))
    }
}
