//! What the system knows without asking anyone: pure, without I/O, clock or environment.

pub mod command;
pub mod due;
pub mod ids;
pub mod integration;
pub mod late_effects;
pub mod names;
pub mod plan;
pub mod rate;
pub mod refresh;
pub mod release;
pub mod route;
pub mod scope;
pub mod secrets;
pub mod shard;
pub mod subscription;
pub mod tenant;
pub mod update;
pub mod work;
