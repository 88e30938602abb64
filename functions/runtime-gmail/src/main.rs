//! Wiring of `runtime-gmail`.
fn main() {}
