//! `make bench`: what the functions cost, as the real release binaries, each figure beside its bar.
//!
//! Ratios are taken within one run and from interleaved starts, so that a busy machine slows both sides alike.

mod artifact;
mod cold;
mod cores;
mod economics;
mod functions;
mod instructions;
mod isolation;
mod lambda;
mod mail;
mod prices;
mod process;
mod refresh;
mod refresh_load;
mod report;
mod ssm;
mod warm;

use std::process::ExitCode;

use artifact::{Artifact, Group};
use cores::Cores;
use report::Report;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // What the functions in this process log is not what is printed here.
    nbhd::telemetry::capture();
    let mut report = Report::default();
    match std::env::args().nth(1).as_deref() {
        None => measure_all(&mut report).await?,
        Some("update") => {
            let (webhook, forward) =
                (Artifact::build_named("telegram-webhook")?, Artifact::build_named("telegram-forward")?);
            measure_update(&mut report, &webhook, &forward)?;
        }
        Some("refresh") => measure_refresh(&mut report, &Artifact::build_named("scheduled-refresh")?).await?,
        Some("economics") => Box::pin(economics::measure(&mut report)).await?,
        Some("html") => mail::measure_html(&mut report)?,
        Some(unknown) => {
            anyhow::bail!("`{unknown}` is no part of the bench: `update`, `refresh`, `economics`, `html`, or none")
        }
    }
    Ok(report.verdict())
}

async fn measure_all(report: &mut Report) -> anyhow::Result<()> {
    let groups = Group::build_all()?;

    cold::report_sizes(report, &groups)?;
    for group in &groups {
        cold::measure_starts(report, group, &cold::plain_settings())?;
    }
    let ssm = ssm::ParameterStore::start().await?;
    for group in &groups {
        cold::measure_starts_with_parameters(report, group, &cold::settings_from(&ssm))?;
    }
    let forward = Group::find(&groups, "telegram-forward")?;
    measure_update(report, Group::find(&groups, "telegram-webhook")?, forward)?;
    warm::measure_mailbox_list(report, Group::find(&groups, "runtime-gmail")?).await?;
    mail::measure_html(report)?;
    isolation::measure(report).await?;
    measure_refresh(report, Group::find(&groups, "scheduled-refresh")?).await
}

/// What a delivered update costs; `make bench ARGS=update` measures nothing else.
fn measure_update(report: &mut Report, webhook: &Artifact, forward: &Artifact) -> anyhow::Result<()> {
    Cores::run_on_first(async |cores| {
        warm::measure_updates(report, webhook, forward, cores).await?;
        warm::measure_first_tls_request(report, forward).await
    })
}

/// What keeping tokens fresh costs; `make bench ARGS=refresh` measures nothing else.
async fn measure_refresh(report: &mut Report, function: &Artifact) -> anyhow::Result<()> {
    refresh::measure_ticks(report).await?;
    refresh::measure_day(report).await?;
    refresh_load::measure(report, function).await
}
