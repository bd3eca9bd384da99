#![doc = include_str!("../README.md")]

mod backend;
mod cache;
mod config;
mod connect;
mod engine;
mod error;
mod key;
mod read;
mod reclaim;
mod scan;
mod write;
mod writer;

pub use backend::{CompactReport, EmbeddedOnlineStore, MAX_KEY_BYTES, MAX_RECORD_BYTES, VerifyReport};
pub use config::{Durability, EmbeddedConfig};
