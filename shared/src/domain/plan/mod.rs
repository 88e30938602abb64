//! What the reconciler does next for a tenant: a pure decision over its row.
//!
//! The row is what was last observed. A worker does the first step, saves what it learned, and plans anew; so the plan
//! never holds a step that depends on something only its own earlier steps will find out.

mod apply;
mod ending;
mod finding;
mod keys;
mod learned;
#[cfg(test)]
mod life;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::backoff::jitter;
use super::generation::KeyId;
use super::gift::Gift;
use super::reconcile_status::{BackoffReason, LastError, Notice, ReconcileStatus};
use super::resources::{ContainerApp, Resources};
use super::subscription::{Entitlement, Subscription};
use super::tenant::{Lifecycle, Tenant};
use crate::clock::Timestamp;

pub use super::step_name::{Part, StepName};
pub use apply::{apply, record_outcome};
pub use finding::{Finding, ModelKeyState, ObservedApp};
pub use learned::{Learned, Outcome};
pub use step::{Step, StepScope};

/// How often a tenant's resources are looked at, give or take an eighth.
pub const OBSERVED_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often Stripe is asked again, less an eighth at most: events can be lost.
pub const SYNCED_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// A container that does not answer for so long after a change is unhealthy.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(15 * 60);
/// A step that waits for Azure's state for so long has the row looked at, and again after as long.
const DOUBTED_FOR: Duration = Duration::from_secs(30 * 60);
/// After so many failures in a row the row is not believed until it was looked at.
const DOUBTED_AFTER: u32 = 3;

/// What is intended, as far as the settings say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The id of the newest release.
    pub release: String,
    /// The fingerprint of what is the tenant's own in its app's body; the rest is the release's.
    pub fingerprint: String,
    /// What the tier's models may cost a month, in USD cents.
    pub limit_cents: u32,
    /// The runtime key of new generations.
    pub newest_key: KeyId,
    /// The others that are listed: what was made with any other opens nothing.
    pub older_keys: Vec<KeyId>,
}

impl Spec {
    fn lists(&self, key: Option<KeyId>) -> bool {
        key.is_some_and(|key| key == self.newest_key || self.older_keys.contains(&key))
    }
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps in order, the first to be done now; none when the tenant is as intended.
    pub steps: Vec<Step>,
    /// Before when the first step makes no sense.
    pub not_before: Option<Timestamp>,
    /// When to look again although nothing happened.
    pub next_check_at: Option<Timestamp>,
}

impl Plan {
    /// The step to do at `now`.
    pub fn next(&self, now: Timestamp) -> Option<&Step> {
        self.steps.first().filter(|_| self.not_before.is_none_or(|at| at <= now))
    }

    /// When the tenant is due, if nothing happens.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let next_step = self.steps.first().map(|_| self.not_before.unwrap_or(now));
        next_step.into_iter().chain(self.next_check_at).min()
    }
}

/// The lifecycle that an entitlement leads to, one transition at a time.
pub const fn next_lifecycle(lifecycle: Lifecycle, entitlement: Entitlement) -> Lifecycle {
    match (lifecycle, entitlement) {
        // A removal that has begun ends, whatever was paid meanwhile; a new life begins after it.
        (Lifecycle::Deprovisioning, _) | (_, Entitlement::Remove) => Lifecycle::Deprovisioning,
        // Nothing was built, so there is nothing to stop.
        (Lifecycle::Pending, Entitlement::Pending | Entitlement::Suspend { .. }) => Lifecycle::Pending,
        (Lifecycle::Active, Entitlement::Run { .. }) => Lifecycle::Active,
        (Lifecycle::Pending | Lifecycle::Provisioning | Lifecycle::Suspended, Entitlement::Run { .. }) => {
            Lifecycle::Provisioning
        }
        (
            Lifecycle::Provisioning | Lifecycle::Active | Lifecycle::Suspended,
            Entitlement::Pending | Entitlement::Suspend { .. },
        ) => Lifecycle::Suspended,
    }
}

/// What is next at `now`.
pub fn plan(tenant: &Tenant, spec: &Spec, now: Timestamp) -> Plan {
    let mut steps = Vec::new();
    let mut lifecycle = next_lifecycle(tenant.lifecycle, tenant.entitlement(now));
    let is_needed = needs_fresh_subscription(tenant, lifecycle, now);
    let (mut waits_for_stripe, mut keeps_container) = (false, false);
    if stripe_retry_at(tenant).is_some_and(|until| until > now) {
        // Stripe cannot be asked now. That ends nobody's assistant and begins nobody's, and holds up nothing else.
        if is_needed {
            lifecycle = tenant.lifecycle;
            waits_for_stripe = lifecycle == Lifecycle::Provisioning;
            keeps_container = lifecycle == Lifecycle::Active;
        }
    } else if is_needed || next_sync_at(tenant).is_some_and(|at| at <= now) {
        steps.push(Step::Sync);
    }
    if lifecycle != tenant.lifecycle {
        steps.push(Step::ChangeLifecycle(lifecycle));
    }
    match lifecycle {
        _ if waits_for_stripe => steps.push(Step::Sync),
        Lifecycle::Pending => plan_leftovers(tenant, &mut steps),
        // Their names are those of what is to be built.
        Lifecycle::Provisioning if tenant.reconcile.leftovers.is_some() => plan_leftovers(tenant, &mut steps),
        Lifecycle::Provisioning | Lifecycle::Active => plan_running(tenant, lifecycle, spec, now, &mut steps),
        Lifecycle::Suspended => ending::plan_suspended(tenant, now, &mut steps),
        Lifecycle::Deprovisioning => ending::plan_removal(tenant, now, &mut steps),
    }
    // It may have to be suspended, and then its route is closed first: until that is known, nothing stops it.
    if let Some(stop) = steps.iter().position(|step| keeps_container && *step == Step::StopApp) {
        steps.truncate(stop);
    }
    let not_before = steps.first().and_then(|step| earliest(tenant, step));
    Plan { steps, not_before, next_check_at: next_check_at(tenant, lifecycle, now) }
}

/// Everything a running assistant needs, in the order in which one thing needs another.
fn plan_running(tenant: &Tenant, lifecycle: Lifecycle, spec: &Spec, now: Timestamp, steps: &mut Vec<Step>) {
    let (status, resources) = (&tenant.reconcile, &tenant.reconcile.resources);
    if status.shard.is_none() {
        steps.push(Step::ChooseShard);
    }
    if is_in_doubt(tenant, now) {
        steps.push(Step::Observe);
    }
    if resources.identity.is_none() {
        steps.push(Step::MakeIdentity);
    }
    if keys::may_rotate(tenant, spec) {
        steps.push(Step::BeginRotation(spec.newest_key));
    }
    // What the role needs before the role: a new principal is not known everywhere at once.
    if !resources.share {
        steps.push(Step::MakeShare);
    }
    if !resources.storage {
        steps.push(Step::MakeStorage);
    }
    keys::plan_keys(tenant, spec, steps);
    let principal = resources.identity.as_ref().map(|identity| &identity.principal_id);
    if resources.secret_reader.is_none() || resources.secret_reader.as_ref() != principal {
        steps.push(Step::GrantRole);
    }
    plan_app(tenant, spec, now, steps);
    if lifecycle == Lifecycle::Provisioning {
        steps.push(Step::Activate);
    }
    if tenant.other_generation.is_some() {
        steps.push(Step::EndRotation);
    } else if resources.former_keys.is_some() {
        steps.push(Step::DropFormerKeys);
    }
    if status.holds_rollout_slot {
        steps.push(Step::FreeRolloutSlot { healthy: true });
    }
    match status.last_notice {
        None => steps.push(Step::Notify(Notice::Ready)),
        Some(Notice::Suspended) => steps.push(Step::Notify(Notice::Resumed)),
        Some(Notice::Removed | Notice::SuspendedAnew) => steps.push(Step::Notify(Notice::ReadyAnew)),
        Some(Notice::Ready | Notice::ReadyAnew | Notice::Resumed | Notice::Replaced) => {}
    }
    if is_observation_due(tenant, now) {
        steps.push(Step::Observe);
    }
    // A running container waits for its turn, and nothing else waits for that.
    if status.evaluated_release.as_ref() != Some(&spec.release) && is_running(resources) {
        steps.push(Step::ChooseRelease);
    }
}

/// Two replicas must never overlap: a container that runs is stopped, and has no replica left, before it changes.
fn plan_app(tenant: &Tenant, spec: &Spec, now: Timestamp, steps: &mut Vec<Step>) {
    let (status, resources) = (&tenant.reconcile, &tenant.reconcile.resources);
    if status.evaluated_release.as_ref() != Some(&spec.release) && !is_running(resources) {
        steps.push(Step::ChooseRelease);
    }
    if resources.operation.is_some() {
        steps.push(Step::AwaitOperation);
    }
    let Some(app) = &resources.app else {
        if resources.operation.is_none() {
            steps.push(Step::PutApp);
        }
        steps.push(Step::CheckHealth);
        return;
    };
    // Also of a container that was made or started with the newest release: it has no turn, and is tried for longer.
    let is_on_trial =
        status.release.as_ref() == Some(&spec.release) && status.failed_release.as_ref() != Some(&spec.release);
    let patience = if status.holds_rollout_slot { DOUBTED_AFTER } else { 2 * DOUBTED_AFTER };
    if (status.holds_rollout_slot || is_on_trial) && has_failed(status, app, patience, now) {
        steps.push(Step::FreeRolloutSlot { healthy: false });
    }
    let is_changed = app.fingerprint != spec.fingerprint || status.release.as_ref() != Some(&app.release);
    if is_changed {
        if app.running {
            steps.push(Step::StopApp);
        }
        if app.running || !app.drained {
            steps.push(Step::AwaitNoReplica);
        }
        steps.push(Step::PutApp);
    }
    if is_changed || !app.running {
        steps.push(Step::StartApp);
    }
    if is_changed || !app.running || !app.healthy {
        steps.push(Step::CheckHealth);
    }
}

/// Whether a container does not come up with the release it is meant to run. An outage of Azure's, in which that was
/// not even tried, is no such failure.
fn has_failed(status: &ReconcileStatus, app: &ContainerApp, patience: u32, now: Timestamp) -> bool {
    let is_tried = app.running && status.release.as_ref() == Some(&app.release);
    let is_late = is_tried && now >= app.changed_at + HEALTHY_WITHIN;
    let is_refused = status.last_error.as_ref().is_some_and(LastError::counts_against_release);
    !app.healthy && (is_late || (is_refused && status.failures >= patience))
}

fn plan_leftovers(tenant: &Tenant, steps: &mut Vec<Step>) {
    if tenant.reconcile.leftovers.is_some() {
        steps.push(Step::RemoveLeftovers);
    }
}

fn is_running(resources: &Resources) -> bool {
    resources.app.as_ref().is_some_and(|app| app.running)
}

/// Failures that repeat, and waits that do not end, may come from a row that is wrong.
fn is_in_doubt(tenant: &Tenant, now: Timestamp) -> bool {
    let status = &tenant.reconcile;
    let waits = status
        .step_backoff
        .as_ref()
        .filter(|backoff| matches!(backoff.reason, BackoffReason::Waiting(reason) if reason.is_at_azure()));
    let looked_at = |since: Timestamp| status.observed_at.map_or(since, |at| at.max(since));
    if status.shard.is_some() && waits.is_some_and(|backoff| now >= looked_at(backoff.since) + DOUBTED_FOR) {
        return true;
    }
    let failed_since = status.last_error.as_ref().is_some_and(|last| status.observed_at.is_none_or(|at| at < last.at));
    status.shard.is_some() && failed_since && status.failures > 0 && status.failures.is_multiple_of(DOUBTED_AFTER)
}

fn is_observation_due(tenant: &Tenant, now: Timestamp) -> bool {
    let status = &tenant.reconcile;
    let has_settled = status.in_flight.as_ref().is_some_and(|requests| requests.until <= now);
    status.shard.is_some() && (has_settled || next_observation_at(tenant).is_none_or(|at| at <= now))
}

fn next_observation_at(tenant: &Tenant) -> Option<Timestamp> {
    tenant.reconcile.observed_at.map(|at| at + OBSERVED_EVERY + jitter(tenant.tenant_id, OBSERVED_EVERY))
}

/// When Stripe is to be asked again; `None` for a tenant it does not know.
fn next_sync_at(tenant: &Tenant) -> Option<Timestamp> {
    tenant.customer.as_ref()?;
    let early = jitter(tenant.tenant_id, SYNCED_EVERY);
    Some(tenant.reconcile.synced_at.map_or_else(Timestamp::default, |at| at + SYNCED_EVERY - early))
}

/// Whether time alone leads to the lifecycle, and Stripe was last asked before that time: what was paid since then may
/// have been lost on its way. While a gift runs, nothing follows from Stripe's word.
fn needs_fresh_subscription(tenant: &Tenant, lifecycle: Lifecycle, now: Timestamp) -> bool {
    if lifecycle == tenant.lifecycle || tenant.customer.is_none() || tenant.running_gift(now).is_some() {
        return false;
    }
    let lapses_at = tenant.subscription.as_ref().and_then(Subscription::lapses_at);
    let gift_changes = tenant.outlasting_gift().into_iter().flat_map(Gift::changes);
    let by_time = lapses_at.into_iter().chain(gift_changes).filter(|at| *at <= now).max();
    by_time.is_some_and(|since| tenant.reconcile.synced_at.is_none_or(|at| at < since))
}

fn stripe_retry_at(tenant: &Tenant) -> Option<Timestamp> {
    tenant.reconcile.stripe_backoff.as_ref().map(|backoff| backoff.until)
}

fn earliest(tenant: &Tenant, step: &Step) -> Option<Timestamp> {
    if *step == Step::Sync {
        return stripe_retry_at(tenant);
    }
    let backoff = tenant.reconcile.retry_at(step.name());
    let operation = tenant.reconcile.resources.operation.as_ref().filter(|_| *step == Step::AwaitOperation);
    let leftovers = tenant.reconcile.leftovers.as_ref().filter(|_| *step == Step::RemoveLeftovers);
    let leftovers = leftovers.map(|leftovers| leftovers.not_before);
    backoff.into_iter().chain(operation.map(|operation| operation.poll_at)).chain(leftovers).max()
}

fn next_check_at(tenant: &Tenant, lifecycle: Lifecycle, now: Timestamp) -> Option<Timestamp> {
    let observed = match lifecycle {
        Lifecycle::Provisioning | Lifecycle::Active | Lifecycle::Suspended => {
            let in_flight = tenant.reconcile.in_flight.as_ref().map(|requests| requests.until);
            next_observation_at(tenant).into_iter().chain(in_flight).min()
        }
        Lifecycle::Pending | Lifecycle::Deprovisioning => None,
    };
    let changes = tenant.entitlement(now).changes_at();
    let backoff = tenant.reconcile.step_backoff.as_ref().map(|backoff| backoff.until);
    changes
        .into_iter()
        .chain(tenant.gift_changes())
        .chain(backoff)
        .chain(stripe_retry_at(tenant))
        .chain(observed)
        .chain(next_sync_at(tenant))
        .filter(|at| *at > now)
        .min()
}
