//! The front between an `OpenClaw` and a control plane that are small servers on loopback.

mod doors;
mod handover;
mod kill_points;
mod support;
mod webhook;
