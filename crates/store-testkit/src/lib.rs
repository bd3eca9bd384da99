//! The conformance kit: what a backend of the online feature store must do, as a suite of named cases.
//!
//! A backend joins with a test target of its own, `harness = false`, of a few lines:
//!
//! ```no_run
//! use std::{process::ExitCode, sync::Arc};
//! use feature_core::{Clock, OnlineStoreBackend};
//! use store_testkit::{BackendFactory, MapStore, async_trait, conformance};
//!
//! struct Factory;
//!
//! #[async_trait]
//! impl BackendFactory for Factory {
//!     fn name(&self) -> &'static str {
//!         "map"
//!     }
//!
//!     async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
//!         Ok(Arc::new(MapStore::new(clock)))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     conformance(Factory)
//! }
//! ```
//!
//! Each case has tenants of its own, so suites share a server and run side by side, and a manual clock, so
//! that expiry is tested to the microsecond. Where a backend cannot be had (no server, say) its cases show
//! as ignored with the reason; `FSTORE_REQUIRE=redis,aerospike` makes that a failure.
//! [`conformance_of`] runs the suite over several backends in one target.
//!
//! Besides the suite: [`MapStore`], a small complete backend to read; [`FaultyBackend`], which makes any
//! backend fail on demand; [`BrokenStore`], stores that break one promise each, to test the suite itself;
//! [`servers`], which gets a Redis or Aerospike server from the environment, a container or the `PATH`, and
//! does harm to it; [`load`], which writes and reads meanwhile and proves that nothing is lost; [`storm`],
//! very many writes at shuffled times, after which every feature must be the newest.

pub mod bench;
mod broken;
mod case;
mod factory;
mod faults;
mod harness;
pub mod load;
mod map_store;
mod model;
mod proxy;
mod server_tests;
pub mod servers;
pub mod storm;
mod suite;
mod unhurried;

pub use async_trait::async_trait;
pub use broken::{BrokenStore, Flaw};
pub use factory::BackendFactory;
pub use faults::{Call, Fault, FaultyBackend, Operation};
pub use harness::{CaseResult, conformance, conformance_of, run_cases};
pub use map_store::MapStore;
pub use model::{Model, ModelFeature, ModelRow};
pub use proxy::Proxy;
pub use server_tests::{ServerTests, TestFailure};

/// The examples of the guide are compiled and run as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adding-a-backend.md")]
struct Guide;
