//! The reconciler stopped dead after any of its effects: what another worker finds, it brings to its end.

#![expect(clippy::print_stdout, reason = "the counts are the tests' finding")]

use std::time::Duration;

use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::subscription::{RETENTION, Status};
use nbhd::domain::tenant::Lifecycle;
use nbhd_sim::rights::env_of;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tenant_reconcile::App;

use crate::reconcile::world::{MINUTE, World};

/// Prepares a world, stops a worker after each of its requests in turn, lets others carry on, and checks the end.
async fn killed_anywhere<P, C>(prepare: impl Fn() -> P, check: impl Fn(World) -> C) -> usize
where
    P: Future<Output = World>,
    C: Future<Output = ()>,
{
    let mut requests = 1;
    loop {
        let world = prepare().await;
        let work = async {
            // Long enough for every wait: the worker that is stopped may be any of several.
            world.run_until_idle().await;
        };
        let was_stopped = world.journal.interruption().stop_after(requests, work).await.is_none();
        world.lives_on(30 * MINUTE).await;
        check(world).await;
        if !was_stopped {
            return requests - 1;
        }
        requests += 1;
    }
}

#[tokio::test]
async fn a_provisioning_stopped_anywhere_ends_with_one_of_everything() {
    let prepare = || async {
        let world = World::start().await;
        world.pays(Status::Active).await;
        world
    };
    let stops = Box::pin(killed_anywhere(prepare, |world| async move {
        world.assert_active().await;
        assert!((1..=2).contains(&world.messages().len()), "told once, and once more after a stop between the two");
    }))
    .await;
    println!("provisioning was stopped at {stops} places");
    assert!(stops > 30, "{stops}");
}

#[tokio::test]
async fn a_suspension_stopped_anywhere_ends_stopped() {
    let prepare = || async {
        let world = World::active().await;
        world.pays(Status::Unpaid).await;
        world
    };
    let stops = Box::pin(killed_anywhere(prepare, |world| async move {
        assert_eq!(world.row().await.lifecycle, Lifecycle::Suspended);
        assert!(world.container().is_stopped && world.gateway.keys().iter().all(|key| key.disabled));
    }))
    .await;
    println!("a suspension was stopped at {stops} places");
}

#[tokio::test]
async fn a_resumption_stopped_anywhere_ends_running() {
    let prepare = || async {
        let world = World::active().await;
        world.pays(Status::Unpaid).await;
        world.run_until_idle().await;
        world.clock.advance(Duration::from_secs(60));
        world.pays(Status::Active).await;
        world
    };
    let stops = Box::pin(killed_anywhere(prepare, |world| async move { world.assert_active().await })).await;
    println!("a resumption was stopped at {stops} places");
}

#[tokio::test]
async fn a_removal_stopped_anywhere_leaves_a_receipt_and_nothing_else() {
    let prepare = || async {
        let world = World::active().await;
        world.pays(Status::Canceled).await;
        world.run_until_idle().await;
        world.clock.advance(RETENTION);
        world.nudge().await;
        world
    };
    let stops = Box::pin(killed_anywhere(prepare, |world| async move { world.assert_gone().await })).await;
    println!("a removal was stopped at {stops} places");
}

/// The runtime key that the world begins with, and two newer ones.
const KEYS: [&str; 3] = [
    nbhd_sim::testbed::RUNTIME_KEYS,
    "k2:a-second-runtime-key-of-at-least-32-bytes",
    "k3:a-third-runtime-key-of-at-least-32-bytes",
];

/// The reconciler as it is deployed with so many of [`KEYS`], the newest first.
fn deploy(world: &mut World, count: usize) -> SecretKeys {
    let keys: Vec<&str> = KEYS[..count].iter().rev().copied().collect();
    let env = env_of("tenant-reconcile", &world.env).with("RUNTIME_KEYS", keys.join(","));
    world.app = App::new(&env, world.clock.clone()).expect("complete settings");
    SecretKeys::parse(&SecretString::from(keys.join(","))).expect("a list")
}

#[tokio::test]
async fn a_rotation_stopped_anywhere_ends_with_the_key_that_was_recorded_for_it() {
    let (mut stops, mut with_the_recorded) = (0, 0);
    loop {
        let mut world = World::active().await;
        deploy(&mut world, 2);
        world.change(|tenant| tenant.rotation_requested = true).await;
        world.nudge().await;
        let work = async { world.run_until_idle().await };
        let was_stopped = world.journal.interruption().stop_after(stops + 1, work).await.is_none();
        let recorded = world.row().await.newest_generation();
        // Whoever goes on finds a newer key in the settings.
        let keys = deploy(&mut world, 3);
        world.lives_on(30 * MINUTE).await;
        world.assert_active().await;
        let row = world.row().await;
        let expected = if recorded.number == 1 { "k3.2".to_owned() } else { recorded.to_string() };
        assert_eq!((row.generation.to_string(), row.other_generation), (expected, None), "stopped at {stops}");
        let bundle = world.azure.vault.value(&world.names().secret).expect("a secret");
        let bundle: Value = serde_json::from_str(&bundle).expect("JSON");
        let secret = keys.webhook_secret(world.tenant, row.generation).expect("listed");
        assert_eq!(bundle["webhook_secret"], secret.expose_secret(), "stopped at {stops}");
        with_the_recorded += usize::from(recorded.number == 2);
        if !was_stopped {
            break;
        }
        stops += 1;
    }
    println!("a rotation was stopped at {stops} places, {with_the_recorded} of them after its key was recorded");
    assert!(stops > 10 && with_the_recorded > 10, "{stops}, {with_the_recorded}");
}
