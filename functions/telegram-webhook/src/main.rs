//! Wiring of `telegram-webhook`.
fn main() {}
