//! Wiring of `oauth-authorize`.
fn main() {}
