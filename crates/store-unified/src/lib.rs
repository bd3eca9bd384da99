#![doc = include_str!("../README.md")]

pub mod observe;
mod store;
mod wrappers;

pub use store::{
    Decision, Destination, RouteRule, StoreRule, UnifiedFeatureStore, UnifiedFeatureStoreBuilder,
};
pub use wrappers::{Pattern, Quota, Quotas, Route, Routed};
