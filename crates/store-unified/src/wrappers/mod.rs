//! Backends that wrap backends. Each does one thing, works over any store, and passes the conformance suite.

mod breaker;
mod budget;
mod cached;
mod circuit;
mod fallback;
mod foreign;
mod hedged;
mod limited;
mod mirrored;
mod observed;
pub mod provenance;
mod quotas;
mod race;
mod retrying;
mod routed;
pub(crate) mod rows;
pub(crate) mod settle;
#[cfg(test)]
mod testing;
mod trouble;

pub use breaker::CircuitSettings;
pub use cached::{CacheSettings, CacheStats, Cached};
pub use circuit::Circuit;
pub use fallback::{Fallback, FallbackSettings};
pub use hedged::{HedgeSettings, Hedged};
pub use limited::{LimitSettings, Limited};
pub use mirrored::{MirrorSettings, Mirrored};
pub use observed::Observed;
pub use quotas::{Quota, Quotas};
pub use retrying::{RetrySettings, Retrying};
pub use routed::{Route, Routed};
