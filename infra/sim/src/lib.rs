//! The vendors as small, stateful HTTP servers on loopback ports.
//!
//! A simulator checks credentials, keeps state, refuses what its vendor refuses, fails on demand, and writes every
//! request and answer into a [`journal::Journal`]. Production code runs against it unchanged: only base URLs differ.

pub mod arm;
pub mod azure;
#[cfg(feature = "contracts")]
pub mod contracts;
pub mod entra;
pub mod faults;
pub mod gateway;
pub mod google;
pub mod interruption;
pub mod item;
pub mod journal;
pub mod key_vault;
pub mod model_gateway;
mod outgoing;
mod proxy;
pub mod pump;
pub mod rights;
pub mod runtime;
pub mod server;
pub mod sqs;
pub mod stripe;
pub mod sts;
pub mod table;
pub mod telegram;
pub mod testbed;
pub mod tls;
