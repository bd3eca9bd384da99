//! What the section `server` of a settings file says. `docs/serving.md` explains it.

mod auth;
pub(crate) mod differences;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use feature_core::ValueType;

pub use auth::{AuthSettings, ClientEntry, Grant, JwksSource, JwtSettings, KeyEntry};
pub use read::read;

/// How the server listens, whom it lets in, and how much it takes on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Where requests are answered. Default 127.0.0.1:6566.
    pub listen: SocketAddr,
    /// Where metrics and health are; `None` is nowhere. Default 127.0.0.1:6567.
    pub admin: Option<SocketAddr>,
    /// Whether it may listen beyond this machine without `auth`.
    pub insecure: bool,
    /// Certificates; `None` is plain TCP.
    pub tls: Option<TlsSettings>,
    /// Who is let in; `None` is everybody, with every right.
    pub auth: Option<AuthSettings>,
    /// How much one request, and all of them, may be.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What Feast's protocol does not say by itself.
    pub feast: FeastSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: local(6566),
            admin: Some(local(6567)),
            insecure: false,
            tls: None,
            auth: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            feast: FeastSettings::default(),
        }
    }
}

/// TLS on the data port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities that issue certificates of clients, PEM; `None` asks clients for none.
    pub client_authorities: Option<PathBuf>,
}

/// How much one request, and all of them, may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body. Default 8 MiB.
    pub body: usize,
    /// Entities of a read, rows of a write. Default 10,000.
    pub rows: usize,
    /// Rows times features of a read; values of a write, counting each element of a list. Default 1,000,000.
    pub cells: usize,
    /// Bytes of an answer. Default 64 MiB.
    pub response: usize,
    /// Requests that are worked on at a time. Default 1024.
    pub in_flight: usize,
    /// Streams of rows that are taken in over HTTP at a time. Default 4.
    pub ingests: usize,
    /// Connections to the data port. Default 10,000.
    pub connections: usize,
    /// Bytes that all requests and answers in flight may take together. Default 128 MiB.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            rows: 10_000,
            cells: 1_000_000,
            response: 64 << 20,
            in_flight: 1024,
            ingests: 4,
            connections: 10_000,
            memory: 128 << 20,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the head of a request, or the handshake of TLS, is there. Default 10 s.
    pub header: Duration,
    /// Of a connection on which nothing goes on. Default 75 s.
    pub idle: Duration,
    /// Until a client has taken some more of its answer. Default 20 s.
    pub write: Duration,
    /// The longest deadline that a request may ask for, and the time in which its body must be there.
    /// Default 30 s.
    pub request: Duration,
    /// How long requests in flight may take to finish when the server is told to stop. Default 30 s.
    pub drain: Duration,
    /// From when on a request is logged as slow. Default 500 ms.
    pub slow: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(20),
            request: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            slow: Duration::from_millis(500),
        }
    }
}

/// What Feast's protocol does not say by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeastSettings {
    /// Whose features requests are about where their principal has not exactly one tenant.
    pub tenant: Option<String>,
    /// The project's name, as errors show it. Empty is the tenant's name.
    pub project: String,
    /// The view that each push source writes to. A push source that is not here is a view of its name.
    pub push_sources: BTreeMap<String, String>,
    /// The types of join keys, for the entities that an answer repeats. A join key that is not here is
    /// repeated as it was sent.
    pub join_keys: BTreeMap<String, ValueType>,
}
