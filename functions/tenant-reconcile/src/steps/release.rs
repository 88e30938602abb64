//! Which release a tenant's container runs.

use nbhd::domain::plan::Learned;
use nbhd::domain::release::{Release, Rollout, Verdict};
use nbhd::domain::step_error::{StepError, WaitReason};

use super::{StepContext, StepResult};
use crate::failure::Failure;

/// How long a running container waits before it asks for the rollout's slot again.
const SLOT_SECONDS: u64 = 120;

/// What the tenant's container shall run, in full.
pub(super) async fn chosen_release(context: &StepContext<'_>) -> Result<Release, Failure> {
    let wanted = context.tenant.reconcile.release.as_ref().ok_or_else(|| StepError::precondition("no_release"))?;
    let app = context.app;
    if *wanted == app.release_id() {
        return Ok(app.release().clone());
    }
    let rollout = context.app.store.load_rollout().await?;
    // Nobody knows a release that is two behind any more.
    Ok(rollout.map_or_else(
        || app.release().clone(),
        |rollout| rollout.release(wanted).unwrap_or_else(|| rollout.stable_release()).clone(),
    ))
}

/// The release `id`, if it is known and this code makes the same form of app of it.
pub(super) async fn comparable(context: &StepContext<'_>, id: &str) -> Result<Option<Release>, Failure> {
    let app = context.app;
    if id == app.release_id() {
        return Ok(Some(app.release().clone()));
    }
    let rollout = context.app.store.load_rollout().await?;
    let known = rollout.as_ref().and_then(|rollout| rollout.release(id));
    Ok(known.filter(|known| known.app_fingerprint == app.release().app_fingerprint).cloned())
}

pub(crate) async fn choose_release<'a>(context: &StepContext<'a>) -> Result<StepResult<'a>, Failure> {
    let (app, now, tenant) = (context.app, context.app.clock.now(), context.tenant);
    let known = context.app.store.load_rollout().await?;
    let before = known.clone();
    let rollout = match known {
        None => Some(Rollout::new(app.release().clone(), now)),
        Some(rollout) => rollout.retarget(app.release(), now),
    };
    let Some(mut rollout) = rollout else { return Err(Failure::waiting(WaitReason::NewerRolloutBegan, SLOT_SECONDS)) };
    let running = tenant.reconcile.resources.app.as_ref().is_some_and(|app| app.running);
    let verdict = rollout.admit(tenant.tenant_id, running, now);
    if before.as_ref() != Some(&rollout) {
        context.app.store.save_rollout(&rollout).await?;
    }
    let newest = app.release_id().to_owned();
    match verdict {
        Verdict::Run { release, holds_slot } => {
            let detail = if holds_slot { "it holds the slot" } else { "nothing runs" };
            Ok(StepResult::new(Learned::ReleaseChosen { release, newest, holds_slot }).with_detail(detail))
        }
        Verdict::Wait => Err(Failure::waiting(WaitReason::RolloutSlotTaken, SLOT_SECONDS)),
        // For good: only another release begins a rollout anew.
        Verdict::Keep => Ok(StepResult::new(Learned::ReleaseKept { newest }).with_detail("it keeps its release")),
    }
}

pub(crate) async fn free_rollout_slot<'a>(context: &StepContext<'a>, healthy: bool) -> Result<StepResult<'a>, Failure> {
    let newest = context.app.release_id().to_owned();
    let result = |release| {
        let learned = if healthy { Learned::RolloutSlotFreed } else { Learned::RolledBack { failed: newest, release } };
        StepResult::new(learned)
    };
    let Some(mut rollout) = context.app.store.load_rollout().await? else { return Ok(result(None)) };
    let before = rollout.clone();
    let was_halted = rollout.is_halted();
    let release = rollout.free_slot(context.tenant.tenant_id, healthy, context.app.clock.now());
    if rollout != before {
        context.app.store.save_rollout(&rollout).await?;
    }
    if rollout.is_halted() && !was_halted {
        nbhd::telemetry::metric("RolloutsHalted", 1);
        tracing::error!(
            code = "rollout_halted",
            "two tenants did not become healthy with the newest release; the rollout stops, and they are rolled back"
        );
    }
    Ok(result(Some(release)))
}
