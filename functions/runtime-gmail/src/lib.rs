//! Reads a tenant's Gmail for its runtime.

pub mod body;
mod charset;
mod html;
