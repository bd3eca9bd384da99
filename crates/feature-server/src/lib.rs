#![doc = include_str!("../README.md")]

mod activity;
mod admin;
mod auth;
mod calls;
mod console;
mod feast;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod http;
mod kept;
mod listen;
mod live;
mod metrics;
mod observe;
mod opener;
mod server;
pub mod settings;

pub use auth::{KeyHash, NewKey, Right, Rights, new_key};
pub use metrics::install_metrics;
pub use opener::Opener;
pub use server::{Server, ServerHandle, Serving};
