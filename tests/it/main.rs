//! Tests.

mod google_contract;
mod telegram_contract;
mod tidy;
mod vault;
