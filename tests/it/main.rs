//! Tests of the whole, by area.

mod adapter;
mod billing;
mod canary;
mod conflicts;
mod local;
mod model;
mod oauth;
mod ops;
mod reconcile;
mod refresh;
mod roll;
mod runtime;
mod settings;
mod telegram;
mod template;
mod tidy;
mod vendors;
