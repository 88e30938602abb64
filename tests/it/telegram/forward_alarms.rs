//! What a hostile runtime does counts once an hour for its tenant, however often it does it.

use std::time::Duration;

use nbhd::domain::route::RouteStatus;
use nbhd_sim::runtime::Failure;

use crate::telegram::forward_world::{ANA, BEN, World};

#[tokio::test]
async fn a_tenant_that_refuses_every_message_counts_once_an_hour() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    let mut counted = Vec::new();
    for update_id in 1..=8 {
        runtime.faults.fail_any(Failure::Status(400));
        world.says(ANA, update_id).await;
        world.drain().await;
        counted.push(world.route(ANA).await.loss_counted_at);
        world.advance(15 * 60 + 1);
    }
    assert_eq!(world.dead_letters().len(), 8);
    counted.dedup();
    assert_eq!(counted.len(), 2, "{counted:?}");
    assert!(
        counted[0].is_some()
            && counted[1].is_some_and(|at| Some(at) >= counted[0].map(|at| at + Duration::from_secs(3600)))
    );
}

#[tokio::test]
async fn a_tenant_that_refuses_our_secret_counts_once_an_hour_and_others_count_beside_it() {
    let world = World::start().await;
    let (ana, ben) = (world.add_chat(ANA).await, world.add_chat(BEN).await);
    for runtime in [&ana, &ben] {
        runtime.faults.fail_any(Failure::Status(401));
    }
    world.says(ANA, 1).await;
    let start = world.clock.now();
    for _ in 0..5 {
        world.attempt().await;
    }
    assert_eq!(world.route(ANA).await.refusal_counted_at, Some(start));
    world.says(BEN, 2).await;
    let later = world.clock.now();
    world.drain().await;
    assert_eq!(world.route(BEN).await.refusal_counted_at, Some(later));
    assert_eq!(world.route(ANA).await.loss_counted_at, None, "one trouble is not the other");
    assert!(nbhd::telemetry::capture().contains("\"TenantsRefusingSecret\":1"));
}

#[tokio::test]
async fn a_delivery_and_a_suspension_count_nothing_and_write_nothing() {
    let world = World::start().await;
    let _runtime = world.add_chat(ANA).await;
    world.says(ANA, 1).await;
    world.forget_calls();
    world.drain().await;
    world.set_route(ANA, |route| route.status = RouteStatus::Suspended).await;
    world.says(ANA, 2).await;
    world.drain().await;
    assert_eq!(world.dead_letters(), [2]);
    let calls = world.table.calls().into_iter().map(|call| call.operation).filter(|call| call == "UpdateItem");
    assert_eq!(calls.count(), 0);
    assert_eq!(world.route(ANA).await.loss_counted_at, None);
}
