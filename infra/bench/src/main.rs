//! `make bench`: what the functions cost, as the real release binaries, each figure beside its bar.
//!
//! Ratios are taken within one run and from interleaved starts, so that a busy machine slows both sides alike.

mod artifact;
mod cold;
mod functions;
mod isolation;
mod lambda;
mod process;
mod refresh;
mod refresh_load;
mod report;
mod ssm;
mod warm;

use std::process::ExitCode;

use artifact::{Artifact, Group};
use report::Report;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // What the functions in this process log is not what is printed here.
    nbhd::telemetry::capture();
    let mut report = Report::default();
    if std::env::args().nth(1).as_deref() == Some("refresh") {
        tokens(&mut report, &Artifact::of("scheduled-refresh")?).await?;
        return Ok(report.verdict());
    }
    let groups = Group::all()?;

    cold::sizes(&mut report, &groups)?;
    for group in &groups {
        cold::starts(&mut report, group, &cold::plain_settings())?;
    }
    let ssm = ssm::ParameterStore::start().await?;
    for group in &groups {
        cold::starts_with_parameters(&mut report, group, &cold::settings_from(&ssm))?;
    }
    let forward = Group::find(&groups, "telegram-forward")?;
    warm::updates(&mut report, Group::find(&groups, "telegram-webhook")?, forward).await?;
    warm::first_tls_request(&mut report, forward).await?;
    warm::mailbox_list(&mut report, Group::find(&groups, "runtime-gmail")?).await?;
    isolation::measure(&mut report).await?;
    tokens(&mut report, Group::find(&groups, "scheduled-refresh")?).await?;
    Ok(report.verdict())
}

/// What keeping tokens fresh costs; `make bench ARGS=refresh` measures nothing else.
async fn tokens(report: &mut Report, function: &Artifact) -> anyhow::Result<()> {
    refresh::ticks(report).await?;
    refresh::day(report).await?;
    refresh_load::measure(report, function).await
}
