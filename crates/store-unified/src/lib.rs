#![doc = include_str!("../README.md")]

mod store;
mod wrappers;

pub use store::{
    Decision, Destination, RouteRule, StoreRule, UnifiedFeatureStore, UnifiedFeatureStoreBuilder,
};
pub use wrappers::{Pattern, Route, Routed};
