//! From a checkout to what Stripe's events make of a tenant.

mod once;
mod order;
mod present;
mod session;
mod store;
mod webhook;
pub(crate) mod world;
