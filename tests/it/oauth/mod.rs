//! From a link to an integration, and every other end.

mod confirmation;
mod connect;
mod endings;
mod kill;
mod reconnect;
mod shared_account;
mod tokens;
mod twice;
mod undo;
pub(crate) mod world;
