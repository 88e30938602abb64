//! Tests.

mod forward;
mod forward_world;
mod google_contract;
mod google_sim;
mod google_world;
mod relay;
mod telegram_contract;
mod template;
mod tidy;
mod vault;
mod webhook;
mod webhook_commands;
mod webhook_input;
mod webhook_world;
