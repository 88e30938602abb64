//! `make run`: the whole system on this machine.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    nbhd_local::run(nbhd_local::Args::parse()).await
}
