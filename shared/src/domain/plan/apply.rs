//! What the tenant's row becomes by what a step learned: pure, so that a write that met another one is made again from
//! the fresh row.

use std::time::Duration;

use super::{Learned, OBSERVED_EVERY, Outcome, Part, Step, StepName, StepScope};
use crate::clock::Timestamp;
use crate::domain::backoff::{self, jitter};
use crate::domain::generation::KeyId;
use crate::domain::ids::TenantId;
use crate::domain::reconcile_status::{BackoffReason, LastError, RemovedPart, StepBackoff, StripeBackoff};
use crate::domain::resources::{AppChange, ContainerApp, Resources};
use crate::domain::step_error::StepError;
use crate::domain::tenant::{Lifecycle, Tenant, TenantRecord};

/// The first wait after a failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest wait after a failure, less the jitter.
const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);

/// The row, or the receipt in its place, once `step` has ended at `now`.
pub fn record_outcome(tenant: Tenant, step: Step, outcome: &Outcome, now: Timestamp) -> TenantRecord {
    let mut tenant = tenant;
    match outcome {
        Outcome::Done(Learned::LifeEnded) => return TenantRecord::Deleted(Box::new(tenant.to_tombstone(now))),
        Outcome::Done(learned) => {
            apply(&mut tenant, learned, now);
            clear_failure(&mut tenant, step);
        }
        Outcome::Waiting { reason, until } => {
            back_off(&mut tenant, step.name(), BackoffReason::Waiting(*reason), now, *until);
        }
        Outcome::Failed { error, retry_after, .. } if step == Step::Sync => {
            let status = &mut tenant.reconcile;
            let failures = status.stripe_backoff.as_ref().map_or(1, |before| before.failures.saturating_add(1));
            let until = now + retry_delay(tenant.tenant_id, failures).max(retry_after.unwrap_or_default());
            status.stripe_backoff = Some(StripeBackoff { failures, error: error.clone(), until });
        }
        Outcome::Failed { error, retry_after, began } => {
            record_failure(&mut tenant, step.name(), error, now, *retry_after);
            if error.is_outcome_unknown() && step.scope() == StepScope::Resources {
                tenant.reconcile.note_in_flight(*began, now);
            }
        }
    }
    TenantRecord::Live(Box::new(tenant))
}

/// Writes what was learned at `now` into the row. [`Learned::LifeEnded`] leaves no row: [`record_outcome`] knows it.
pub fn apply(tenant: &mut Tenant, learned: &Learned, now: Timestamp) {
    let status = &mut tenant.reconcile;
    let resources = &mut status.resources;
    match learned {
        Learned::SubscriptionFetched { subscription, has_trialed } => {
            if subscription.is_some() {
                tenant.subscription.clone_from(subscription);
            }
            tenant.trial_spent |= has_trialed;
            status.synced_at = Some(now);
        }
        Learned::LifecycleChanged { lifecycle, newest_key } => change_lifecycle(tenant, *lifecycle, *newest_key, now),
        Learned::ShardChosen(shard) => status.shard = Some(shard.clone()),
        Learned::Activated => {
            tenant.lifecycle = Lifecycle::Active;
            status.observed_at = Some(now + jitter(tenant.tenant_id, OBSERVED_EVERY));
        }
        Learned::RotationStarted(key) => {
            tenant.rotation_requested = false;
            tenant.other_generation = Some(tenant.generation.next(*key));
            status.generation_since = Some(now);
        }
        Learned::KeyChosen(key) => tenant.set_key(*key),
        Learned::RotationEnded => {
            tenant.generation = tenant.other_generation.take().unwrap_or(tenant.generation);
            tenant.key_hashes = resources.keys.iter().map(|keys| keys.internal.clone()).collect();
        }
        Learned::PersonNotified(notice) => status.last_notice = Some(*notice),
        Learned::IdentityMade(identity) => resources.identity = Some(identity.clone()),
        Learned::RoleGranted { principal_id } => resources.secret_reader = Some(principal_id.clone()),
        Learned::ShareMade => resources.share = true,
        Learned::StorageMade => resources.storage = true,
        Learned::KeysWritten(keys) => {
            let former = resources.keys.replace(keys.clone());
            if let Some(former) = former.filter(|former| former.generation != keys.generation) {
                resources.former_keys = Some(former);
            }
            tenant.key_hashes = resources.key_hashes();
        }
        Learned::ModelKeysSet { disabled, limit_cents } => {
            for keys in resources.keys.iter_mut().chain(&mut resources.former_keys) {
                (keys.disabled, keys.limit_cents) = (*disabled, *limit_cents);
            }
        }
        Learned::ModelKeyMissing { generation } => {
            for keys in [&mut resources.keys, &mut resources.former_keys] {
                keys.take_if(|keys| keys.generation == *generation);
            }
        }
        Learned::FormerKeysDropped { found } => {
            resources.former_keys = None;
            tenant.key_hashes = resources.key_hashes();
            if !found {
                status.note_in_flight(status.generation_since.unwrap_or(now), now);
            }
        }
        Learned::ReleaseChosen { release, newest, holds_slot } => {
            status.release = Some(release.clone());
            status.evaluated_release = Some(newest.clone());
            status.holds_rollout_slot = *holds_slot;
        }
        Learned::ReleaseKept { newest } => status.evaluated_release = Some(newest.clone()),
        Learned::RolloutSlotFreed => (status.holds_rollout_slot, status.failed_release) = (false, None),
        Learned::RolledBack { failed, release } => {
            (status.holds_rollout_slot, status.failed_release) = (false, Some(failed.clone()));
            if release.is_some() {
                status.release.clone_from(release);
            }
        }
        Learned::ReleaseReplaced { release } => status.release = Some(release.clone()),
        Learned::OperationStarted(operation) => resources.operation = Some(operation.clone()),
        Learned::OperationForgotten => drop(forget_operation(resources)),
        Learned::OperationFailed { code } => {
            if let Some(change) = forget_operation(resources) {
                let error = StepError::OperationFailed { code: code.clone() };
                record_failure(tenant, change.step(), &error, now, None);
            }
        }
        Learned::AppChanged { change, running, fqdn, failure } => {
            change_app(resources, change, *running, fqdn, failure.is_some(), now);
            record_change(tenant, change, failure.as_deref(), now);
        }
        Learned::AppMissing => (resources.operation, resources.app) = (None, None),
        Learned::AppDrained => resources.app.iter_mut().for_each(|app| app.drained = true),
        Learned::AppHealthy => resources.app.iter_mut().for_each(|app| app.healthy = true),
        Learned::Observed(finding) => finding.apply(tenant, now),
        Learned::LeftoversRemoved => status.leftovers = None,
        Learned::PartRemoved { part, purged_by } => record_removed(tenant, *part, now, *purged_by),
        Learned::LifeRestarted => {
            let anew = tenant.to_tombstone(now).reactivate(tenant.chat_id, tenant.subscription.clone(), now);
            *tenant = Tenant { held: tenant.held, gift: tenant.gift, version: tenant.version, ..anew };
        }
        Learned::LifeEnded => {}
    }
}

fn change_lifecycle(tenant: &mut Tenant, lifecycle: Lifecycle, newest_key: KeyId, now: Timestamp) {
    tenant.lifecycle = lifecycle;
    if lifecycle == Lifecycle::Provisioning && tenant.newest_generation().key.is_none() {
        tenant.set_key(newest_key);
    }
    let status = &mut tenant.reconcile;
    match lifecycle {
        Lifecycle::Provisioning => status.generation_since = status.generation_since.or(Some(now)),
        // What an earlier call may have left running has to be found.
        Lifecycle::Suspended => status.observed_at = None,
        Lifecycle::Pending | Lifecycle::Active | Lifecycle::Deprovisioning => {}
    }
}

/// The app as it is after `change`, which took effect, or (`has_failed`) did not.
fn change_app(
    resources: &mut Resources,
    change: &AppChange,
    running: bool,
    fqdn: &Option<String>,
    has_failed: bool,
    now: Timestamp,
) {
    resources.operation = None;
    let (mut fingerprint, mut release) =
        resources.app.take().map(|before| (before.fingerprint, before.release)).unwrap_or_default();
    match change {
        AppChange::Put { .. } if has_failed => fingerprint = String::new(),
        AppChange::Put { fingerprint: put, release: of } => (fingerprint, release) = (put.clone(), of.clone()),
        AppChange::Start | AppChange::Stop | AppChange::Delete => {}
    }
    let fqdn = fqdn.clone();
    let app = ContainerApp { fingerprint, release, fqdn, running, drained: false, healthy: false, changed_at: now };
    resources.app = Some(app);
}

fn record_change(tenant: &mut Tenant, change: &AppChange, failure: Option<&str>, now: Timestamp) {
    let status = &mut tenant.reconcile;
    if let Some(code) = failure {
        let error = StepError::OperationFailed { code: code.to_owned() };
        record_failure(tenant, change.step(), &error, now, None);
        return;
    }
    let is_mended =
        |last: &LastError| last.step == change.step() && matches!(last.error, StepError::OperationFailed { .. });
    if status.last_error.as_ref().is_some_and(is_mended) {
        (status.failures, status.last_error) = (0, None);
    }
}

/// An operation that ended without a result: the app is not believed to be what it was.
fn forget_operation(resources: &mut Resources) -> Option<AppChange> {
    let change = resources.operation.take().map(|operation| operation.change);
    if let (Some(AppChange::Put { .. }), Some(app)) = (&change, &mut resources.app) {
        app.fingerprint = String::new();
    }
    change
}

fn record_removed(tenant: &mut Tenant, part: Part, at: Timestamp, purged_by: Option<Timestamp>) {
    let resources = &mut tenant.reconcile.resources;
    match part {
        Part::Integrations | Part::Rows => {}
        Part::ModelKeys => (resources.keys, resources.former_keys) = (None, None),
        Part::App => (resources.operation, resources.app) = (None, None),
        Part::Storage => resources.storage = false,
        Part::Share => resources.share = false,
        Part::Role => resources.secret_reader = None,
        Part::Identity => resources.identity = None,
        Part::Secret => tenant.key_hashes = Vec::new(),
    }
    if !tenant.reconcile.receipt.iter().any(|known| known.part == part) {
        tenant.reconcile.receipt.push(RemovedPart { part, at, purged_by, late: false });
    }
}

/// What `step` had left of earlier attempts. A failed operation is not mended by another one that only begins.
fn clear_failure(tenant: &mut Tenant, step: Step) {
    let status = &mut tenant.reconcile;
    if step == Step::Sync {
        status.stripe_backoff = None;
    }
    status.step_backoff.take_if(|backoff| backoff.step == step.name());
    let is_mended =
        |last: &LastError| last.step == step.name() && !matches!(last.error, StepError::OperationFailed { .. });
    if status.last_error.as_ref().is_some_and(is_mended) {
        (status.failures, status.last_error) = (0, None);
    }
}

fn record_failure(
    tenant: &mut Tenant,
    step: StepName,
    error: &StepError,
    now: Timestamp,
    retry_after: Option<Duration>,
) {
    let status = &mut tenant.reconcile;
    status.failures = status.failures.saturating_add(1);
    status.last_error = Some(LastError { step, error: error.clone(), at: now });
    let wait = retry_delay(tenant.tenant_id, status.failures).max(retry_after.unwrap_or_default());
    back_off(tenant, step, BackoffReason::Failed(error.clone()), now, now + wait);
}

fn back_off(tenant: &mut Tenant, step: StepName, reason: BackoffReason, now: Timestamp, until: Timestamp) {
    let since = tenant.reconcile.waiting_since(step).unwrap_or(now);
    tenant.reconcile.step_backoff = Some(StepBackoff { step, reason, since, until });
}

/// How long to wait after so many failures in a row: from 5 s, doubled up to an hour, and up to an eighth more.
fn retry_delay(tenant: TenantId, failures: u32) -> Duration {
    let doubled = backoff::exponential(FIRST_RETRY, failures, LONGEST_RETRY);
    doubled + jitter(tenant, doubled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ChatId;
    use crate::domain::shard::Shard;
    use crate::domain::time_limits::IN_FLIGHT;

    #[test]
    fn a_former_key_that_the_gateway_does_not_know_is_looked_for_again() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let [azure_subscription, account, vault, vault_url] = ["s", "a", "v", "https://v"].map(str::to_owned);
        let shard = Shard { azure_subscription, account, vault, vault_url };
        for found in [true, false] {
            let mut tenant = Tenant::new(TenantId::random(), ChatId(1));
            tenant.reconcile.shard = Some(shard.clone());
            apply(&mut tenant, &Learned::FormerKeysDropped { found }, now);
            let until = tenant.reconcile.in_flight.map(|requests| requests.until);
            assert_eq!(until, (!found).then_some(now + IN_FLIGHT));
        }
    }

    #[test]
    fn retries_wait_twice_as_long_each_time_up_to_an_hour() {
        let tenant = TenantId::random();
        let within = |failures, seconds: u64| {
            let wait = retry_delay(tenant, failures);
            wait >= Duration::from_secs(seconds) && wait < Duration::from_secs(seconds) * 9 / 8
        };
        assert!(within(1, 5) && within(2, 10) && within(5, 80) && within(11, 3_600) && within(u32::MAX, 3_600));
    }
}
