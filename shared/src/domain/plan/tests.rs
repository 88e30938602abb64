//! The plan at every turn of a life.

use super::*;
use crate::domain::generation::Generation;
use crate::domain::ids::{ChatId, TenantId};
use crate::domain::late_effects::Leftovers;
use crate::domain::reconcile_status::{BackoffReason, LastError, Lease, StepBackoff, StripeBackoff};
use crate::domain::resources::{AppChange, ContainerApp, Identity, Keys, Operation};
use crate::domain::secrets::KeyHash;
use crate::domain::shard::Shard;
use crate::domain::step_error::{StepError, WaitReason};
use crate::domain::subscription::{GRACE, RETENTION, Status, Subscription, Tier};
use crate::domain::time_limits::IN_FLIGHT;
use crate::domain::time_limits::LEASE;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Nothing but the key `k1` is listed.
pub(super) fn spec() -> Spec {
    let newest_key = key("k1");
    Spec {
        release: "new".to_owned(),
        fingerprint: "body".to_owned(),
        limit_cents: 500,
        newest_key,
        older_keys: Vec::new(),
    }
}

pub(super) fn key(id: &str) -> KeyId {
    id.parse().expect("an id")
}

pub(super) fn subscribed(status: Status) -> Tenant {
    let subscription = Subscription {
        id: "sub_1".to_owned(),
        status,
        tier: Tier::Basic,
        unpaid_since: Some(NOW),
        ended_at: Some(NOW),
        current_period_end: None,
        past_due_since: None,
        ends_at: None,
    };
    let mut tenant = Tenant::new(TenantId::random(), ChatId(1001));
    tenant.subscription = Some(subscription);
    tenant.customer = Some("cus_1".to_owned());
    tenant.reconcile.synced_at = Some(NOW);
    tenant
}

/// A tenant as it is once everything was done.
pub(super) fn converged(status: Status) -> Tenant {
    let mut tenant = subscribed(status);
    tenant.generation = Generation::new(key("k1"), 1);
    tenant.lifecycle = Lifecycle::Active;
    let status = &mut tenant.reconcile;
    status.shard = Some(shard());
    status.observed_at = Some(NOW);
    status.release = Some("new".to_owned());
    status.evaluated_release = Some("new".to_owned());
    status.last_notice = Some(Notice::Ready);
    status.resources = Resources {
        identity: Some(Identity { principal_id: "p".to_owned() }),
        keys: Some(keys("k1.1")),
        former_keys: None,
        secret_reader: Some("p".to_owned()),
        share: true,
        storage: true,
        app: Some(ContainerApp {
            fingerprint: "body".to_owned(),
            release: "new".to_owned(),
            fqdn: Some("host".to_owned()),
            running: true,
            drained: false,
            healthy: true,
            changed_at: NOW,
        }),
        operation: None,
    };
    tenant
}

fn shard() -> Shard {
    let [azure_subscription, account, vault, vault_url] = ["s", "a", "v", "https://v"].map(str::to_owned);
    Shard { azure_subscription, account, vault, vault_url }
}

pub(super) fn keys(generation: &str) -> Keys {
    Keys {
        generation: generation.parse().expect("a generation"),
        secret_version: "1".to_owned(),
        internal: KeyHash::from_key("key"),
        model_key: "hash".to_owned(),
        limit_cents: 500,
        disabled: false,
    }
}

/// For a minute.
fn backoff(step: StepName, since: Timestamp) -> StepBackoff {
    let until = since + Duration::from_secs(60);
    StepBackoff { step, reason: BackoffReason::Waiting(WaitReason::RowChanged), until, since }
}

fn steps(tenant: &Tenant) -> Vec<&'static str> {
    names(plan(tenant, &spec(), NOW))
}

fn names(plan: Plan) -> Vec<&'static str> {
    plan.steps.into_iter().map(|step| step.name().as_str()).collect()
}

#[test]
fn every_status_leads_every_lifecycle_to_its_next() {
    use Lifecycle::{Active, Deprovisioning, Pending, Provisioning, Suspended};
    const LATE: Duration = RETENTION;
    // From Pending, Provisioning, Active, Suspended, Deprovisioning: at first, and when grace and retention are over.
    type Row = (Status, [Lifecycle; 5], [Lifecycle; 5]);
    let runs = [Provisioning, Provisioning, Active, Provisioning, Deprovisioning];
    let rests = [Pending, Suspended, Suspended, Suspended, Deprovisioning];
    let ends = [Deprovisioning; 5];
    let table: [Row; 8] = [
        (Status::Incomplete, rests, rests),
        (Status::IncompleteExpired, rests, ends),
        (Status::Trialing, runs, runs),
        (Status::Active, runs, runs),
        (Status::PastDue, runs, rests),
        (Status::Canceled, rests, ends),
        (Status::Unpaid, rests, rests),
        (Status::Paused, rests, rests),
    ];
    assert_eq!(table.map(|(status, ..)| status), Status::ALL);
    for (status, at_first, in_the_end) in table {
        for (place, lifecycle) in Lifecycle::ALL.into_iter().enumerate() {
            for (now, expected) in [(NOW, at_first[place]), (NOW + LATE, in_the_end[place])] {
                let tenant = Tenant { lifecycle, ..subscribed(status) };
                assert_eq!(next_lifecycle(lifecycle, tenant.entitlement(now)), expected, "{status}, {lifecycle:?}");
                let steps = plan(&tenant, &spec(), now).steps;
                let moves = steps.iter().find(|step| matches!(step, Step::ChangeLifecycle(_)));
                let expected = (expected != lifecycle).then_some(Step::ChangeLifecycle(expected));
                assert_eq!(moves.copied(), expected, "{status}, {lifecycle:?}");
            }
        }
    }
}

#[test]
fn an_operators_hold_suspends_whatever_was_paid() {
    let held = Tenant { held: true, ..converged(Status::Active) };
    assert_eq!(steps(&held), ["suspend", "stop_app", "disable_model_key", "notify_suspended"]);
}

#[test]
fn a_first_payment_builds_everything_in_order() {
    let built = [
        "provision",
        "choose_shard",
        "make_identity",
        "make_share",
        "make_storage",
        "write_keys",
        "grant_role",
        "choose_release",
        "put_app",
        "check_health",
        "activate",
        "notify_ready",
    ];
    assert_eq!(steps(&subscribed(Status::Active)), built);
    assert_eq!(steps(&subscribed(Status::Incomplete)), [""; 0]);
}

#[test]
fn a_converged_tenant_rests_until_the_first_of_its_times() {
    let tenant = converged(Status::Active);
    let plan = plan(&tenant, &spec(), NOW);
    assert_eq!(plan.steps, []);
    let due = plan.due(NOW).expect("it is looked at again");
    assert!(due >= NOW + OBSERVED_EVERY && due < NOW + OBSERVED_EVERY * 9 / 8);
    let past_due = converged(Status::PastDue);
    let late = NOW + GRACE;
    assert_eq!(names(super::plan(&past_due, &spec(), late))[..2], ["sync", "suspend"], "not on an old snapshot");
    let mut ending = converged(Status::Active);
    ending.subscription.as_mut().expect("subscribed").ends_at = Some(NOW + OBSERVED_EVERY / 2);
    let end = super::plan(&ending, &spec(), NOW).due(NOW).expect("at its end");
    assert_eq!(end, NOW + OBSERVED_EVERY / 2);
    assert_eq!(names(super::plan(&ending, &spec(), end))[..2], ["sync", "suspend"], "Stripe may know better");
}

#[test]
fn while_stripe_cannot_be_asked_nobody_is_suspended_by_time_and_all_else_goes_on() {
    let mut tenant = converged(Status::PastDue);
    let late = NOW + GRACE;
    tenant.reconcile.resources.share = false;
    let until = late + Duration::from_secs(60);
    tenant.reconcile.stripe_backoff = Some(StripeBackoff { failures: 1, error: StepError::Throttled, until });
    let plan = super::plan(&tenant, &spec(), late);
    assert_eq!(plan.steps.first(), Some(&Step::MakeShare));
    assert_eq!(plan.next_check_at, Some(late + Duration::from_secs(60)));
    tenant.reconcile.synced_at = Some(late);
    assert_eq!(super::plan(&tenant, &spec(), late).steps.first(), Some(&Step::ChangeLifecycle(Lifecycle::Suspended)));
}

#[test]
fn while_stripe_cannot_be_asked_nobodys_assistant_is_begun_on_an_old_snapshot() {
    let late = NOW + GRACE;
    let mut tenant = Tenant { lifecycle: Lifecycle::Provisioning, ..converged(Status::PastDue) };
    let until = late + Duration::from_secs(60);
    tenant.reconcile.stripe_backoff = Some(StripeBackoff { failures: 1, error: StepError::Unreadable, until });
    let plan = super::plan(&tenant, &spec(), late);
    assert_eq!((plan.steps.as_slice(), plan.due(late)), ([Step::Sync].as_slice(), Some(until)));
    assert_eq!(super::plan(&tenant, &spec(), NOW).steps, [Step::Activate], "its grace goes on");
}

#[test]
fn what_a_dead_worker_sent_is_looked_for_once_it_must_have_arrived() {
    let mut tenant = converged(Status::Active);
    let until = NOW - Duration::from_secs(1);
    tenant.reconcile.lease = Some(Lease { owner: "dead".to_owned(), until });
    tenant.reconcile.end_expired_lease("other", until - Duration::from_secs(1));
    assert!(tenant.reconcile.lease.is_some() && tenant.reconcile.in_flight.is_none(), "it may be alive");
    tenant.reconcile.end_expired_lease("dead", NOW);
    assert!(tenant.reconcile.lease.is_some(), "it is our own");
    tenant.reconcile.end_expired_lease("other", NOW);
    let requests = tenant.reconcile.in_flight.clone().expect("noted");
    assert!(tenant.reconcile.lease.is_none() && requests.since < until - LEASE);
    assert_eq!(requests.until, NOW + IN_FLIGHT);
    let plan_at = |now| plan(&tenant, &spec(), now);
    assert_eq!((plan_at(NOW).steps.len(), plan_at(NOW).next_check_at), (0, Some(NOW + IN_FLIGHT)));
    assert_eq!(plan_at(NOW + IN_FLIGHT).steps, [Step::Observe]);
    let mut unbuilt = subscribed(Status::Active);
    unbuilt.reconcile.lease = Some(Lease { owner: "dead".to_owned(), until });
    unbuilt.reconcile.end_expired_lease("other", NOW);
    assert!(unbuilt.reconcile.in_flight.is_none(), "before a shard is chosen nothing can be made");
    unbuilt.reconcile.leftovers = Some(Leftovers { shard: shard(), since: NOW, not_before: NOW });
    unbuilt.reconcile.note_in_flight(NOW, NOW);
    let not_before = unbuilt.reconcile.leftovers.map(|leftovers| leftovers.not_before);
    assert_eq!(not_before, Some(NOW + IN_FLIGHT), "a delete that comes late must not meet what is built anew");
}

#[test]
fn nothing_is_built_before_an_earlier_lifes_leftovers_are_gone() {
    let not_before = NOW + Duration::from_secs(60);
    let mut tenant = subscribed(Status::Active);
    tenant.reconcile.leftovers = Some(Leftovers { shard: shard(), since: NOW, not_before });
    tenant.reconcile.last_notice = Some(Notice::Removed);
    assert_eq!(steps(&tenant), ["provision", "remove_leftovers"]);
    tenant.lifecycle = Lifecycle::Provisioning;
    let waiting = plan(&tenant, &spec(), NOW);
    assert_eq!((waiting.next(NOW), waiting.due(NOW)), (None, Some(not_before)));
    assert_eq!(plan(&tenant, &spec(), not_before).next(not_before), Some(&Step::RemoveLeftovers));
    tenant.reconcile.leftovers = None;
    assert_eq!(steps(&tenant).last(), Some(&"notify_ready_anew"));
}

#[test]
fn the_notice_of_a_removal_depends_on_what_follows_it_and_that_of_a_new_life_on_what_went_before() {
    let notice = |status, lifecycle, last_notice| {
        let mut tenant = Tenant { lifecycle, ..converged(status) };
        tenant.reconcile.last_notice = last_notice;
        let ended = if status == Status::Canceled { NOW + RETENTION } else { NOW };
        let steps = plan(&tenant, &spec(), ended).steps;
        steps.into_iter().find_map(|step| if let Step::Notify(notice) = step { Some(notice) } else { None })
    };
    use Lifecycle::{Active, Deprovisioning, Suspended};
    use Notice::{Ready, ReadyAnew, Removed, Replaced, Resumed, SuspendedAnew};
    let table = [
        (Status::Canceled, Deprovisioning, Some(Ready), Some(Removed)),
        (Status::Canceled, Deprovisioning, Some(Replaced), Some(Removed)),
        (Status::Canceled, Deprovisioning, Some(Removed), None),
        (Status::Canceled, Deprovisioning, None, None),
        (Status::Active, Deprovisioning, Some(Ready), Some(Replaced)),
        (Status::Active, Deprovisioning, Some(Replaced), None),
        (Status::Active, Deprovisioning, Some(Removed), None),
        (Status::Active, Active, Some(Removed), Some(ReadyAnew)),
        (Status::Active, Active, Some(SuspendedAnew), Some(ReadyAnew)),
        (Status::Active, Active, Some(ReadyAnew), None),
        (Status::Active, Active, Some(Notice::Suspended), Some(Resumed)),
        (Status::Unpaid, Suspended, Some(Removed), Some(SuspendedAnew)),
        (Status::Unpaid, Suspended, Some(SuspendedAnew), None),
        (Status::Unpaid, Suspended, Some(ReadyAnew), Some(Notice::Suspended)),
    ];
    for (status, lifecycle, before, expected) in table {
        assert_eq!(notice(status, lifecycle, before), expected, "{status}, {lifecycle:?}, {before:?}");
    }
}

#[test]
fn a_resumption_starts_what_is_there() {
    let mut tenant = converged(Status::Active);
    tenant.lifecycle = Lifecycle::Suspended;
    tenant.reconcile.last_notice = Some(Notice::Suspended);
    if let (Some(app), Some(keys)) = (&mut tenant.reconcile.resources.app, &mut tenant.reconcile.resources.keys) {
        (app.running, app.healthy, keys.disabled) = (false, false, true);
    }
    let resumed = ["provision", "set_model_key", "start_app", "check_health", "activate", "notify_resumed"];
    assert_eq!(steps(&tenant), resumed);
}

#[test]
fn a_running_container_never_overlaps_with_its_successor() {
    let mut tenant = converged(Status::Active);
    let changed = Spec { fingerprint: "another".to_owned(), ..spec() };
    let names = |tenant: &Tenant| names(plan(tenant, &changed, NOW));
    let all = ["stop_app", "await_no_replica", "put_app", "start_app", "check_health"];
    assert_eq!(names(&tenant), all);
    if let Some(app) = &mut tenant.reconcile.resources.app {
        app.running = false;
    }
    assert_eq!(names(&tenant), all[1..]);
    if let Some(app) = &mut tenant.reconcile.resources.app {
        app.drained = true;
    }
    assert_eq!(names(&tenant), all[2..]);
}

#[test]
fn an_operation_is_asked_about_when_azure_said_and_suspends_nothing_else() {
    let mut tenant = converged(Status::Active);
    let operation =
        Operation { change: AppChange::Start, handle: "h".to_owned(), poll_at: NOW + Duration::from_secs(5) };
    tenant.reconcile.resources.operation = Some(operation);
    let plan = plan(&tenant, &spec(), NOW);
    assert_eq!((plan.next(NOW), plan.due(NOW)), (None, Some(NOW + Duration::from_secs(5))));
    assert_eq!(plan.next(NOW + Duration::from_secs(5)), Some(&Step::AwaitOperation));
    tenant.held = true;
    assert_eq!(super::plan(&tenant, &spec(), NOW).next(NOW), Some(&Step::ChangeLifecycle(Lifecycle::Suspended)));
}

#[test]
fn a_backoff_holds_up_its_own_step_alone() {
    let mut tenant = converged(Status::Active);
    tenant.reconcile.resources.share = false;
    tenant.reconcile.step_backoff = Some(backoff(StepName::MakeShare, NOW));
    assert_eq!(plan(&tenant, &spec(), NOW).next(NOW), None);
    tenant.held = true;
    assert!(plan(&tenant, &spec(), NOW).next(NOW).is_some());
}

#[test]
fn what_fails_again_and_again_is_looked_at() {
    let mut tenant = converged(Status::Active);
    tenant.reconcile.resources.secret_reader = None;
    tenant.reconcile.failures = DOUBTED_AFTER;
    let at = NOW + Duration::from_secs(1);
    tenant.reconcile.last_error = Some(LastError { step: StepName::GrantRole, error: StepError::NotFound, at });
    assert_eq!(steps(&tenant), ["observe", "grant_role"]);
    tenant.reconcile.observed_at = Some(at);
    assert_eq!(steps(&tenant), ["grant_role"]);
}

#[test]
fn a_suspended_rotation_leaves_no_key_switched_on() {
    let mut tenant = Tenant { held: true, ..converged(Status::Active) };
    tenant.lifecycle = Lifecycle::Suspended;
    tenant.reconcile.last_notice = Some(Notice::Suspended);
    let resources = &mut tenant.reconcile.resources;
    resources.app = None;
    resources.former_keys = resources.keys.replace(Keys { disabled: true, ..keys("k1.2") });
    assert_eq!(steps(&tenant), ["disable_model_key"], "the former one is on");
    tenant.reconcile.resources.former_keys = Some(Keys { disabled: true, ..keys("k1.1") });
    assert_eq!(steps(&tenant), [""; 0]);
}

#[test]
fn a_newer_release_is_the_last_thing_a_running_tenant_waits_for() {
    let mut tenant = converged(Status::Active);
    let run = |tenant: &mut Tenant, release: &str| {
        tenant.reconcile.release = Some(release.to_owned());
        tenant.reconcile.evaluated_release = Some(release.to_owned());
        if let Some(app) = &mut tenant.reconcile.resources.app {
            app.release = release.to_owned();
        }
    };
    run(&mut tenant, "old");
    assert_eq!(steps(&tenant), ["choose_release"]);
    tenant.reconcile.holds_rollout_slot = true;
    tenant.reconcile.release = Some("new".to_owned());
    tenant.reconcile.evaluated_release = Some("new".to_owned());
    assert_eq!(steps(&tenant)[..3], ["stop_app", "await_no_replica", "put_app"]);
    run(&mut tenant, "new");
    assert_eq!(steps(&tenant), ["free_rollout_slot"]);
    if let Some(app) = &mut tenant.reconcile.resources.app {
        (app.healthy, app.changed_at) = (false, NOW - HEALTHY_WITHIN);
    }
    assert_eq!(steps(&tenant)[0], "roll_back");
}

#[test]
fn a_removal_goes_through_every_part_known_to_be_there_or_not() {
    let mut tenant = subscribed(Status::Canceled);
    tenant.lifecycle = Lifecycle::Deprovisioning;
    assert_eq!(steps(&tenant), ["remove_integrations", "remove_rows", "finalize"], "nothing was built");
    tenant.reconcile.shard = Some(shard());
    let all = steps(&tenant);
    assert_eq!(all.len(), Part::ALL.len() + 1);
    assert_eq!(all[..3], ["remove_app", "remove_model_keys", "remove_integrations"]);
}
