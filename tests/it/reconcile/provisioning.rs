//! A tenant's life, from the first payment to the receipt.

use std::time::Duration;

use nbhd::domain::ids::ChatId;
use nbhd::domain::plan::Part;
use nbhd::domain::route::RouteStatus;
use nbhd::domain::subscription::{GRACE, RETENTION, Status, Tier};
use nbhd::domain::tenant::Lifecycle;
use nbhd_sim::arm::{Failure, Operation, Pace};
use nbhd_sim::azure::VAULT;
use nbhd_sim::model_gateway;
use tenant_reconcile::Outcome;

use crate::reconcile::world::{ANA, DAY, MINUTE, World};

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the counts are the test's finding")]
async fn a_payment_becomes_an_assistant_that_is_ready() {
    let world = World::active().await;
    world.assert_active().await;
    assert_eq!(world.messages().len(), 1, "{:?}", world.messages());
    println!(
        "from checkout to ready: {} calls of the resource manager, {} table requests ({} units)",
        world.arm_calls(),
        world.table.calls().len(),
        world.table.units()
    );
    assert!(world.arm_calls() <= 8 && world.table.calls().len() <= 30);
}

#[tokio::test]
async fn the_container_is_what_was_decided() {
    let world = World::active().await;
    let app = world.container();
    let body = &app.body["properties"];
    assert_eq!(body["template"]["terminationGracePeriodSeconds"], 420);
    assert_eq!(body["template"]["scale"]["maxReplicas"], 1);
    assert_eq!(body["configuration"]["ingress"]["targetPort"], 8787);
    assert_eq!(app.tag("nbhd_tenant"), Some(world.tenant.to_string().as_str()));
    let config = app.env("NBHD_OPENCLAW_CONFIG").expect("a configuration");
    let config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    assert_eq!(config["channels"]["telegram"]["allowFrom"][0], ANA.to_string());
    assert_eq!(app.secret_of("NBHD_RUNTIME_SECRET"), Some("runtime"));
    let secret = world.azure.arm.secret_value(&app, "runtime").expect("readable");
    assert!(!app.body.to_string().contains(&secret));
    let secret: serde_json::Value = serde_json::from_str(&secret).expect("JSON");
    let model_key = secret["model_key"].as_str().expect("a model key");
    assert_eq!(world.gateway.issued(), [model_key]);
    for item in world.table.items().expect("items") {
        let item = item.to_string();
        for field in ["model_key", "internal_key", "webhook_secret", "relay_token", "gateway_token"] {
            assert!(!item.contains(secret[field].as_str().expect("a secret")), "{field} lies in the table");
        }
    }
}

#[tokio::test]
async fn a_converged_tenant_costs_one_read_and_no_call() {
    let world = World::active().await;
    let calls = world.arm_calls();
    world.table.clear_calls();
    assert_eq!(world.reconcile().await, Outcome::Converged);
    let requests: Vec<_> = world.table.calls().into_iter().map(|call| call.operation).collect();
    assert_eq!((requests, world.arm_calls()), (vec!["GetItem".to_owned()], calls));
}

#[tokio::test]
async fn a_failed_payment_suspends_after_its_grace_and_a_payment_resumes() {
    let world = World::active().await;
    world.pays(Status::PastDue).await;
    world.run_until_idle().await;
    world.assert_active().await;
    world.clock.advance(GRACE);
    world.lives_on(10 * MINUTE).await;

    let row = world.row().await;
    assert_eq!(row.lifecycle, Lifecycle::Suspended, "{:#?}", world.steps().await);
    let route = world.store.load_route(ChatId(ANA)).await.expect("a table").expect("a route");
    assert_eq!(route.status, RouteStatus::Suspended);
    assert!(world.container().is_stopped && world.gateway.keys()[0].disabled);
    assert_eq!(world.messages().len(), 2);

    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.assert_active().await;
    assert_eq!(world.messages().len(), 3, "{:?}", world.messages());
}

#[tokio::test]
async fn a_cancellation_keeps_everything_for_the_retention_and_then_nothing() {
    let world = World::active().await;
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended);
    world.lives_on(DAY).await;
    assert_eq!(world.azure.arm.resources().len(), 5, "{:#?}", world.steps().await);

    world.clock.advance(RETENTION);
    world.lives_on(10 * MINUTE).await;
    world.assert_gone().await;
    let items = world.table.items().expect("items");
    let left: Vec<_> =
        items.iter().filter(|item| !item["sk"]["S"].as_str().unwrap_or_default().starts_with("STEP")).collect();
    assert!(left.iter().all(|item| !item.to_string().contains(&ANA.to_string())), "{left:#?}");
}

#[tokio::test]
async fn a_payment_during_the_removal_waits_and_begins_a_new_life() {
    let world = World::active().await;
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    world.clock.advance(RETENTION);
    world.azure.arm.delays_operations(Pace::After(5 * MINUTE));
    world.azure.arm.sends_retry_after(30);
    reconcile_sweep::queue_due(&world.sweep, "sweep").await;
    let removal = world.reconcile().await;
    assert!(matches!(removal, Outcome::Waiting { .. }), "{removal:?} {:#?}", world.steps().await);
    assert_eq!(world.row().await.lifecycle, Lifecycle::Deprovisioning);

    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.azure.arm.delays_operations(Pace::Polls(1));
    world.lives_on(20 * MINUTE).await;
    world.assert_active().await;
    assert!(world.steps().await.iter().any(|step| step.contains("a new life begins")));
}

#[tokio::test]
async fn a_tombstone_comes_to_life_again() {
    let world = World::active().await;
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    world.clock.advance(RETENTION);
    world.lives_on(10 * MINUTE).await;
    world.assert_gone().await;
    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.assert_active().await;
}

#[tokio::test]
async fn an_operators_hold_outlives_the_removal() {
    let world = World::active().await;
    world.change(|tenant| tenant.held = true).await;
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    world.clock.advance(RETENTION);
    world.lives_on(10 * MINUTE).await;
    assert!(world.tombstone().await.held);

    world.pays(Status::Active).await;
    world.lives_on(60 * MINUTE).await;
    assert!(world.row().await.held && world.azure.arm.apps().is_empty(), "{:#?}", world.steps().await);

    world.change(|tenant| tenant.held = false).await;
    world.nudge().await;
    world.lives_on(10 * MINUTE).await;
    world.assert_active().await;
}

#[tokio::test]
async fn a_vault_that_keeps_what_was_deleted_gives_its_name_to_the_next_life() {
    let world = World::active().await;
    world.azure.vault.protects_from_purge();
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    world.clock.advance(RETENTION);
    world.lives_on(10 * MINUTE).await;
    let receipt = world.tombstone().await.receipt;
    let secret = receipt.iter().find(|line| line.part == Part::Secret).expect("in the receipt");
    assert!(secret.purged_by > Some(world.clock.now()), "the receipt says when the last copy goes: {secret:?}");

    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.assert_active().await;
}

#[tokio::test]
async fn a_lost_message_is_made_good_by_the_sweep() {
    let world = World::active().await;
    world.save_status(Status::Unpaid).await;
    world.lives_on(2 * DAY / 24).await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended);
}

#[tokio::test]
async fn an_operators_hold_suspends_and_its_end_resumes() {
    let world = World::active().await;
    world.change(|tenant| tenant.held = true).await;
    world.nudge().await;
    world.run_until_idle().await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended);
    world.change(|tenant| tenant.held = false).await;
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
}

#[tokio::test]
async fn a_larger_tier_raises_the_limit_and_changes_the_container() {
    let world = World::active().await;
    world
        .change(|tenant| {
            if let Some(subscription) = &mut tenant.subscription {
                subscription.tier = Tier::Plus;
            }
        })
        .await;
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
    assert_eq!(world.gateway.keys()[0].limit_micros, Some(20_000_000));
}

#[tokio::test]
async fn whatever_fails_once_is_made_good() {
    let arm = [
        Operation::PutIdentity,
        Operation::PutRole,
        Operation::PutShare,
        Operation::PutStorage,
        Operation::PutApp,
        Operation::Poll,
        Operation::Get,
    ];
    let failures = [
        Failure::Throttled(7),
        Failure::Status(axum::http::StatusCode::BAD_GATEWAY),
        Failure::AnswerLost,
        Failure::ConnectionLost,
        Failure::NotJson,
    ];
    for operation in arm {
        for failure in failures {
            let world = World::start().await;
            world.azure.arm.faults.fail_next(operation, failure);
            world.pays(Status::Active).await;
            world.run_until_idle().await;
            world.assert_active().await;
        }
    }
    for operation in [model_gateway::Operation::List, model_gateway::Operation::Create] {
        for failure in [model_gateway::Failure::AnswerLost, model_gateway::Failure::Status(500)] {
            let world = World::start().await;
            world.gateway.faults.fail_next(operation, failure);
            world.pays(Status::Active).await;
            world.run_until_idle().await;
            world.assert_active().await;
        }
    }
}

#[tokio::test]
async fn a_provisioning_that_azure_ends_badly_is_begun_anew() {
    let world = World::start().await;
    world.azure.arm.faults.fail_next(Operation::PutApp, Failure::Provisioning);
    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.assert_active().await;
}

#[tokio::test]
async fn a_new_principal_is_waited_for_and_is_no_failure() {
    let world = World::start().await;
    world.azure.arm.delays_principals(Pace::After(3 * MINUTE));
    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.assert_active().await;
    let steps = world.steps().await;
    assert_eq!(steps.iter().filter(|step| step.contains("principal_unknown")).count(), 1, "{steps:#?}");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test]
async fn a_slow_operation_spends_no_retry() {
    let world = World::start().await;
    world.azure.arm.delays_operations(Pace::After(20 * MINUTE));
    world.azure.arm.sends_retry_after(15);
    world.pays(Status::Active).await;
    world.run_until_idle().await;
    world.assert_active().await;
    assert_eq!((world.dead_letters(), world.row().await.reconcile.failures), (0, 0));
}

#[tokio::test]
async fn drift_is_found_and_repaired() {
    type Harm = fn(&World) -> String;
    let deleted: [Harm; 5] = [
        |world| world.azure.arm.group().identity(&world.names().resource).to_string(),
        |world| world.azure.arm.group().share(nbhd_sim::arm::ACCOUNT, &world.names().resource).to_string(),
        |world| world.azure.arm.group().storage(nbhd_sim::arm::ENVIRONMENT, &world.names().resource).to_string(),
        |world| world.azure.arm.group().app(&world.names().resource).to_string(),
        |world| {
            let (names, group) = (world.names(), world.azure.arm.group());
            let scope = group.vault_secret(VAULT, &names.secret);
            format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{}", names.role)
        },
    ];
    for harm in deleted {
        let world = World::active().await;
        let id = harm(&world);
        world.azure.arm.deletes(&id).await;
        world.lives_on(2 * 60 * MINUTE).await;
        world.assert_active().await;
        assert!(world.azure.arm.resource(&id).is_some(), "{id} is back");
        assert_eq!(world.messages().len(), 1);
    }
}

#[tokio::test]
async fn an_edited_container_is_put_back() {
    let world = World::active().await;
    let id = world.container().id;
    world.azure.arm.edits(&id, |body| body["properties"]["template"]["containers"][0]["image"] = "evil:latest".into());
    world.lives_on(2 * 60 * MINUTE).await;
    world.assert_active().await;
    assert_eq!(world.container().image(), Some(crate::reconcile::world::image('a').as_str()));
}

#[tokio::test]
async fn a_lost_model_key_is_made_anew() {
    let world = World::active().await;
    let lost = world.gateway.keys()[0].hash.clone();
    assert!(world.gateway.loses_key(&lost));
    world.lives_on(2 * 60 * MINUTE).await;
    world.assert_active().await;
    assert_ne!(world.gateway.keys()[0].hash, lost);
}

#[tokio::test]
async fn two_workers_at_once_make_one_of_everything() {
    let world = World::start().await;
    world.save_status(Status::Active).await;
    for _ in 0..20 {
        let (one, other) = tokio::join!(world.reconcile(), world.reconcile());
        assert!(one != Outcome::NotFound && other != Outcome::NotFound);
        world.clock.advance(Duration::from_secs(5));
    }
    world.run_until_idle().await;
    world.assert_active().await;
    assert_eq!(world.messages().len(), 1);
    assert_eq!(world.gateway.issued().len(), 1, "no second key was made");
}

#[tokio::test]
async fn a_full_shard_refuses_a_tenant_before_it_breaks() {
    let world = World::start().await;
    let full =
        tenant_reconcile::App::new(&world.env.clone().with("AZURE_SUBSCRIPTION_TENANTS", "1"), world.clock.clone());
    let full = full.expect("complete settings");
    world.pays(Status::Active).await;
    let reconcile = async |tenant| tenant_reconcile::reconcile(&full, tenant).await.expect("a table");
    for _ in 0..5 {
        reconcile(world.tenant).await;
        world.clock.advance(MINUTE);
    }
    world.assert_active().await;
    let other = nbhd::domain::ids::TenantId::random();
    let subscription = world.row().await.subscription;
    let tenant = nbhd::domain::tenant::Tenant { subscription, ..nbhd::domain::tenant::Tenant::new(other, ChatId(7)) };
    world.store.save_tenant(&tenant, None).await.expect("a table");
    assert!(matches!(reconcile(other).await, Outcome::Waiting { .. }));
    let row = world.store.tenant(other).await.expect("a table").expect("a tenant");
    assert_eq!(row.reconcile.last_error.expect("an error").error.to_string(), "shards_full");
    assert_eq!(world.azure.arm.resources().len(), 5, "nothing was made for it");
}
