//! The library that NBHD United's functions share.
//!
//! Dependencies run one way: `flows` → {`store`, `queue`, `providers`} → `domain`. A function names the features it
//! needs, so that a function without a table, a vault or a TLS client does not carry that client.

mod aws;
pub mod clock;
pub mod config;
pub mod domain;
pub mod flows;
pub mod http;
mod parameters;
pub mod providers;
#[cfg(feature = "queue")]
pub mod queue;
#[cfg(feature = "store")]
pub mod store;
pub mod telemetry;
#[cfg(feature = "tokens")]
pub mod tokens;
#[cfg(feature = "web")]
pub mod web;
