//! Wiring of `runtime-calendar`.
fn main() {}
