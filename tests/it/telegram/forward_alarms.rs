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

#[tokio::test]
async fn only_the_fronts_own_answer_is_final() {
    for status in [400, 401, 403] {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        runtime.faults.fail_any(Failure::EdgeStatus(status));
        world.says(ANA, 1).await;
        assert_eq!(world.attempt().await, Some(Duration::from_secs(2)), "{status}");
        world.run_until_idle().await;
        assert_eq!((runtime.update_ids(), world.dead_letters().len()), (vec![1], 0), "{status}");
        let route = world.route(ANA).await;
        assert_eq!((route.loss_counted_at, route.refusal_counted_at), (None, None), "{status}");
        runtime.is_starting(true);
        runtime.faults.fail_any(Failure::Status(status));
        world.says(ANA, 2).await;
        assert!(world.attempt().await.is_some(), "{status}: it is not up yet");
    }
}

#[tokio::test]
async fn an_update_on_which_a_ready_runtime_fails_for_five_minutes_is_given_up_and_the_next_one_goes_on() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.faults.fail_with(|update_id| (update_id == 1).then_some(Failure::Status(500)));
    world.says(ANA, 1).await;
    world.says(ANA, 2).await;
    let start = world.clock.now();
    while world.dead_letters().is_empty() {
        world.attempt().await;
    }
    let waited = world.clock.now().since(start);
    assert!((Duration::from_secs(300)..Duration::from_secs(480)).contains(&waited), "{waited:?}");
    world.run_until_idle().await;
    assert_eq!((runtime.update_ids(), world.dead_letters()), (vec![2], vec![1]));
    let told = world.telegram.sent_to(ANA).pop().expect("the person is told");
    assert!(told.text.contains("failed on it") && told.reply_to == Some(1), "{}", told.text);
    assert_eq!(world.route(ANA).await.failing, None);
}

#[tokio::test]
async fn what_fails_at_the_edge_or_in_a_runtime_that_starts_has_its_45_minutes() {
    for (failure, starting) in [(Failure::EdgeStatus(503), false), (Failure::Status(500), true)] {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        runtime.is_starting(starting);
        runtime.faults.fail_with(move |_| Some(failure));
        world.says(ANA, 1).await;
        let start = world.clock.now();
        while world.clock.now().since(start) < Duration::from_secs(44 * 60) {
            assert!(world.attempt().await.is_some());
        }
        assert!(world.dead_letters().is_empty() && world.route(ANA).await.failing.is_none());
        runtime.faults.recover();
        runtime.is_starting(false);
        world.run_until_idle().await;
        assert_eq!(runtime.update_ids(), [1]);
    }
}
