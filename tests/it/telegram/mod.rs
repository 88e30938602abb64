//! From an update of Telegram's to a container, and back through the relay.

mod forward;
mod forward_alarms;
mod forward_kill;
mod forward_notices;
pub(crate) mod forward_world;
mod load;
mod relay;
mod webhook;
mod webhook_commands;
mod webhook_input;
mod webhook_keyboards;
mod webhook_strangers;
pub(crate) mod webhook_world;
