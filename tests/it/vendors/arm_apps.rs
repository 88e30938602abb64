//! Container apps: long-running operations in each of their ways, replicas, the ingress, and drift.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbhd::providers::Error;
use nbhd::providers::azure::resource_manager::container_app::{ProvisioningState, RunningState};
use nbhd::providers::azure::resource_manager::{Obstacle, Operation, PollOutcome, StartOutcome};
use nbhd_sim::arm::{ContainerEvent, Failure, LockLevel, Operation as Asked, OperationUrl, Pace, StateSpelling};
use nbhd_sim::azure::VAULT;
use nbhd_sim::server::Server;
use serde_json::json;

use crate::vendors::arm_world::{NAME, ROLE, SECRET, World, pending};

#[tokio::test]
async fn an_app_is_created_stopped_started_and_deleted() {
    let world = World::start().await;
    let (client, group) = (&world.client, &world.group);
    let intended = world.deploy_app().await;
    let app = world.app().await;
    assert_eq!((app.provisioning, app.running), (ProvisioningState::Succeeded, RunningState::Running));
    assert_eq!(app.find_drift(&intended), Vec::<String>::new());
    assert_eq!(client.count_replicas(group, NAME).await.expect("a count"), 1);
    assert_eq!(world.visit("/healthz").await, 200);

    world.await_operation(client.stop_app(group, NAME).await.expect("begun")).await;
    assert_eq!(
        (world.app().await.running, client.count_replicas(group, NAME).await.expect("a count")),
        (RunningState::Stopped, 0)
    );
    assert_eq!(world.visit("/healthz").await, 404);

    world.await_operation(client.start_app(group, NAME).await.expect("begun")).await;
    assert_eq!((world.app().await.running, world.visit("/healthz").await), (RunningState::Running, 200));

    world.await_operation(client.delete_app(group, NAME).await.expect("begun")).await;
    assert!(matches!(client.get_app(group, NAME).await, Err(Error::NotFound)));
    assert_eq!(client.delete_app(group, NAME).await.expect("an answer"), StartOutcome::Done);
    for missing in [client.start_app(group, NAME).await, client.stop_app(group, NAME).await] {
        assert!(matches!(missing, Err(Error::NotFound)));
    }
    assert!(matches!(client.count_replicas(group, NAME).await, Err(Error::NotFound)));
    world.assert_contract();
}

#[tokio::test]
async fn every_way_to_announce_an_operation_leads_to_its_end() {
    for announced in [OperationUrl::Documented, OperationUrl::Absent, OperationUrl::OtherHost] {
        let world = World::start().await;
        world.arm.sends_operation_url(announced);
        world.arm.delays_operations(Pace::Polls(2));
        let app = world.prepare_app().await;
        let (client, group) = (&world.client, &world.group);
        let polls = world.await_operation(client.put_app(group, NAME, &app).await.expect("begun")).await;
        assert_eq!(polls, 3, "{announced:?}");
        world.await_operation(client.stop_app(group, NAME).await.expect("begun")).await;
        world.await_operation(client.start_app(group, NAME).await.expect("begun")).await;
        world.await_operation(client.delete_app(group, NAME).await.expect("begun")).await;
        assert!(world.arm.apps().is_empty(), "{announced:?}");
    }
}

#[tokio::test]
async fn what_is_in_effect_at_once_needs_no_look() {
    let world = World::start().await;
    world.arm.delays_operations(Pace::Immediate);
    let app = world.prepare_app().await;
    let (client, group) = (&world.client, &world.group);
    assert_eq!(client.put_app(group, NAME, &app).await.expect("an answer"), StartOutcome::Done);
    assert_eq!(client.put_app(group, NAME, &app).await.expect("an answer"), StartOutcome::Done);
    assert_eq!(client.stop_app(group, NAME).await.expect("an answer"), StartOutcome::Done);
    assert_eq!(client.start_app(group, NAME).await.expect("an answer"), StartOutcome::Done);
    assert_eq!(client.delete_app(group, NAME).await.expect("an answer"), StartOutcome::Done);
    world.assert_contract();
}

#[tokio::test]
async fn an_operation_survives_being_saved_and_takes_the_time_it_takes() {
    let world = World::start().await;
    world.arm.delays_operations(Pace::After(Duration::from_secs(90)));
    world.arm.sends_retry_after(30);
    let app = world.prepare_app().await;
    let operation = pending(world.client.put_app(&world.group, NAME, &app).await.expect("begun"));
    assert_eq!(operation.retry_after(), Duration::from_secs(30));

    let saved = serde_json::to_string(&operation).expect("text");
    let operation: Operation = serde_json::from_str(&saved).expect("the operation");
    for _ in 0..3 {
        let polled = world.client.poll(&operation).await.expect("an answer");
        assert!(matches!(polled, PollOutcome::Pending(_)), "{polled:?}");
    }
    assert_eq!(world.app().await.provisioning, ProvisioningState::InProgress);
    world.clock.advance(Duration::from_secs(90));
    assert_eq!(world.client.poll(&operation).await.expect("an answer"), PollOutcome::Done);
}

#[tokio::test]
async fn a_state_in_small_letters_or_none_is_as_good_as_a_documented_one() {
    for spelling in [StateSpelling::LowerCase, StateSpelling::Absent] {
        for announced in [OperationUrl::Documented, OperationUrl::Absent] {
            let world = World::start().await;
            world.arm.spells_states(spelling);
            world.arm.sends_operation_url(announced);
            world.arm.delays_operations(Pace::Polls(2));
            let intended = world.prepare_app().await;
            let (client, group) = (&world.client, &world.group);
            let polls = world.await_operation(client.put_app(group, NAME, &intended).await.expect("begun")).await;
            assert_eq!(polls, 3, "{spelling:?} {announced:?}: what goes on is waited for");
            let app = world.app().await;
            assert_eq!((app.provisioning, app.running), (ProvisioningState::Succeeded, RunningState::Running));
            assert_eq!(app.find_drift(&intended), Vec::<String>::new());
            world.await_operation(client.stop_app(group, NAME).await.expect("begun")).await;
            assert_eq!(world.app().await.running, RunningState::Stopped, "{spelling:?} {announced:?}");
            // A failure stays one.
            world.arm.delays_operations(Pace::After(Duration::from_secs(1)));
            world.arm.faults.fail_next(Asked::PutApp, Failure::Provisioning);
            let operation = pending(client.put_app(group, NAME, &intended).await.expect("begun"));
            assert_eq!(world.app().await.provisioning, ProvisioningState::InProgress, "{spelling:?} {announced:?}");
            world.clock.advance(Duration::from_secs(1));
            let polled = client.poll(&operation).await.expect("an answer");
            assert!(matches!(polled, PollOutcome::Failed { .. }), "{spelling:?} {announced:?}: {polled:?}");
            assert_eq!(world.app().await.provisioning, ProvisioningState::Failed, "{spelling:?} {announced:?}");
        }
    }
}

#[tokio::test]
async fn while_one_operation_goes_on_another_is_not_begun() {
    let world = World::start().await;
    world.arm.delays_operations(Pace::After(Duration::from_secs(60)));
    let app = world.prepare_app().await;
    let (client, group) = (&world.client, &world.group);
    client.put_app(group, NAME, &app).await.expect("begun");
    assert_eq!(client.put_app(group, NAME, &app).await.expect("an answer"), StartOutcome::Busy);
    assert_eq!(client.stop_app(group, NAME).await.expect("an answer"), StartOutcome::Busy);
    assert_eq!(client.delete_app(group, NAME).await.expect("an answer"), StartOutcome::Busy);
    world.clock.advance(Duration::from_secs(60));
    assert!(matches!(client.delete_app(group, NAME).await.expect("an answer"), StartOutcome::Pending(_)));
    world.assert_contract();
}

#[tokio::test]
async fn a_failed_operation_is_said_by_its_code_in_every_way() {
    let world = World::start().await;
    let app = world.prepare_app().await;
    let (client, group) = (&world.client, &world.group);
    world.arm.delays_operations(Pace::After(Duration::from_secs(1)));
    let fails = async |started: Result<StartOutcome, Error>| {
        let polled = client.poll(&pending(started.expect("begun"))).await.expect("an answer");
        assert!(matches!(&polled, PollOutcome::Failed { code } if code == "ContainerAppOperationError"), "{polled:?}");
    };
    let begin = async |asked| {
        world.arm.faults.fail_next(asked, Failure::Provisioning);
        let started = if asked == Asked::PutApp {
            client.put_app(group, NAME, &app).await
        } else if asked == Asked::StopApp {
            client.stop_app(group, NAME).await
        } else {
            client.delete_app(group, NAME).await
        };
        world.clock.advance(Duration::from_secs(1));
        started
    };
    fails(begin(Asked::PutApp).await).await;
    assert_eq!(world.app().await.provisioning, ProvisioningState::Failed);
    fails(begin(Asked::StopApp).await).await;
    fails(begin(Asked::DeleteApp).await).await;
    assert!(world.arm.app(NAME).is_some());
    world.assert_contract();
}

#[tokio::test]
async fn an_operation_that_azure_forgot_is_unknown_and_an_outage_says_nothing_of_it() {
    let world = World::start().await;
    let app = world.prepare_app().await;
    let operation = pending(world.client.put_app(&world.group, NAME, &app).await.expect("begun"));
    world.arm.faults.fail_next(Asked::Poll, Failure::ConnectionLost);
    assert!(world.client.poll(&operation).await.expect_err("no answer").is_retryable());
    world.arm.faults.fail_next(Asked::Poll, Failure::Throttled(9));
    assert!(world.client.poll(&operation).await.expect_err("no answer").is_retryable());
    world.arm.deletes(world.group.app(NAME).as_str()).await;
    assert_eq!(world.client.poll(&operation).await.expect("an answer"), PollOutcome::Unknown);
}

#[tokio::test]
async fn a_function_stopped_dead_right_after_a_put_leaves_the_app_in_progress() {
    let world = World::start().await;
    let app = world.prepare_app().await;
    let put = world.client.put_app(&world.group, NAME, &app);
    assert!(world.journal.interruption().stop_after(1, put).await.is_none());
    assert_eq!(world.client.put_app(&world.group, NAME, &app).await.expect("an answer"), StartOutcome::Busy);
    assert_eq!(world.app().await.provisioning, ProvisioningState::Succeeded);
}

#[tokio::test]
async fn a_lost_answer_to_a_put_shows_in_the_app_itself() {
    let world = World::start().await;
    let app = world.prepare_app().await;
    world.arm.faults.fail_next(Asked::PutApp, Failure::AnswerLost);
    let lost = world.client.put_app(&world.group, NAME, &app).await;
    assert!(matches!(lost, Err(Error::Unreachable { .. })));
    assert_eq!(world.app().await.provisioning, ProvisioningState::InProgress);
    assert_eq!(world.app().await.provisioning, ProvisioningState::Succeeded);
}

#[tokio::test]
async fn an_app_that_cannot_read_its_secret_is_refused_and_its_reason_told_apart() {
    let world = World::start().await;
    let app = world.prepare_app().await;
    world.client.revoke_role(&world.group.vault_secret(VAULT, SECRET), ROLE).await.expect("revoked");
    let (client, group) = (&world.client, &world.group);
    let refused = client.put_app(group, NAME, &app).await.expect_err("it is refused");
    assert_eq!(Obstacle::of(&refused), Some(Obstacle::SecretUnreadable), "{refused}");
    assert!(world.arm.app(NAME).is_none());
    world.assert_contract();
}

#[tokio::test]
async fn a_lock_forbids_what_its_level_says_and_is_named_by_its_scope() {
    let world = World::start().await;
    let app = world.deploy_app().await;
    let (client, group) = (&world.client, &world.group);
    let scope = format!("/subscriptions/{}/resourceGroups/{}", group.subscription_id, group.name);
    world.arm.locks(&scope.to_ascii_uppercase(), LockLevel::CanNotDelete);
    let refused = client.delete_app(group, NAME).await.expect_err("it is locked");
    let name = Some(group.name.to_ascii_uppercase());
    assert_eq!(Obstacle::of(&refused), Some(Obstacle::Locked { scope: name }), "{refused}");
    let stopped = client.stop_app(group, NAME).await.expect("a lock against deletion allows it");
    world.await_operation(stopped).await;
    world.arm.unlocks();
    world.arm.locks(group.app(NAME).as_str(), LockLevel::ReadOnly);
    let refused = client.put_app(group, NAME, &app).await.expect_err("it is locked");
    assert_eq!(Obstacle::of(&refused), Some(Obstacle::Locked { scope: Some(NAME.to_owned()) }));
    assert!(client.delete_storage(group, "nbhd-env", NAME).await.expect("it is outside of the lock"));
    world.assert_contract();
}

#[tokio::test]
async fn azure_refuses_an_app_that_lacks_its_parts() {
    let world = World::start().await;
    let (client, group) = (&world.client, &world.group);
    let refused = async |name: &str, app| match client.put_app(group, name, &app).await {
        Err(Error::Refused { reason, .. }) => reason,
        other => panic!("it is refused: {other:?}"),
    };
    assert_eq!(refused(NAME, world.intended_app()).await, "FailedIdentityOperation");
    world.identity().await;
    assert_eq!(refused(NAME, world.intended_app()).await, "ManagedEnvironmentStorageNotFound");
    let app = world.prepare_app().await;
    assert_eq!(refused("Name_too", app.clone()).await, "ContainerAppInvalidName");
    assert_eq!(refused(&"n".repeat(33), app.clone()).await, "ContainerAppInvalidName");
    let mut big = app.clone();
    big.memory_gib = 3.0;
    assert_eq!(refused(NAME, big).await, "ContainerAppInvalidResourceTotal");
    let mut patient = app.clone();
    patient.probes[0].failure_threshold = 11;
    assert_eq!(refused(NAME, patient).await, "ContainerAppProbeInvalid");
    let mut elsewhere = app;
    elsewhere.environment = group.environment("other");
    assert_eq!(refused(NAME, elsewhere).await, "ManagedEnvironmentNotFound");
}

#[tokio::test]
async fn an_edit_behind_our_back_is_named_and_a_deletion_is_not_found() {
    let world = World::start().await;
    let intended = world.deploy_app().await;
    let id = world.group.app(NAME);
    world.arm.edits(id.as_str(), |body| {
        body["properties"]["template"]["containers"][0]["image"] = json!("other:latest");
        body["properties"]["configuration"]["ingress"]["allowInsecure"] = json!(true);
    });
    let departures = world.app().await.find_drift(&intended);
    let expected =
        ["/properties/configuration/ingress/allowInsecure", "/properties/template/containers/openclaw/image"];
    assert_eq!(departures, expected);
    world.arm.deletes(id.as_str()).await;
    assert!(matches!(world.client.get_app(&world.group, NAME).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn a_template_changed_under_a_running_replica_makes_two() {
    let world = World::start().await;
    let mut app = world.deploy_app().await;
    let (client, group) = (&world.client, &world.group);
    world.await_operation(client.put_app(group, NAME, &app).await.expect("begun")).await;
    assert_eq!(world.arm.overlaps(), 0, "nothing changed");

    app.image = format!("nbhd.azurecr.io/openclaw@sha256:{}", "b".repeat(64));
    world.await_operation(client.stop_app(group, NAME).await.expect("begun")).await;
    world.await_operation(client.put_app(group, NAME, &app).await.expect("begun")).await;
    assert_eq!(client.count_replicas(group, NAME).await.expect("a count"), 0, "a stopped app stays stopped");
    world.await_operation(client.start_app(group, NAME).await.expect("begun")).await;
    assert_eq!((world.arm.overlaps(), world.app().await.image()), (0, Some(app.image.as_str())));

    app.image = format!("nbhd.azurecr.io/openclaw@sha256:{}", "c".repeat(64));
    world.await_operation(client.put_app(group, NAME, &app).await.expect("begun")).await;
    assert_eq!(world.arm.overlaps(), 1);
}

#[tokio::test]
async fn a_container_starts_with_its_app_sleeps_when_idle_and_wakes_on_a_request() {
    let world = World::start().await;
    let container = Server::start(axum::Router::new().fallback(|| async { "hello" })).await.expect("a port");
    let (log, url) = (Arc::new(Mutex::new(Vec::new())), container.base_url());
    let told = Arc::clone(&log);
    world.arm.runs_containers(move |replica, secrets| {
        let line = match replica {
            ContainerEvent::Started(app) => {
                let secret = app.secret_of("NBHD_SECRETS").and_then(|name| secrets.get(name)).cloned();
                format!("starts {} {}", app.env("NBHD_TENANT_ID").unwrap_or_default(), secret.unwrap_or_default())
            }
            ContainerEvent::Ended(app) => format!("ends {}", app.name),
            ContainerEvent::Deleted(app) => format!("gone {}", app.name),
        };
        told.lock().expect("no panic").push(line);
        let url = url.clone();
        Box::pin(async move { Some(url) })
    });
    let said = || std::mem::take(&mut *log.lock().expect("no panic"));

    world.deploy_app().await;
    assert_eq!(said(), ["starts t1 the runtime's keys"]);
    assert_eq!((world.visit("/anything").await, world.arm.app(NAME).expect("an app").replicas), (200, 1));

    world.clock.advance(Duration::from_secs(300));
    world.arm.settles().await;
    assert_eq!((said(), world.arm.app(NAME).expect("an app").replicas), (vec!["ends nbhd-t1".to_owned()], 0));

    assert_eq!(world.visit("/anything").await, 200);
    assert_eq!(said(), ["starts t1 the runtime's keys"]);

    let (client, group) = (&world.client, &world.group);
    world.await_operation(client.stop_app(group, NAME).await.expect("begun")).await;
    assert_eq!((said(), world.visit("/anything").await), (vec!["ends nbhd-t1".to_owned()], 404));
    world.await_operation(client.start_app(group, NAME).await.expect("begun")).await;
    world.await_operation(client.delete_app(group, NAME).await.expect("begun")).await;
    assert_eq!(said(), ["starts t1 the runtime's keys", "ends nbhd-t1", "gone nbhd-t1"]);
}
