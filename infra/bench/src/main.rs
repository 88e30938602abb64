//! `make bench`: what the functions cost, as the real release binaries, each figure beside its bar.
//!
//! Ratios are taken within one run and from interleaved starts, so that a busy machine slows both sides alike.

mod artifact;
mod cold;
mod isolation;
mod lambda;
mod process;
mod report;
mod ssm;
mod warm;

use std::process::ExitCode;

use artifact::Artifact;
use report::Report;

/// The functions behind the HTTP API; the others are fed by queues.
const HTTP_FUNCTIONS: [&str; 6] =
    ["telegram-webhook", "telegram-relay", "oauth-authorize", "oauth-callback", "runtime-gmail", "runtime-calendar"];
const QUEUE_FUNCTIONS: [&str; 2] = ["telegram-forward", "scheduled-refresh"];

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // What the functions in this process log is not what is printed here.
    nbhd::telemetry::capture();
    let http = Artifact::built("echo-http", &HTTP_FUNCTIONS)?;
    let queue = Artifact::built("echo-queue", &QUEUE_FUNCTIONS)?;

    let mut report = Report::default();
    for (echo, functions) in [&http, &queue] {
        cold::sizes(&mut report, functions)?;
        cold::starts(&mut report, echo, functions, &cold::plain_settings())?;
    }
    let ssm = ssm::ParameterStore::start().await?;
    for (echo, functions) in [&http, &queue] {
        cold::starts_with_parameters(&mut report, echo, functions, &cold::settings_from(&ssm))?;
    }
    let (functions, queues) = (&http.1, &queue.1);
    warm::updates(&mut report, &functions[0], &queues[0]).await?;
    warm::first_tls_request(&mut report, &queues[0]).await?;
    warm::mailbox_list(&mut report, &functions[4]).await?;
    isolation::measure(&mut report).await?;
    Ok(report.verdict())
}
