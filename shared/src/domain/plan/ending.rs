//! What is planned when an assistant ends, for a while or for good: first what can act is stopped.

use super::{Notice, Part, Step, earliest, is_in_doubt, is_observation_due, plan_leftovers};
use crate::clock::Timestamp;
use crate::domain::subscription::Entitlement;
use crate::domain::tenant::Tenant;

/// A stopped assistant keeps everything, and its model key pays for nothing.
pub(super) fn plan_suspended(tenant: &Tenant, now: Timestamp, steps: &mut Vec<Step>) {
    let status = &tenant.reconcile;
    if is_in_doubt(tenant, now) {
        steps.push(Step::Observe);
    }
    take_turns(tenant, now, [stop_app(tenant), disable_model_keys(tenant)], steps);
    if status.holds_rollout_slot {
        steps.push(Step::FreeRolloutSlot { healthy: true });
    }
    match status.last_notice {
        Some(Notice::Suspended | Notice::SuspendedAnew) => {}
        Some(Notice::Removed) => steps.push(Step::Notify(Notice::SuspendedAnew)),
        None | Some(Notice::Ready | Notice::ReadyAnew | Notice::Resumed | Notice::Replaced) => {
            steps.push(Step::Notify(Notice::Suspended));
        }
    }
    plan_leftovers(tenant, steps);
    // Also right after the suspension: an app whose creation was cut short may run without our knowing.
    if is_observation_due(tenant, now) {
        steps.push(Step::Observe);
    }
}

/// Every part by its name, known to be there or not: a call that was cut short may have made it.
pub(super) fn plan_removal(tenant: &Tenant, now: Timestamp, steps: &mut Vec<Step>) {
    let status = &tenant.reconcile;
    let is_left = |part: &Part| {
        let is_removed = status.receipt.iter().any(|removed| removed.part == *part);
        !is_removed && (!part.is_in_shard() || status.shard.is_some())
    };
    let remove = |part: Part| if is_left(&part) { vec![Step::Remove(part)] } else { Vec::new() };
    let (mut stop, mut remove_app) = (stop_app(tenant), remove(Part::App));
    if status.resources.operation.is_some() {
        stop.append(&mut remove_app);
    }
    let disable = disable_model_keys(tenant);
    take_turns(tenant, now, [stop, disable, remove_app, remove(Part::ModelKeys), remove(Part::Integrations)], steps);
    let rest = Part::ALL.into_iter().filter(|part| !matches!(part, Part::App | Part::ModelKeys | Part::Integrations));
    steps.extend(rest.filter(is_left).map(Step::Remove));
    if status.holds_rollout_slot {
        steps.push(Step::FreeRolloutSlot { healthy: true });
    }
    // Whoever paid while the removal went on gets a new life, whether Stripe's event reached us or not.
    let removed_last = status.receipt.last().filter(|_| tenant.customer.is_some());
    if removed_last.is_some_and(|last| status.synced_at.is_none_or(|at| at < last.at)) {
        steps.push(Step::Sync);
    }
    plan_leftovers(tenant, steps);
    let is_the_end = matches!(tenant.entitlement(now), Entitlement::Remove);
    match status.last_notice {
        None | Some(Notice::Removed) => {}
        Some(_) if is_the_end => steps.push(Step::Notify(Notice::Removed)),
        Some(Notice::Replaced) => {}
        Some(Notice::Ready | Notice::ReadyAnew | Notice::Suspended | Notice::SuspendedAnew | Notice::Resumed) => {
            steps.push(Step::Notify(Notice::Replaced));
        }
    }
    steps.push(Step::Finalize);
}

/// Stops the container, unless it is known to be stopped.
fn stop_app(tenant: &Tenant) -> Vec<Step> {
    let resources = &tenant.reconcile.resources;
    let await_operation = resources.operation.as_ref().map(|_| Step::AwaitOperation);
    let stop = resources.app.as_ref().filter(|app| app.running).map(|_| Step::StopApp);
    await_operation.into_iter().chain(stop).collect()
}

/// Switches the model keys off, unless all are.
fn disable_model_keys(tenant: &Tenant) -> Vec<Step> {
    let resources = &tenant.reconcile.resources;
    let enabled = resources.keys.iter().chain(&resources.former_keys).find(|keys| !keys.disabled);
    enabled.map(|keys| Step::SetModelKey { disabled: true, limit_cents: keys.limit_cents }).into_iter().collect()
}

/// Adds turns that do not depend on each other, in their order; but one that waits or has failed lets the others try
/// first, so that nothing that does not end keeps anything else alive.
fn take_turns<const N: usize>(tenant: &Tenant, now: Timestamp, turns: [Vec<Step>; N], steps: &mut Vec<Step>) {
    let backoff = tenant.reconcile.step_backoff.as_ref();
    let is_held_up = |step: &Step| backoff.is_some_and(|backoff| backoff.step == step.name());
    let mut turns: Vec<_> = turns.into_iter().filter(|turn| !turn.is_empty()).collect();
    if let Some(held_up) = turns.iter().position(|turn| turn.iter().any(is_held_up)) {
        turns.rotate_left(held_up + 1);
    }
    turns.sort_by_key(|turn| turn.first().and_then(|step| earliest(tenant, step)).filter(|at| *at > now));
    steps.extend(turns.into_iter().flatten());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::tests::{converged, spec};
    use super::super::{Learned, Outcome, plan, record_outcome};
    use super::*;
    use crate::domain::resources::AppChange;
    use crate::domain::step_error::StepError;
    use crate::domain::subscription::Status;
    use crate::domain::tenant::{Lifecycle, TenantRecord};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn removed_while_it_runs() -> Tenant {
        Tenant { lifecycle: Lifecycle::Deprovisioning, ..converged(Status::Canceled) }
    }

    #[test]
    fn what_acts_is_stopped_before_anything_is_removed() {
        let plan = plan(&removed_while_it_runs(), &spec(), NOW);
        let names: Vec<_> = plan.steps.iter().map(|step| step.name().as_str()).collect();
        let begin = ["stop_app", "disable_model_key", "remove_app", "remove_model_keys", "remove_integrations"];
        assert_eq!(names[..5], begin);
    }

    /// How often each step is tried within two hours, when those that `is_stuck` names are refused each time.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever comes then, all of them have ended")]
    fn tries(is_stuck: impl Fn(Step) -> bool) -> BTreeMap<&'static str, usize> {
        let (mut tenant, mut now, mut tries) = (removed_while_it_runs(), NOW, BTreeMap::new());
        while now < NOW + Duration::from_secs(7200) {
            let plan = plan(&tenant, &spec(), now);
            let Some(step) = plan.next(now).copied() else {
                now = plan.due(now).filter(|at| *at > now).expect("it goes on");
                continue;
            };
            *tries.entry(step.name().as_str()).or_default() += 1;
            let outcome = match step {
                _ if is_stuck(step) => {
                    let error = StepError::Refused { status: 400, code: "no".to_owned() };
                    Outcome::Failed { error, retry_after: None, began: now }
                }
                Step::StopApp => Outcome::Done(Learned::AppChanged {
                    change: AppChange::Stop,
                    running: false,
                    fqdn: None,
                    failure: None,
                }),
                Step::SetModelKey { disabled, limit_cents } => {
                    Outcome::Done(Learned::ModelKeysSet { disabled, limit_cents })
                }
                Step::Remove(part) => Outcome::Done(Learned::PartRemoved { part, purged_by: None }),
                // All of them have ended.
                _ => return tries,
            };
            match record_outcome(tenant, step, &outcome, now) {
                TenantRecord::Live(next) => tenant = *next,
                TenantRecord::Deleted(_) => panic!("something is stuck"),
            }
        }
        tries
    }

    #[test]
    fn whatever_does_not_end_keeps_nothing_else_alive_and_is_tried_less_and_less_often() {
        type IsStuck = fn(Step) -> bool;
        let cases: [(IsStuck, &[&str]); 4] = [
            (|step| step == Step::Remove(Part::Integrations), &["stop_app", "remove_app", "remove_model_keys"]),
            (|step| matches!(step, Step::StopApp), &["disable_model_key", "remove_app", "remove_integrations"]),
            (|step| step.name().as_str().contains("_app"), &["disable_model_key", "remove_integrations"]),
            (|step| step.name().as_str().contains("model_key"), &["stop_app", "remove_app", "remove_integrations"]),
        ];
        for (is_stuck, ended) in cases {
            let tries = tries(is_stuck);
            for step in ended {
                assert_eq!(tries.get(step), Some(&1), "{step}: {tries:?}");
            }
            assert!(tries.values().sum::<usize>() < 130, "{tries:?}");
        }
    }
}
