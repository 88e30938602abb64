//! Which release a tenant's container runs.

use nbhd::domain::release::{Release, Rollout, Verdict};

use super::{Effect, Job};
use crate::failure::Failure;

/// How long a running container waits before it asks for its turn again.
const TURN_SECONDS: u64 = 120;

/// What the tenant's container shall run, in full.
pub(super) async fn content(job: &Job<'_>) -> Result<Release, Failure> {
    let wanted = job.tenant.work.release.as_ref().ok_or_else(|| Failure::failed("no_release"))?;
    let settings = &job.app.settings;
    if *wanted == settings.release_id() {
        return Ok(settings.release().clone());
    }
    let rollout = job.app.store.rollout().await?;
    // Nobody knows a release that is two behind any more.
    Ok(rollout.map_or_else(
        || settings.release().clone(),
        |rollout| rollout.release(wanted).unwrap_or_else(|| rollout.standing()).clone(),
    ))
}

/// The release `id`, if it is known and this code makes the same form of app of it.
pub(super) async fn comparable(job: &Job<'_>, id: &str) -> Result<Option<Release>, Failure> {
    let settings = &job.app.settings;
    if id == settings.release_id() {
        return Ok(Some(settings.release().clone()));
    }
    let rollout = job.app.store.rollout().await?;
    let known = rollout.as_ref().and_then(|rollout| rollout.release(id));
    Ok(known.filter(|known| known.shape == settings.release().shape).cloned())
}

pub(crate) async fn choose<'a>(job: &Job<'a>) -> Result<Effect<'a>, Failure> {
    let (settings, now, tenant) = (&job.app.settings, job.app.clock.now(), job.tenant);
    let known = job.app.store.rollout().await?;
    let before = known.clone();
    let rollout = match known {
        None => Some(Rollout::new(settings.release().clone(), now)),
        Some(rollout) => rollout.to(settings.release(), now),
    };
    let Some(mut rollout) = rollout else { return Err(Failure::waits("a_newer_release_began", TURN_SECONDS)) };
    let running = tenant.work.resources.app.as_ref().is_some_and(|app| app.running);
    let verdict = rollout.admit(tenant.tenant_id, running, now);
    if before.as_ref() != Some(&rollout) {
        job.app.store.save_rollout(&rollout).await?;
    }
    let newest = settings.release_id().to_owned();
    match verdict {
        Verdict::Run { release, turn } => Ok(Effect::done(move |tenant| {
            tenant.work.release = Some(release.clone());
            tenant.work.decided_at_release = Some(newest.clone());
            tenant.work.has_turn = turn;
        })
        .found(if turn { "its turn" } else { "nothing runs" })),
        Verdict::Wait => Err(Failure::waits("another_has_the_turn", TURN_SECONDS)),
        // For good: only another release begins a rollout anew.
        Verdict::Stay => {
            Ok(Effect::done(move |tenant| tenant.work.decided_at_release = Some(newest.clone())).found("it stays"))
        }
    }
}

pub(crate) async fn end_turn<'a>(job: &Job<'a>, healthy: bool) -> Result<Effect<'a>, Failure> {
    let newest = Some(job.app.settings.release_id().to_owned()).filter(|_| !healthy);
    let Some(mut rollout) = job.app.store.rollout().await? else {
        return Ok(Effect::done(move |tenant| {
            tenant.work.has_turn = false;
            tenant.work.gave_up.clone_from(&newest);
        }));
    };
    let before = rollout.clone();
    let was_halted = rollout.is_halted();
    let release = rollout.end_turn(job.tenant.tenant_id, healthy, job.app.clock.now());
    if rollout != before {
        job.app.store.save_rollout(&rollout).await?;
    }
    if rollout.is_halted() && !was_halted {
        nbhd::telemetry::metric("RolloutsHalted", 1);
        tracing::error!(code = "rollout_halted", "two tenants did not become healthy with the newest release");
    }
    Ok(Effect::done(move |tenant| {
        tenant.work.has_turn = false;
        if newest.is_some() {
            tenant.work.release = Some(release.clone());
            tenant.work.gave_up.clone_from(&newest);
        }
    }))
}
