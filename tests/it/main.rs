//! Tests.

mod telegram_contract;
