//! The reconciler stopped dead after any of its effects: what another worker finds, it brings to its end.

#![expect(clippy::print_stdout, reason = "the counts are the tests' finding")]

use std::time::Duration;

use nbhd::domain::subscription::{RETENTION, Status};
use nbhd::domain::tenant::Lifecycle;

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
