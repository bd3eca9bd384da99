//! What can be measured of the server. `docs/serving.md` lists the metrics.

use std::sync::OnceLock;
use std::time::Duration;

use feature_core::ErrorKind;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::calls::{Cause, Refusal};

/// What a request is about, whatever its protocol: the value of the label `route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Read,
    ReadView,
    Write,
    Ingest,
    Delete,
    Forget,
    PurgeView,
    PurgeTenant,
    Scan,
    Views,
    Services,
    Destination,
    Docs,
    FeastRead,
    FeastPush,
    FeastWrite,
    FeastHealth,
    FeastMaterialize,
    Purge,
    WriteStream,
    Describe,
    FeastInfo,
    Health,
    Reflection,
    Unknown,
}

impl Route {
    const NUMBER: usize = Self::Unknown as usize + 1;

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadView => "read_view",
            Self::Write => "write",
            Self::Ingest => "ingest",
            Self::Delete => "delete",
            Self::Forget => "delete_entities",
            Self::PurgeView => "purge_view",
            Self::PurgeTenant => "purge_tenant",
            Self::Scan => "scan",
            Self::Views => "views",
            Self::Services => "services",
            Self::Destination => "route",
            Self::Docs => "docs",
            Self::FeastRead => "feast_get_online_features",
            Self::FeastPush => "feast_push",
            Self::FeastWrite => "feast_write_to_online_store",
            Self::FeastHealth => "feast_health",
            Self::FeastMaterialize => "feast_materialize",
            Self::Purge => "purge",
            Self::WriteStream => "write_stream",
            Self::Describe => "describe",
            Self::FeastInfo => "feast_get_serving_info",
            Self::Health => "health",
            Self::Reflection => "reflection",
            Self::Unknown => "unknown",
        }
    }
}

/// Why something was not let in: the value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// `limits.connections`.
    Connections,
    /// `limits.in_flight` or `limits.memory`.
    Busy,
    /// Beyond another limit.
    TooLarge,
    /// No credentials that the settings know.
    Unauthenticated,
    /// Credentials without the right.
    Denied,
}

impl Turned {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Connections, "connections"),
        (Self::Busy, "busy"),
        (Self::TooLarge, "too_large"),
        (Self::Unauthenticated, "unauthenticated"),
        (Self::Denied, "denied"),
    ];
}

/// The statuses that are counted by themselves; any other counts as the last.
const STATUSES: [u16; 17] =
    [200, 207, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 501, 503, 504, 500];

/// The names of gRPC's codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

type ByStatus<T> = [OnceLock<T>; STATUSES.len()];

/// The metrics of the server; each is looked up once.
pub(crate) struct ServerMetrics {
    requests: [ByStatus<Counter>; Route::NUMBER],
    seconds: [OnceLock<Histogram>; Route::NUMBER],
    calls: [[OnceLock<Counter>; CODES.len()]; Route::NUMBER],
    call_seconds: [OnceLock<Histogram>; Route::NUMBER],
    bytes_in: Counter,
    bytes_out: Counter,
    turned: [Counter; Turned::ALL.len()],
    pub(crate) connections: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) memory: Gauge,
    pub(crate) reloads: Counter,
}

impl ServerMetrics {
    /// Those of the recorder that is installed now.
    pub(crate) fn new() -> Self {
        describe_counter!("fstore_http_requests_total", Unit::Count, "requests by route and HTTP status");
        describe_histogram!(
            "fstore_http_request_seconds",
            Unit::Seconds,
            "how long a request took, until its answer was made"
        );
        describe_counter!("fstore_grpc_requests_total", Unit::Count, "calls of gRPC by route and code");
        describe_histogram!(
            "fstore_grpc_request_seconds",
            Unit::Seconds,
            "how long a call of gRPC took, until its answer was made"
        );
        describe_counter!("fstore_http_received_bytes_total", Unit::Bytes, "bytes of the bodies of requests");
        describe_counter!("fstore_http_sent_bytes_total", Unit::Bytes, "bytes of the bodies of answers");
        describe_counter!(
            "fstore_http_turned_away_total",
            Unit::Count,
            "connections and requests that were not let in, and why"
        );
        describe_gauge!("fstore_http_connections", Unit::Count, "connections to the data port");
        describe_gauge!("fstore_http_in_flight", Unit::Count, "requests that are worked on");
        describe_gauge!(
            "fstore_http_memory_bytes",
            Unit::Bytes,
            "what requests and answers in flight have reserved of limits.memory"
        );
        describe_counter!("fstore_reloads_total", Unit::Count, "times that new settings were taken");
        Self {
            requests: Default::default(),
            seconds: Default::default(),
            calls: std::array::from_fn(|_| Default::default()),
            call_seconds: Default::default(),
            bytes_in: counter!("fstore_http_received_bytes_total"),
            bytes_out: counter!("fstore_http_sent_bytes_total"),
            turned: Turned::ALL
                .map(|(_, reason)| counter!("fstore_http_turned_away_total", "reason" => reason)),
            connections: gauge!("fstore_http_connections"),
            in_flight: gauge!("fstore_http_in_flight"),
            memory: gauge!("fstore_http_memory_bytes"),
            reloads: counter!("fstore_reloads_total"),
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, route: Route, status: u16, took: Duration, received: usize, sent: usize) {
        let at = STATUSES.iter().position(|own| *own == status).unwrap_or(STATUSES.len() - 1);
        let new = || {
            let status = STATUSES[at].to_string();
            counter!("fstore_http_requests_total", "route" => route.name(), "status" => status)
        };
        self.requests[route as usize][at].get_or_init(new).increment(1);
        let new = || histogram!("fstore_http_request_seconds", "route" => route.name());
        self.seconds[route as usize].get_or_init(new).record(took.as_secs_f64());
        self.bytes_in.increment(received as u64);
        self.bytes_out.increment(sent as u64);
    }

    /// A call of gRPC was answered.
    pub(crate) fn called(&self, route: Route, code: usize, took: Duration, received: usize, sent: usize) {
        let code = code.min(CODES.len() - 1);
        let new = || counter!("fstore_grpc_requests_total", "route" => route.name(), "code" => CODES[code]);
        self.calls[route as usize][code].get_or_init(new).increment(1);
        let new = || histogram!("fstore_grpc_request_seconds", "route" => route.name());
        self.call_seconds[route as usize].get_or_init(new).record(took.as_secs_f64());
        self.bytes_in.increment(received as u64);
        self.bytes_out.increment(sent as u64);
    }

    /// So much of a body has come that is read as it comes.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.increment(bytes as u64);
    }

    /// A request was not done.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        match (refusal.cause(), refusal.error().kind()) {
            (Cause::Busy, _) => self.turned_away(Turned::Busy),
            (_, ErrorKind::LimitExceeded) => self.turned_away(Turned::TooLarge),
            (_, ErrorKind::PermissionDenied) => self.turned_away(Turned::Denied),
            _ => {}
        }
    }

    /// Something was not let in.
    pub(crate) fn turned_away(&self, why: Turned) {
        self.turned[why as usize].increment(1);
    }
}
