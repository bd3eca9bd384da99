#![doc = include_str!("../README.md")]

mod backend;
mod batch;
mod cluster;
mod config;
mod connect;
mod error;
mod filter;
mod health;
mod info;
mod key;
mod read;
mod scan;
mod value;
mod write;

pub use backend::AerospikeOnlineStore;
pub use config::{AerospikeConfig, Auth, SetLayout, TlsConfig};
pub use key::MAX_KEY_BYTES;
pub use write::MAX_TTL;
