//! Scans: all rows of a view, as they are found.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use feature_core::{Error, FeatureRow, FeatureStatus, RecordKey, Timestamp};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tonic::Status;
use tonic::server::{Grpc, ServerStreamingService};

use super::call::{Arrived, Kind, once, run};
use super::codec::Raw;
use super::measure::SMALL;
use super::proto::fstore as pb;
use super::value::one;
use crate::auth::Right;
use crate::calls::Refusal;
use crate::live::State as Server;
use crate::observe::Route;

/// How many rows a message has, at most.
const ROWS: usize = 64;

type Messages = BoxStream<'static, Result<Vec<u8>, Status>>;

/// `Scan`.
pub(super) async fn scan(
    State(server): State<Arc<Server>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    run(server, Route::Scan, Kind::Answers, request, |arrived, request| async move {
        let limit = arrived.call.live.settings.limits.body;
        let service = Scan(Some(arrived));
        Grpc::new(Raw).max_decoding_message_size(limit).server_streaming(service, request).await
    })
    .await
}

struct Scan(Option<Arrived>);

impl ServerStreamingService<Bytes> for Scan {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let message = request.into_inner();
        let mut scan = self.0.take().map(|arrived| move |()| rows(arrived, message));
        async move { once(&mut scan, ()).await.map(tonic::Response::new) }.boxed()
    }
}

async fn rows(mut arrived: Arrived, message: Bytes) -> Result<Messages, Status> {
    let refusing = arrived.refusing.clone();
    let found = found(&mut arrived, &message).map_err(|refusal| refusing.status(refusal))?;
    Ok(found.ready_chunks(ROWS).map(|rows| Ok(of_rows(rows).encode_to_vec())).boxed())
}

type Found = BoxStream<'static, Result<(RecordKey, FeatureRow), Error>>;

fn found(arrived: &mut Arrived, message: &Bytes) -> Result<Found, Refusal> {
    let call = &mut arrived.call;
    let request: pb::ScanRequest = Arrived::decode(&mut call.memory, message, &SMALL)?;
    let rows = call.on(&request.tenant, Right::Read)?.scan(&request.view)?;
    let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(rows.take(limit).boxed())
}

fn of_rows(found: Vec<Result<(RecordKey, FeatureRow), Error>>) -> pb::ScanResponse {
    let mut response = pb::ScanResponse::default();
    for row in found {
        match row {
            Ok((key, row)) => response.rows.push(of_row(&key, &row)),
            Err(error) => response.errors.push(pb::RecordError {
                record: error.key().unwrap_or_default().to_owned(),
                kind: error.kind().name().to_owned(),
                message: error.message().to_owned(),
            }),
        }
    }
    response
}

fn of_row(key: &RecordKey, row: &FeatureRow) -> pb::ScannedRow {
    let served = row.iter().filter(|(_, status, _)| *status != FeatureStatus::OutsideMaxAge);
    pb::ScannedRow {
        entity: key
            .entity()
            .join_keys()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect(),
        features: served.map(|(name, _, value)| (name.to_owned(), one(value))).collect(),
        event_time_micros: row.timestamp.as_micros(),
        expires_at_micros: row.expires_at.map(Timestamp::as_micros),
    }
}
