#![doc = include_str!("../README.md")]

mod backend;
mod check;
mod cluster;
mod config;
mod connect;
mod dial;
mod error;
mod joint;
mod key;
mod progress;
mod read;
mod request;
mod resp;
mod router;
mod scan;
mod sentinel;
mod wire;
mod write;

pub use backend::{MAX_RECORD_BYTES, RedisOnlineStore};
pub use config::{RedisConfig, SentinelConfig, TlsConfig};
