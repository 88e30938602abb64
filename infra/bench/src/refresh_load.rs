//! A hundred thousand connections due at once: fanned out by a tick and worked off by warm processes of the function,
//! as it is deployed, with Google 50 ms away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nbhd::clock::Clock;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider};
use nbhd_local::{Options, World};
use nbhd_sim::google::Endpoint;
use nbhd_sim::key_vault::KEY_VAULT;
use nbhd_sim::sqs;
use serde_json::{Value, json};

use crate::artifact::Artifact;
use crate::lambda::Function;
use crate::report::Report;
use crate::{refresh, warm};

const DUE: usize = 100_000;
const GOOGLE_DISTANCE: Duration = Duration::from_millis(50);
/// `MaximumConcurrency` of the template.
const PROCESSES: usize = 10;
/// What simulators note of each request is forgotten this often.
const FORGET: usize = 40;

/// Seeds, ticks and works off; `NBHD_BENCH_DUE` is another number of connections.
pub(crate) async fn measure(report: &mut Report, function: &Artifact) -> anyhow::Result<()> {
    let due = refresh::read_number("NBHD_BENCH_DUE").unwrap_or(DUE);
    report.section(&format!("{due} connections due in one tick, Google 50 ms away, {PROCESSES} processes"));
    let world = Arc::new(World::start(Options::with_clock(Clock::System)).await?);
    import_connections(&world, due)?;
    world.google.faults.delay(Endpoint::Token, GOOGLE_DISTANCE);
    let settings = warm::settings(&world);

    let mut ticking = Function::start(function, &settings).await?;
    let tick = ticking.invoke(&json!({ "tick": "refresh" })).await?;
    anyhow::ensure!(tick.answer["due"] == due, "{}", tick.answer);
    let jobs = world.sqs.messages(sqs::REFRESH);
    report.figure("fanned out: time, jobs", &format!("{:.2} s, {}", tick.took.as_secs_f64(), jobs.len()));

    let began = Instant::now();
    let (next, vault_calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs = Arc::new(jobs);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..PROCESSES {
        let mut process = Function::start(function, &settings).await?;
        let (world, next, jobs) = (Arc::clone(&world), Arc::clone(&next), Arc::clone(&jobs));
        let vault_calls = Arc::clone(&vault_calls);
        workers.spawn(async move {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(place) else { return process.peak_memory() };
                let record = json!({ "messageId": "1", "body": job.sent.body, "eventSource": "aws:sqs" });
                let done = process.invoke(&json!({ "Records": [record] })).await?;
                anyhow::ensure!(done.answer["batchItemFailures"] == Value::Array(Vec::new()), "{}", done.answer);
                if place % FORGET == 0 {
                    vault_calls.fetch_add(take_vault_calls(&world), Ordering::Relaxed);
                    world.table.clear_calls();
                }
            }
        });
    }
    let mut peak = ticking.peak_memory()?;
    while let Some(ended) = workers.join_next().await {
        peak = peak.max(ended??);
    }
    let took = began.elapsed().as_secs_f64();
    vault_calls.fetch_add(take_vault_calls(&world), Ordering::Relaxed);
    let calls = world.google.calls(Endpoint::Token);
    report.figure("worked off: time, connections a second", &format!("{took:.1} s, {:.0}", due as f64 / took));
    report.figure("Google's, the vault's calls", &format!("{calls}, {}", vault_calls.load(Ordering::Relaxed)));
    let left = world.tick_refresh().await.due;
    report.at_most("connections skipped", (left + due.abs_diff(calls)) as f64, 0.0, "");
    report.at_most("a process's peak memory", peak, 64.0, "MiB");
    Ok(())
}

/// The vault's requests since the last count.
fn take_vault_calls(world: &World) -> usize {
    world.journal.drain().into_iter().filter(|entry| entry.simulator == KEY_VAULT).count()
}

/// Connections in use whose tokens ended, each with a grant at Google and a secret in the vault.
fn import_connections(world: &World, due: usize) -> anyhow::Result<()> {
    let now = world.clock.now();
    let mut items = Vec::new();
    for place in 0..due {
        let account = format!("{place}@example.com");
        world.google.has_account(&account, "Somebody", "Europe/Zurich");
        let (access, refresh_token) = world.google.has_consented(&account, &[Provider::Gmail.scope()]);
        let row = Integration::new(TenantId::random(), Provider::Gmail, now);
        let secret = json!({ "access_token": access, "refresh_token": refresh_token, "expires_at": now });
        let secret_version = world.azure.vault.put(&row.secret_name, &secret.to_string());
        let due = Some(nbhd::domain::refresh::due_entry(&row, now));
        items.push(refresh::to_item(&Integration { secret_version, expires_at: Some(now), due, version: 1, ..row })?);
    }
    world.table.import(items)
}
