#![doc = include_str!("../README.md")]

mod backend;
mod batch;
mod config;
mod connect;
mod error;
mod filter;
mod health;
mod key;
mod link;
mod read;
mod scan;
mod value;
mod write;

pub use backend::{AerospikeOnlineStore, MAX_KEY_BYTES, MAX_TTL};
pub use config::{AerospikeConfig, Auth, SetLayout, TlsConfig};
