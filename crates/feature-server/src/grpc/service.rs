//! What every server of gRPC has: health, and the description of itself.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use hyper::Request;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tower_service::Service;

use super::body::Metered;
use super::call::{Kind, run};
use super::proto::DESCRIPTORS;
use crate::live::State as Server;
use crate::observe::Route;

/// The services that health tells of, beside the server as a whole.
const SERVICES: [&str; 3] = ["", "fstore.v1.FeatureStore", "feast.serving.ServingService"];

pub(super) fn router(server: &Arc<Server>) -> Router<Arc<Server>> {
    let health = tonic_health::pb::health_server::HealthServer::new(health(server));
    let mut router =
        Router::new().route("/grpc.health.v1.Health/{method}", service(health, Route::Health, true));
    let descriptions = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The older one is what most clients ask for.
    if let (Ok(v1), Ok(v1alpha)) = (descriptions().build_v1(), descriptions().build_v1alpha()) {
        router = router
            .route("/grpc.reflection.v1.ServerReflection/{method}", service(v1, Route::Reflection, false))
            .route(
                "/grpc.reflection.v1alpha.ServerReflection/{method}",
                service(v1alpha, Route::Reflection, false),
            );
    }
    router
}

/// Says that all is well until the server is about to stop.
fn health(server: &Arc<Server>) -> HealthService {
    let reporter = HealthReporter::new();
    let health = HealthService::from_health_reporter(reporter.clone());
    let mut stopping = server.stopping();
    tokio::spawn(async move {
        for service in SERVICES {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        if stopping.wait_for(|stopping| *stopping).await.is_ok() {
            for service in SERVICES {
                reporter.set_service_status(service, ServingStatus::NotServing).await;
            }
        }
    });
    health
}

/// The methods of a service that a library has.
fn service<S>(service: S, route: Route, open: bool) -> axum::routing::MethodRouter<Arc<Server>>
where
    S: Service<Request<Metered>, Response = hyper::Response<tonic::body::Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    post(move |State(server): State<Arc<Server>>, request: Request<Body>| async move {
        let mut service = service.clone();
        run(server, route, Kind::Service(open), request, |_, request| async move {
            let Ok(response) = service.call(request).await;
            response
        })
        .await
    })
}
