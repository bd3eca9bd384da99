//! Scans: all rows of a view, as they are found.

use bytes::Bytes;
use feature_core::{Error, FeatureRow, RecordKey};
use futures::stream::{self, Stream, StreamExt};
use hyper::StatusCode;
use serde::Deserialize;

use super::arrow::scan::Batches;
use super::json::encode;
use super::media::Media;
use super::{Access, Content, Endpoint, Reply, Request, media};
use crate::auth::Right;
use crate::calls::{Call, Refusal};
use crate::observe::Route;

/// How many rows are written at a time.
const ROWS: usize = 64;
/// How many rows a record batch has at most.
const ARROW_ROWS: usize = 1_024;

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
        let tenant = call.on(&self.tenant, Right::Read)?;
        let rows = tenant.scan(&self.view)?.take(limit);
        if matches!(media::of_answer(&request.headers), Ok(Media::Arrow)) {
            let view = tenant.declared(&self.view)?.ok_or_else(|| {
                Refusal::invalid("Arrow needs types: declare the feature view, or ask for NDJSON")
            })?;
            let content = Content::Stream(batches(rows, Batches::new(view)?).boxed());
            let media_type = Some(media::ARROW);
            return Ok(Reply { status: StatusCode::OK, media_type, headers: Vec::new(), content });
        }
        let pieces = rows.ready_chunks(ROWS).map(|rows| {
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

/// The rows as Arrow, and the end of the stream after the last.
fn batches(
    rows: impl Stream<Item = feature_core::Result<(RecordKey, FeatureRow)>> + Send + 'static,
    batches: Batches,
) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    let begun = (rows.ready_chunks(ARROW_ROWS).boxed(), Some(batches));
    stream::unfold(begun, |(mut rows, batches)| async move {
        let mut batches = batches?;
        match rows.next().await {
            Some(chunk) => {
                let bytes = batches.next(&chunk);
                Some((bytes, (rows, Some(batches))))
            }
            None => Some((batches.end(), (rows, None))),
        }
    })
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
