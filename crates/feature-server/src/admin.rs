//! The admin port: metrics, health, version, and the console.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;

use crate::console::{self, Console};
use crate::live::State;

struct Admin {
    state: Arc<State>,
    metrics: Option<PrometheusHandle>,
}

/// Answers on the admin port until it is dropped.
pub(crate) async fn run(
    listener: TcpListener,
    state: Arc<State>,
    metrics: Option<PrometheusHandle>,
    console: Arc<Console>,
) {
    let admin = Arc::new(Admin { state: Arc::clone(&state), metrics });
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .with_state(admin)
        .merge(console::router(console));
    crate::listen::run_admin(listener, state, router).await;
}

async fn render(Shared(admin): Shared<Arc<Admin>>) -> Response {
    let Some(metrics) = &admin.metrics else {
        return (StatusCode::NOT_FOUND, "no recorder of metrics is installed\n").into_response();
    };
    let State { metrics: own, whole, .. } = &*admin.state;
    own.memory.set(whole.memory.taken() as f64);
    own.in_flight.set(whole.in_flight.taken() as f64);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

/// Whether requests are answered: not when the server is about to stop, nor when a store is not there.
async fn ready(Shared(admin): Shared<Arc<Admin>>) -> Response {
    if admin.state.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match admin.state.live().store.check().await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            let text = format!("a store does not answer: {}\n", error.kind());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn version() -> Response {
    let body = json!({ "name": "fstore", "version": env!("CARGO_PKG_VERSION") });
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
