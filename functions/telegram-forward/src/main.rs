//! Wiring of `telegram-forward`.
fn main() {}
