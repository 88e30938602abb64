//! `nbhd`, the operator's command.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use nbhd::clock::Clock;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = nbhd_ops::Args::parse();
    match nbhd_ops::run(args, Clock::System).await {
        Ok(output) => {
            // A closed pipe is no failure.
            let _ = writeln!(io::stdout().lock(), "{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "nbhd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
