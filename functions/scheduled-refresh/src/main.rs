//! Wiring of `scheduled-refresh`.
fn main() {}
