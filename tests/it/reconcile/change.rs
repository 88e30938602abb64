//! What changes under a running tenant: Stripe's state without an event, keys, and releases.

use nbhd::domain::ids::ChatId;
use nbhd::domain::plan::StepName;
use nbhd::domain::step_error::StepError;
use nbhd::domain::subscription::{RETENTION, Status};
use nbhd::domain::tenant::{Lifecycle, TenantRecord, Tombstone};
use nbhd_sim::arm::{ContainerEvent, Failure, Operation};
use nbhd_sim::rights::env_of;
use nbhd_sim::stripe::{BASIC, SubscriptionStart};
use nbhd_sim::testbed::generation;
use tenant_reconcile::{App, Outcome};

use crate::reconcile::world::{ANA, DAY, MINUTE, World, image};

#[tokio::test]
async fn an_event_that_was_lost_for_good_is_made_good_within_a_day() {
    let world = World::start().await;
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &[]);
    world.change(|tenant| tenant.lifecycle = Lifecycle::Pending).await;
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
    assert!(world.steps().await.contains(&"sync: done (an event was lost)".to_owned()));
    world.stripe.cancels(&world.customer);
    world.lives_on(DAY).await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended, "{:#?}", world.steps().await);
}

#[tokio::test]
async fn a_customer_who_was_deleted_is_suspended_within_a_day_and_removed_a_week_later() {
    let mut world = World::start().await;
    // The log is that of every test: none of the others makes so many customers as to have this one's id.
    for _ in 0..100 {
        world.customer = world.stripe.has_customer(&[]);
    }
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &[]);
    world.change(|tenant| tenant.lifecycle = Lifecycle::Pending).await;
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
    world.stripe.deletes_customer(&world.customer);
    world.lives_on(DAY).await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended, "{:#?}", world.steps().await);
    world.clock.advance(DAY);
    world.lives_on(10 * MINUTE).await;
    let log = nbhd::telemetry::capture();
    let told = log.lines().filter(|line| line.contains("stripe_customer_deleted") && line.contains(&world.customer));
    assert_eq!(told.count(), 1, "an operator hears of it once");
    world.clock.advance(RETENTION);
    world.lives_on(60 * MINUTE).await;
    let record = world.store.tenant_record(world.tenant).await.expect("a table");
    assert!(matches!(record, Some(TenantRecord::Deleted(_))), "{record:?}");
}

#[tokio::test]
async fn an_end_that_was_decided_takes_effect_at_its_time_without_an_event() {
    let world = World::start().await;
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &[]);
    world.change(|tenant| tenant.lifecycle = Lifecycle::Pending).await;
    world.nudge().await;
    world.run_until_idle().await;
    let ends_at = world.clock.now() + 2 * DAY + DAY / 24;
    world.stripe.cancels_at(&world.customer, Some(ends_at));
    world.lives_on(2 * DAY).await;
    world.assert_active().await;
    world.lives_on(DAY / 12).await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended, "{:#?}", world.steps().await);
}

#[tokio::test]
async fn a_rotation_leaves_one_generation_and_one_key() {
    let world = World::active().await;
    let before = world.row().await;
    world.change(|tenant| tenant.rotation_requested = true).await;
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
    let after = world.row().await;
    assert_eq!((after.generation, after.other_generation, after.rotation_requested), (generation(2), None, false));
    assert_eq!(after.key_hashes.len(), 1);
    assert_ne!(after.key_hashes, before.key_hashes);
    let versions = world.azure.vault.versions(&world.names().secret);
    let enabled: Vec<_> = versions.iter().map(|(_, enabled)| *enabled).collect();
    assert_eq!(enabled, [false, true]);
    let route = world.store.load_route(ChatId(ANA)).await.expect("a table");
    assert_eq!(route.map(|route| (route.generation, route.other_generation)), Some((generation(2), None)));
    let kept = |steps: Vec<String>| steps.into_iter().map(|step| step.split(':').next().unwrap_or_default().to_owned());
    let steps: Vec<_> = kept(world.steps().await).collect();
    let place = |name: &str| steps.iter().position(|step| step == name).expect("it was done");
    assert!(place("begin_rotation") < place("stop_app") && place("await_no_replica") < place("end_rotation"));
    assert_eq!(world.messages().len(), 1);
}

/// The function as it is deployed with another image.
fn with_image(world: &World, digit: char) -> App {
    App::new(&world.env.clone().with("OPENCLAW_IMAGE", image(digit)), world.clock.clone()).expect("complete settings")
}

/// Containers of this image start, and that is all.
fn never_answers(world: &World, bad: String) {
    world.azure.arm.runs_containers(move |replica, _| {
        let is_bad = matches!(&replica, ContainerEvent::Started(app) if app.image() == Some(bad.as_str()));
        Box::pin(async move { is_bad.then(|| "http://127.0.0.1:9".to_owned()) })
    });
}

async fn carries_on(world: &World, app: &App, times: usize) -> Outcome {
    let mut outcome = Outcome::NotFound;
    for _ in 0..times {
        outcome = tenant_reconcile::reconcile(app, world.tenant).await.expect("a table");
        world.clock.advance(MINUTE);
    }
    outcome
}

#[tokio::test]
async fn a_new_release_replaces_the_container_without_an_overlap() {
    let world = World::active().await;
    world.clock.advance(20 * MINUTE);
    let next = with_image(&world, 'b');
    carries_on(&world, &next, 20).await;
    assert_eq!(world.container().image(), Some(image('b').as_str()), "{:#?}", world.steps().await);
    world.assert_active().await;
    assert!(!world.row().await.reconcile.holds_rollout_slot);
}

#[tokio::test]
async fn a_release_that_does_not_come_up_goes_back() {
    let world = World::active().await;
    world.clock.advance(20 * MINUTE);
    never_answers(&world, image('b'));
    let next = with_image(&world, 'b');
    carries_on(&world, &next, 60).await;
    assert_eq!(world.container().image(), Some(image('a').as_str()), "{:#?}", world.steps().await);
    let rollout = world.store.load_rollout().await.expect("a table").expect("a rollout");
    assert_eq!(rollout.failed, [world.tenant]);
    assert_eq!(world.row().await.lifecycle, Lifecycle::Active);
}

#[tokio::test]
async fn two_tenants_that_do_not_come_up_halt_a_release_for_all() {
    let world = World::active().await;
    world.clock.advance(20 * MINUTE);
    never_answers(&world, image('b'));
    let next = with_image(&world, 'b');
    // Ben's container is made with the new release, Ana's is changed to it: neither answers.
    let ben = world.another_pays(ChatId(2002)).await;
    for _ in 0..60 {
        for tenant in [ben, world.tenant] {
            tenant_reconcile::reconcile(&next, tenant).await.expect("a table");
        }
        world.clock.advance(MINUTE);
    }
    let rollout = world.store.load_rollout().await.expect("a table").expect("a rollout");
    assert!(rollout.is_halted(), "{:#?}", world.steps().await);
    let images: Vec<_> = world.azure.arm.apps().iter().map(|app| app.image().map(str::to_owned)).collect();
    assert_eq!(images, vec![Some(image('a')); 2], "both went back");
    // A third one does not meet it.
    let eve = world.another_pays(ChatId(3003)).await;
    for _ in 0..20 {
        tenant_reconcile::reconcile(&next, eve).await.expect("a table");
        world.clock.advance(MINUTE);
    }
    let row = world.store.tenant(eve).await.expect("a table").expect("a row");
    assert_eq!(row.lifecycle, Lifecycle::Active);
    assert!(world.azure.arm.apps().iter().all(|app| app.image() == Some(image('a').as_str())));
}

#[tokio::test]
async fn a_setting_of_the_app_is_a_release_too() {
    let world = World::active().await;
    let other = world.env.clone().with("CONTAINER_REGISTRY", "other.azurecr.io");
    let other = App::new(&env_of("tenant-reconcile", &other), world.clock.clone()).expect("complete settings");
    world.clock.advance(20 * MINUTE);
    carries_on(&world, &other, 1).await;
    assert!(
        world.steps().await.contains(&"choose_release: done (it holds the slot)".to_owned()),
        "{:#?}",
        world.steps().await
    );
}

#[tokio::test]
async fn a_stripe_that_stays_down_holds_up_nothing_else() {
    let world = World::start().await;
    world.save_status(Status::Active).await;
    world.stripe.faults.fail_all(nbhd_sim::stripe::Failure::Throttled);
    world.nudge().await;
    world.run_until_idle().await;
    world.assert_active().await;
    let asked = world.steps().await.iter().filter(|step| step.starts_with("sync")).count();
    assert!(asked <= 3, "{:#?}", world.steps().await);
}

#[tokio::test]
async fn a_change_that_azure_refuses_again_and_again_is_made_less_and_less_often() {
    let world = World::start().await;
    world.azure.arm.faults.fail_with(|operation| (operation == Operation::PutApp).then_some(Failure::Provisioning));
    world.pays(Status::Active).await;
    let began = world.clock.now();
    for _ in 0..12 {
        world.lives_on(10 * MINUTE).await;
    }
    let row = world.row().await;
    let last = row.reconcile.last_error.expect("a failure");
    assert_eq!((last.step, row.lifecycle), (StepName::PutApp, Lifecycle::Provisioning));
    assert!(matches!(last.error, StepError::OperationFailed { .. }));
    let tries = world.steps().await.iter().filter(|step| step.starts_with("put_app: done")).count();
    assert!((5..15).contains(&tries), "{tries} tries in {:?}", world.clock.now().since(began));
    assert!(nbhd::telemetry::capture().contains("\"TenantsStuck\":1"));
}

#[tokio::test]
async fn a_removed_tenant_that_pays_and_of_whom_nothing_arrives_comes_back_with_new_keys() {
    let world = World::active().await;
    world.pays(Status::Canceled).await;
    world.run_until_idle().await;
    world.clock.advance(RETENTION);
    world.lives_on(10 * MINUTE).await;
    let left = world.tombstone().await;
    // As `billing-session` writes it when its person goes to a checkout.
    let ask_stripe_at = Some(world.clock.now() + DAY);
    let version = left.version;
    world.store.save_tombstone(&Tombstone { ask_stripe_at, ..left }, version).await.expect("unchanged");
    let ours = [("tenant_id", &*world.tenant.to_string()), ("chat_id", &*ANA.to_string())];
    world.stripe.subscribes(&world.customer, BASIC, SubscriptionStart::Paid, &ours);
    world.lives_on(DAY + 20 * MINUTE).await;
    world.assert_active().await;
    assert_eq!(world.row().await.generation, generation(2), "no key of the former life is valid");
}
