//! What the clock does with integrations: renew, notify, disconnect.

mod disconnect;
mod due;
mod failures;
mod history;
mod notice;
mod tick;
pub(crate) mod world;
