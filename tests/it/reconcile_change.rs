//! What changes under a running tenant: Stripe's word without an event, keys, and releases.

use nbhd::domain::tenant::Lifecycle;
use nbhd_sim::arm::Replica;
use nbhd_sim::stripe::{BASIC, Beginning};
use tenant_reconcile::{App, Outcome};

use crate::reconcile_world::{DAY, MINUTE, World, image};

#[tokio::test]
async fn an_event_that_was_lost_for_good_is_made_good_within_a_day() {
    let world = World::start().await;
    world.stripe.subscribes(&world.customer, BASIC, Beginning::Paid, &[]);
    world.change(|tenant| tenant.lifecycle = Lifecycle::Pending).await;
    world.nudge().await;
    world.settles().await;
    world.assert_active().await;
    assert!(world.steps().await.contains(&"sync: done (an event was lost)".to_owned()));
    world.stripe.cancels(&world.customer);
    world.lives_on(DAY).await;
    assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended, "{:#?}", world.steps().await);
}

#[tokio::test]
async fn a_rotation_leaves_one_generation_and_one_key() {
    let world = World::active().await;
    let before = world.row().await;
    world.change(|tenant| tenant.rotation_requested = true).await;
    world.nudge().await;
    world.settles().await;
    world.assert_active().await;
    let after = world.row().await;
    assert_eq!((after.generation, after.other_generation, after.rotation_requested), (2, None, false));
    assert_eq!(after.key_hashes.len(), 1);
    assert_ne!(after.key_hashes, before.key_hashes);
    let versions = world.azure.vault.versions(&world.names().secret);
    let enabled: Vec<_> = versions.iter().map(|(_, enabled)| *enabled).collect();
    assert_eq!(enabled, [false, true]);
    let route = world.store.route(nbhd::domain::ids::ChatId(crate::reconcile_world::ANA)).await.expect("a table");
    assert_eq!(route.map(|route| (route.generation, route.other_generation)), Some((2, None)));
    let kept = |steps: Vec<String>| steps.into_iter().map(|step| step.split(':').next().unwrap_or_default().to_owned());
    let steps: Vec<_> = kept(world.steps().await).collect();
    let place = |name: &str| steps.iter().position(|step| step == name).expect("it was done");
    assert!(place("begin_rotation") < place("stop_app") && place("await_no_replica") < place("end_rotation"));
    assert_eq!(world.told().len(), 1);
}

/// The function as it is deployed with another image.
fn with_image(world: &World, digit: char) -> App {
    App::new(&world.env.clone().with("OPENCLAW_IMAGE", image(digit)), world.clock.clone()).expect("complete settings")
}

async fn carries_on(world: &World, app: &App, times: usize) -> Outcome {
    let mut outcome = Outcome::Gone;
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
    assert!(!world.row().await.work.has_turn);
}

#[tokio::test]
async fn a_release_that_does_not_come_up_goes_back() {
    let world = World::active().await;
    world.clock.advance(20 * MINUTE);
    // Containers of the new image never answer.
    let bad = image('b');
    world.azure.arm.runs_containers(move |replica, _| {
        let is_bad = matches!(&replica, Replica::Starts(app) if app.image() == Some(bad.as_str()));
        Box::pin(async move { is_bad.then(|| "http://127.0.0.1:9".to_owned()) })
    });
    let next = with_image(&world, 'b');
    carries_on(&world, &next, 60).await;
    assert_eq!(world.container().image(), Some(image('a').as_str()), "{:#?}", world.steps().await);
    let rollout = world.store.rollout().await.expect("a table").expect("a rollout");
    assert_eq!(rollout.failed, [world.tenant]);
    assert_eq!(world.row().await.lifecycle, Lifecycle::Active);
}
