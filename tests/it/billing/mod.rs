//! From a checkout to what Stripe's events make of a tenant.

mod once;
mod order;
mod present;
mod session;
mod store;
mod trial;
mod webhook;
pub(crate) mod world;
