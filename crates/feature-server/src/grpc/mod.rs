//! gRPC: `fstore.v1.FeatureStore`, Feast's serving service, health and reflection. The messages are in
//! `proto/`; what a call does is what HTTP does, see [`calls`](crate::calls).

mod body;
mod call;
mod codec;
mod describe;
mod entities;
mod feast;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod measure;
mod note;
mod proto;
mod read;
mod rows;
mod scan;
mod service;
mod status;
mod stream;
mod value;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::live::State;
use call::unary;
pub(crate) use call::{is_call, unknown_method};

pub(crate) fn router(state: &Arc<State>) -> Router<Arc<State>> {
    Router::new()
        .route("/fstore.v1.FeatureStore/Read", post(unary::<read::Read>))
        .route("/fstore.v1.FeatureStore/Write", post(unary::<write::Write>))
        .route("/fstore.v1.FeatureStore/WriteStream", post(stream::write_stream))
        .route("/fstore.v1.FeatureStore/Delete", post(unary::<write::Delete>))
        .route("/fstore.v1.FeatureStore/Purge", post(unary::<write::Purge>))
        .route("/fstore.v1.FeatureStore/Scan", post(scan::scan))
        .route("/fstore.v1.FeatureStore/Describe", post(unary::<describe::Describe>))
        .route("/feast.serving.ServingService/GetFeastServingInfo", post(unary::<feast::GetFeastServingInfo>))
        .route("/feast.serving.ServingService/GetOnlineFeatures", post(unary::<feast::GetOnlineFeatures>))
        .merge(service::router(state))
}
