//! Every decoder of bodies: whatever the bytes are, there are rows within the limits, or a refusal that says why.

use feature_core::FeatureView;

use crate::calls::{Budget, Refusal, Reservation};
use crate::settings::Limits;
use crate::{feast, grpc, http};

/// A property of any bytes; a panic is an exception to it.
pub type Body = fn(&[u8]);

/// Every body by the name of its fuzz target.
pub const BODIES: [(&str, Body); 4] = [
    ("server_arrow", http::fuzz::arrow),
    ("server_feast", feast::fuzz::json),
    ("server_grpc", grpc::fuzz::messages),
    ("server_json", http::fuzz::json),
];

/// So little that mutations reach it.
pub(crate) const LIMITS: Limits = Limits {
    body: 1 << 20,
    rows: 20,
    cells: 100,
    response: 1 << 20,
    in_flight: 1,
    ingests: 1,
    connections: 1,
    memory: 1 << 20,
};

/// A view with features of different kinds.
pub(crate) fn view() -> Option<FeatureView> {
    let yaml = "feature_views: [{ name: v, entities: [id], features: { a: int64, b: 'list<float32>', c: map, d: timestamp } }]";
    FeatureView::from_yaml(yaml).ok()?.pop()
}

pub(crate) fn memory() -> Reservation {
    Budget::new(LIMITS.memory).reserve()
}

/// What was understood stays within the limits, and what was not says why.
pub(crate) fn check<T>(outcome: Result<T, Refusal>, rows: impl Fn(&T) -> usize) {
    match outcome {
        Ok(read) => assert!(rows(&read) <= LIMITS.rows),
        Err(refusal) => assert!(!refusal.error().message().is_empty()),
    }
}
