//! A server in this process, over stores in memory, and a client.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "tests share this, and each uses a part")]

pub(crate) mod asks;
pub(crate) mod grpc;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use feature_core::{Clock, Error, ManualClock, OnlineStoreBackend, Timestamp};
use feature_server::{Server, ServerHandle, Serving};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use store_testkit::MapStore;
use store_unified::{SettingsFormat, SettingsReader, UnifiedFeatureStore};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// When it is, for every store of the tests.
pub(crate) const NOW: &str = "2026-06-01T00:00:00Z";

pub(crate) const VIEWS: &str = "
feature_views:
  - name: customers
    entities: [customer_id]
    features: { orders: int64, country: string, score: float64, seen: timestamp, tags: 'list<string>' }
    max_age: 30d
  - { name: devices, entities: [device_id], features: { logins: int64, country: string } }
  - { name: pairs, entities: [customer_id, device_id], features: { together: bool } }
feature_services:
  - { name: fraud, features: ['customers:orders', 'customers:country', 'devices:*'] }
";

/// Settings: one store in memory, these lines for the server, and the views of the tests.
pub(crate) fn settings(server: &str) -> String {
    format!(
        "stores: {{ main: 'memory:' }}\nserver:\n  listen: 127.0.0.1:0\n  admin: 127.0.0.1:0\n{server}\n{VIEWS}"
    )
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(NOW.parse().unwrap())
}

pub(crate) fn map_store() -> Arc<dyn OnlineStoreBackend> {
    Arc::new(MapStore::new(Arc::new(clock())))
}

/// What settings come to, over this store.
pub(crate) async fn serving(
    text: &str,
    backend: &Arc<dyn OnlineStoreBackend>,
    clock: impl Clock + Clone,
) -> Result<Serving, Error> {
    let reader = SettingsReader::new(SettingsFormat::Yaml);
    let (settings, server) = feature_server::settings::read(&reader, text)?;
    let store: UnifiedFeatureStore =
        settings.open(async |_| Ok::<_, Error>(Arc::clone(backend)), clock.clone()).await?;
    Ok(Serving::new(store, &settings, server, clock))
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) handle: ServerHandle,
    pub(crate) backend: Arc<dyn OnlineStoreBackend>,
    task: JoinHandle<feature_core::Result<()>>,
}

impl Running {
    /// With these lines in the section `server`.
    pub(crate) async fn start(server: &str) -> Self {
        Self::with(&settings(server), map_store()).await
    }

    pub(crate) async fn with(settings: &str, backend: Arc<dyn OnlineStoreBackend>) -> Self {
        let serving = serving(settings, &backend, clock()).await.unwrap();
        Self::of(Server::bind(serving, None).await.unwrap(), backend)
    }

    pub(crate) fn of(server: Server, backend: Arc<dyn OnlineStoreBackend>) -> Self {
        let address = server.address().unwrap();
        let admin = server.admin_address().unwrap().unwrap_or(address);
        let handle = server.handle();
        Self { address, admin, handle, backend, task: tokio::spawn(server.run()) }
    }

    pub(crate) fn client(&self) -> Client {
        Client { address: self.address, headers: HeaderMap::new() }
    }

    /// Stops it, and waits for its end.
    pub(crate) async fn stop(self) {
        self.handle.stop();
        self.task.await.unwrap().unwrap();
    }
}

/// Asks a server; each request over a connection of its own.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) headers: HeaderMap,
}

/// What it was told.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body of an answer that must be good.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The problem that an answer must be: status and kind.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["kind"], kind, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Client {
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    #[must_use]
    pub(crate) fn key(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Reply { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        let client = match self.headers.contains_key("content-type") {
            true => self.clone(),
            false => self.clone().with("content-type", "application/json"),
        };
        client.send(Method::POST, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn delete(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.clone().with("content-type", "application/json").send(Method::DELETE, path, body).await
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
