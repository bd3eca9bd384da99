#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

pub mod bench;
mod broken;
mod case;
mod factory;
mod faults;
mod harness;
pub mod history;
pub mod load;
mod map_store;
mod model;
mod proxy;
mod server_tests;
pub mod servers;
pub mod storm;
mod suite;
mod unhurried;
mod writing;

pub use async_trait::async_trait;
pub use broken::{BrokenStore, Flaw};
pub use factory::{BackendFactory, Data};
pub use faults::{Call, Fault, FaultyBackend, Operation};
pub use harness::{CaseResult, Verdict, conformance, conformance_of, run_cases};
pub use map_store::MapStore;
pub use model::{Model, ModelFeature, ModelRow};
pub use proxy::Proxy;
pub use server_tests::{ServerTests, TestFailure};

/// The examples of the guide are compiled and run as they are.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adding-a-backend.md")]
struct Guide;
