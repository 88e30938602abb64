//! From a link to an integration, and every other end.

mod connect;
mod endings;
mod kill;
mod reconnect;
mod tokens;
mod twice;
mod undo;
pub(crate) mod world;
