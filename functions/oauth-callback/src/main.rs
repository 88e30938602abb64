//! Wiring of `oauth-callback`.
fn main() {}
