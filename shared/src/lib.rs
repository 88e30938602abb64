//! Shared.

#[cfg(feature = "http")]
pub mod http;
