//! What the reconciler makes of a tenant, whatever happens meanwhile.

mod change;
mod inventory;
mod kill;
mod late;
mod obstacles;
mod provisioning;
pub(crate) mod world;
