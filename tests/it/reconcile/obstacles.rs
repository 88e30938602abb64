//! What Azure puts in the way: locks, other operations, roles that take their time.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd::domain::subscription::{RETENTION, Status};
use nbhd::domain::tenant::Lifecycle;
use nbhd_sim::arm::{ACCOUNT, Failure, LockLevel, Operation, Pace};
use tenant_reconcile::App;

use crate::reconcile::world::{MINUTE, World, image};

#[tokio::test]
async fn a_lock_on_the_group_stops_the_assistant_all_the_same_and_the_rest_goes_once_it_is_off() {
    let world = World::active().await;
    let group = world.azure.arm.group();
    let scope = format!("/subscriptions/{}/resourceGroups/{}", group.subscription_id, group.name);
    world.azure.arm.locks(&scope, LockLevel::CanNotDelete);
    world.save_status(Status::Canceled).await;
    world.clock.advance(RETENTION);
    world.nudge().await;
    world.runs_for(40 * MINUTE).await;
    assert!(world.container().is_stopped, "{:#?}", world.steps().await);
    assert!(world.gateway.keys().iter().all(|key| key.disabled), "no model key is live");
    let status = world.row().await.reconcile;
    assert_eq!((status.failures, status.in_flight), (0, None), "{:?}", status.last_error);
    let log = nbhd::telemetry::capture();
    assert!(log.contains("\"ScopesLocked\":1") && log.contains("\"scope\":\"nbhd\""), "the lock is named");
    world.azure.arm.unlocks();
    world.lives_on(60 * MINUTE).await;
    world.assert_gone().await;
}

#[tokio::test]
async fn a_change_that_azure_is_busy_with_waits_is_looked_at_and_is_no_failure() {
    let world = World::active().await;
    let busy = Failure::Refused(StatusCode::CONFLICT, "ContainerAppOperationInProgress");
    world.azure.arm.faults.fail_always(Operation::StopApp, busy);
    world.pays(Status::Unpaid).await;
    let calls = world.azure.arm.faults.calls(Operation::StopApp);
    world.runs_for(70 * MINUTE).await;
    let row = world.row().await;
    assert_eq!((row.lifecycle, row.reconcile.failures), (Lifecycle::Suspended, 0));
    let tries = world.azure.arm.faults.calls(Operation::StopApp) - calls;
    assert!((5..60).contains(&tries), "{tries}");
    assert!(world.gateway.keys().iter().all(|key| key.disabled), "the key does not wait for it");
    let looked_at = row.reconcile.observed_at.expect("a look, since the row may be wrong");
    assert!(world.clock.now().since(looked_at) < 31 * MINUTE, "{looked_at:?}");
    world.azure.arm.faults.recover();
    world.run_until_idle().await;
    assert!(world.container().is_stopped);
}

#[tokio::test]
async fn a_replica_that_does_not_leave_since_the_app_was_started_again_is_looked_at() {
    let world = World::active().await;
    // A start that arrived late: the row takes the app for stopped.
    world
        .change(|tenant| {
            let app = tenant.reconcile.resources.app.as_mut().expect("an app");
            (app.running, app.drained) = (false, false);
            tenant.rotation_requested = true;
        })
        .await;
    world.nudge().await;
    world.runs_for(70 * MINUTE).await;
    let row = world.row().await;
    assert_eq!((row.lifecycle, row.reconcile.failures), (Lifecycle::Active, 0), "{:#?}", world.steps().await);
    assert!(row.other_generation.is_none() && !row.rotation_requested, "{:#?}", world.steps().await);
    assert!(!world.container().is_stopped);
}

#[tokio::test]
async fn what_is_already_so_is_done_after_a_look() {
    let world = World::active().await;
    world.pays(Status::Unpaid).await;
    world.run_until_idle().await;
    assert!(world.container().is_stopped);
    world.azure.arm.faults.fail_always(Operation::StopApp, Failure::Refused(StatusCode::CONFLICT, "Conflict"));
    world.change(|tenant| tenant.reconcile.resources.app.iter_mut().for_each(|app| app.running = true)).await;
    world.nudge().await;
    world.run_until_idle().await;
    let row = world.row().await;
    assert!(row.reconcile.resources.app.is_some_and(|app| !app.running) && row.reconcile.step_backoff.is_none());

    let other = World::start().await;
    let share = other.azure.arm.group().share(ACCOUNT, &other.names().resource).to_string();
    other.azure.arm.creates(&share, serde_json::json!({"properties": {"shareQuota": 5}}));
    let exists = Failure::Refused(StatusCode::CONFLICT, "ShareAlreadyExists");
    other.azure.arm.faults.fail_next(Operation::PutShare, exists);
    other.pays(Status::Active).await;
    other.run_until_idle().await;
    other.assert_active().await;
    assert!(!other.steps().await.iter().any(|step| step.contains("refused")));
}

#[tokio::test]
async fn a_role_that_takes_ten_minutes_is_waited_for_and_is_nobodys_fault() {
    let world = World::start().await;
    world.azure.arm.delays_roles(Pace::After(10 * MINUTE));
    world.pays(Status::Active).await;
    let began = world.clock.now();
    world.run_until_idle().await;
    world.assert_active().await;
    let waited = world.clock.now().since(began);
    assert!((10 * MINUTE..15 * MINUTE).contains(&waited), "{waited:?}");
    assert!(!world.steps().await.iter().any(|step| step.contains("refused")), "{:#?}", world.steps().await);
    assert!(world.steps().await.contains(&"put_app: role_not_effective".to_owned()));
}

#[tokio::test]
async fn a_role_that_is_late_rolls_no_release_back() {
    let world = World::active().await;
    world.clock.advance(20 * MINUTE);
    let env = world.env.clone().with("OPENCLAW_IMAGE", image('b'));
    let next = App::new(&env, world.clock.clone()).expect("complete settings");
    // As when the role was made anew a moment before the release.
    world.azure.arm.delays_roles(Pace::After(world.clock.now().since(Default::default())));
    for minute in 0..45 {
        if minute == 35 {
            world.azure.arm.delays_roles(Pace::Immediate);
        }
        tenant_reconcile::reconcile(&next, world.tenant).await.expect("a table");
        world.clock.advance(Duration::from_secs(60));
    }
    world.assert_active().await;
    assert_eq!(world.container().image(), Some(image('b').as_str()), "{:#?}", world.steps().await);
    let rollout = world.store.load_rollout().await.expect("a table").expect("a rollout");
    assert!(rollout.failed.is_empty());
}
