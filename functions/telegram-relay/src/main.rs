//! Wiring of `telegram-relay`.
fn main() {}
