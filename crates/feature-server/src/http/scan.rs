//! Scans: all rows of a view, as they are found.

use bytes::Bytes;
use feature_core::Error;
use futures::StreamExt;
use hyper::StatusCode;
use serde::Deserialize;

use super::json::encode;
use super::{Access, Content, Endpoint, Reply, Request, media};
use crate::auth::Right;
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// How many rows are written at a time.
const ROWS: usize = 64;

/// `GET /v1/tenants/{tenant}/views/{view}/scan`.
#[derive(Deserialize)]
pub(super) struct Scan {
    tenant: String,
    view: String,
}

impl Endpoint for Scan {
    const ROUTE: Route = Route::Scan;

    fn access(&self, _: &Call) -> Result<Access, Refusal> {
        Ok(Access::Tenant(self.tenant.clone(), Right::Read))
    }

    async fn handle(self, call: &mut Call, request: Request) -> Result<Reply, Refusal> {
        let limit = limit(request.query.as_deref())?;
        let rows = call.on(&self.tenant, Right::Read)?.scan(&self.view)?;
        let pieces = rows.take(limit).ready_chunks(ROWS).map(|rows| {
            let mut lines = Vec::new();
            for row in rows {
                match row {
                    Ok((key, row)) => encode::scanned(&mut lines, &key, &row),
                    Err(error) => encode::unscanned(&mut lines, &error),
                }
            }
            Ok::<_, Error>(Bytes::from(lines))
        });
        let content = Content::Stream(pieces.boxed());
        Ok(Reply { status: StatusCode::OK, media_type: Some(media::NDJSON), headers: Vec::new(), content })
    }
}

/// `limit=N` of the query.
fn limit(query: Option<&str>) -> Result<usize, Refusal> {
    let mut limit = usize::MAX;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        limit = match pair.split_once('=') {
            Some(("limit", number)) => {
                number.parse().map_err(|_| Refusal::invalid("`limit` is not a whole number"))?
            }
            _ => return Err(Refusal::invalid("unknown parameter in the query; known is `limit`")),
        };
    }
    Ok(limit)
}
