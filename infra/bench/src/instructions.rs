//! How many instructions a function takes for an event, as callgrind counts them in its process.
//!
//! CPU time depends on the machine and on what else it does; the number of instructions of a binary hardly does, so
//! that a bar on it can be close. Each function is run with some updates and with twice as many: the difference is
//! theirs alone, without the start and the end of the process.
//!
//! <https://valgrind.org/docs/manual/cl-manual.html>

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::artifact::Artifact;
use crate::lambda::Function;
use crate::process::Setting;
use crate::report::Report;

/// Updates of the shorter run.
const UPDATES: i64 = 200;

/// Millions of instructions that an update took in both functions when the bar was set.
const COUNTED: f64 = 1.51;

/// Reports the instructions of both functions together, with a bar 5 % above [`COUNTED`].
pub(crate) fn report(report: &mut Report, webhook: f64, forward: f64) {
    report.figure("  instructions: webhook, forward", &format!("{webhook:.3} M, {forward:.3} M"));
    report.figure("  instructions when the bar was set 5 % above", &format!("{COUNTED} M"));
    let bar = (COUNTED * 105.0).round() / 100.0;
    report.at_most("instructions per delivered update", webhook + forward, bar, "M");
}

/// Instructions of a function per event, in millions: `event` makes the event of a number.
pub(crate) async fn count_per_event(
    artifact: &Artifact,
    settings: &[Setting],
    event: impl Fn(i64) -> Value,
) -> anyhow::Result<f64> {
    let few = count(artifact, settings, (0..UPDATES).map(&event)).await?;
    let many = count(artifact, settings, (0..2 * UPDATES).map(&event)).await?;
    ensure!(many > few, "`{}` took {few} instructions, and {many} for twice as many events", artifact.function.name);
    Ok((many - few) as f64 / UPDATES as f64 / 1e6)
}

/// Instructions of a whole process that handles `events`.
async fn count(artifact: &Artifact, settings: &[Setting], events: impl Iterator<Item = Value>) -> anyhow::Result<u64> {
    let profile = artifact.path.with_extension("callgrind");
    let mut callgrind = Command::new("valgrind");
    // The function complains there when its Runtime API ends.
    callgrind.stderr(Stdio::null());
    callgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", profile.display()));
    callgrind.arg(&artifact.path);
    let mut function = Function::start_command(callgrind, artifact.function.name, settings)
        .await
        .context("is valgrind installed? `make tools` installs it")?;
    for event in events {
        let answer = function.invoke(&event).await?.answer;
        let is_accepted = answer["statusCode"].as_u64().is_none_or(|status| status == 200);
        let is_delivered = answer["batchItemFailures"].as_array().is_none_or(Vec::is_empty);
        ensure!(is_accepted && is_delivered, "an unexpected answer: {answer}");
    }
    function.end().await?;
    let written = std::fs::read_to_string(&profile).with_context(|| format!("`{}`", profile.display()))?;
    let total = written.lines().find_map(|line| line.strip_prefix("totals: ")).context("a profile without totals")?;
    Ok(total.trim().parse()?)
}
