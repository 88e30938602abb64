//! What `telegram-forward` says about a message is said where the message is.

use std::time::Duration;

use nbhd::domain::route::RouteStatus;
use nbhd_sim::runtime::Failure;
use nbhd_sim::telegram;

use crate::telegram::forward_world::{ANA, World, in_topic, update};

#[tokio::test]
async fn what_is_said_about_a_message_stays_in_its_topic() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    // The topics exist at Telegram once the person has written in them; what is queued is ours.
    world.telegram.says_in_topic(ANA, 77, "hi");
    runtime.stops();
    world.send_update(ANA, 1, in_topic(ANA, 1, 77).as_bytes()).await;
    for _ in 0..4 {
        world.attempt().await;
    }
    runtime.starts();
    runtime.faults.fail_any(Failure::Status(400));
    world.run_until_idle().await;
    let said: Vec<_> = world.telegram.sent_to(ANA).into_iter().map(|sent| (sent.topic, sent.reply_to)).collect();
    assert_eq!(said, [(Some(77), None), (Some(77), Some(1))]);
    assert_eq!(world.telegram.topics_of_actions_in(ANA), [Some(77); 4]);
}

#[tokio::test]
async fn what_is_said_in_a_topic_that_is_gone_is_said_in_the_chat() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    world.telegram.says_in_topic(ANA, 77, "hi");
    world.telegram.deletes_topic(ANA, 77);
    runtime.faults.fail_any(Failure::Status(400));
    world.send_update(ANA, 1, in_topic(ANA, 1, 77).as_bytes()).await;
    assert_eq!(world.drain().await.done, 1);
    let told = world.telegram.sent_to(ANA).pop().expect("the person is told");
    assert_eq!((told.topic, told.reply_to, world.dead_letters()), (None, Some(1), vec![1]));
    let calls = world.journal.entries_of(telegram::BOT_API);
    assert_eq!(calls.iter().filter(|call| call.path.ends_with("sendMessage")).count(), 2);
}

#[tokio::test]
async fn a_text_cut_within_an_emoji_arrives_and_a_notice_still_names_it() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    let cut = |update_id| update(ANA, update_id).replace("\"message ", "\"\\ud83d ");
    runtime.faults.fail_any(Failure::Status(400));
    world.send_update(ANA, 1, cut(1).as_bytes()).await;
    world.send_update(ANA, 2, cut(2).as_bytes()).await;
    world.run_until_idle().await;
    assert_eq!(runtime.accepted_bodies(), [bytes::Bytes::from(cut(2))]);
    assert_eq!(world.telegram.sent_to(ANA)[0].reply_to, Some(1));
}

#[tokio::test]
async fn a_set_up_that_takes_hours_is_spoken_of_twice_and_loses_nothing() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    world.set_route(ANA, |route| route.status = RouteStatus::Provisioning).await;
    for update_id in 1..=12 {
        world.says(ANA, update_id).await;
    }
    let start = world.clock.now();
    while world.clock.now().since(start) < Duration::from_secs(150 * 60) {
        assert!(world.attempt().await.is_some(), "it waits");
    }
    let told = world.telegram.texts_to(ANA);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("still being set up") && told[1].contains("longer than usual"), "{told:?}");
    let activated = world.clock.now();
    world
        .set_route(ANA, |route| {
            (route.status, route.activated_at) = (RouteStatus::Active, Some(activated));
        })
        .await;
    world.run_until_idle().await;
    assert_eq!(runtime.update_ids(), (1..=12).collect::<Vec<_>>());
    assert_eq!(runtime.accepted_bodies(), (1..=12).map(|id| update(ANA, id).into()).collect::<Vec<bytes::Bytes>>());
}
