//! `telegram-forward`: every way a delivery can go.

use std::net::Ipv4Addr;
use std::time::Duration;

use nbhd::domain::route::RouteStatus;
use nbhd_sim::runtime::Failure;
use nbhd_sim::sqs::queue::Outgoing;
use nbhd_sim::sqs::{INBOUND, Unavailable};
use nbhd_sim::telegram;
use nbhd_sim::testbed::generation;

use crate::telegram::forward_world::{ANA, BEN, World, update};

const WAKING: &str = "Your assistant is waking up. Your message is safe: it will be delivered in a moment.";

#[tokio::test]
async fn an_update_arrives_byte_for_byte_and_leaves_the_queue() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    // The second holds a character that SQS refuses.
    let bodies = [format!("  {}\n", update(ANA, 1)), update(ANA, 2).replace("message 2", "\u{fffe}é😀")];
    world.send_update(ANA, 1, bodies[0].as_bytes()).await;
    world.send_update(ANA, 2, bodies[1].as_bytes()).await;
    let report = world.run_until_idle().await;
    assert_eq!((report.done, report.invocations()), (2, 2));
    assert_eq!(runtime.accepted_bodies(), bodies.map(bytes::Bytes::from));
    assert_eq!((world.dead_letters().len(), world.telegram.texts_to(ANA).len()), (0, 0));
}

#[tokio::test]
async fn what_the_runtime_did_not_promise_to_keep_comes_again_after_two_seconds() {
    for failure in [
        Failure::ConnectionLost,
        Failure::Hang,
        Failure::NotDurable,
        Failure::AnswerLost,
        Failure::Status(404),
        Failure::Status(500),
        Failure::Status(503),
        Failure::Status(302),
        Failure::Status(204),
    ] {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        runtime.faults.fail_any(failure);
        world.says(ANA, 1).await;
        assert_eq!(world.attempt().await, Some(Duration::from_secs(2)), "{failure:?}");
        assert_eq!(world.telegram.actions_in(ANA), ["typing"], "{failure:?}");
        assert_eq!(world.attempt().await, None, "{failure:?}");
        assert_eq!((runtime.attempts(), runtime.update_ids()), (2, vec![1]), "{failure:?}");
        assert!(world.telegram.texts_to(ANA).is_empty(), "{failure:?}: two seconds are not worth a word");
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_missing_address_are_waited_for() {
    let world = World::start().await;
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let nowhere = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    world.set_route(ANA, |route| route.runtime_url = Some(nowhere)).await;
    world.set_route(BEN, |route| route.runtime_url = None).await;
    world.says(ANA, 1).await;
    world.says(BEN, 2).await;
    assert_eq!(world.drain().await.reported, 2);
    assert_eq!(world.waiting().len(), 2);
}

#[tokio::test]
async fn attempts_come_after_2_4_8_and_up_to_60_seconds() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.stops();
    world.says(ANA, 1).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        waits.push(world.attempt().await.expect("it waits").as_secs());
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
}

#[tokio::test]
async fn retry_after_is_honoured_within_a_second_and_a_minute() {
    for (asked, waited) in [(7, 7), (0, 1), (3600, 60)] {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        runtime.faults.fail_any(Failure::Throttled(asked));
        world.says(ANA, 1).await;
        assert_eq!(world.attempt().await, Some(Duration::from_secs(waited)));
    }
}

#[tokio::test]
async fn a_person_is_told_once_per_waking_after_ten_seconds() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.stops();
    world.says(ANA, 1).await;
    for told in [0, 0, 0, 1, 1, 1] {
        assert!(world.attempt().await.is_some());
        assert_eq!(world.telegram.texts_to(ANA).len(), told);
    }
    runtime.starts();
    world.run_until_idle().await;
    assert_eq!(world.route(ANA).await.waking_notice_at, None, "the delivery clears the mark");

    runtime.stops();
    world.says(ANA, 2).await;
    for _ in 0..6 {
        world.attempt().await;
    }
    assert_eq!(world.telegram.texts_to(ANA), [WAKING; 2]);
    assert_eq!(world.telegram.actions_in(ANA).len(), 12);
}

#[tokio::test]
async fn a_word_that_telegram_did_not_take_is_said_at_the_next_attempt() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.stops();
    world.says(ANA, 1).await;
    for _ in 0..3 {
        world.attempt().await;
    }
    world.telegram.faults.fail_next("sendMessage", telegram::Failure::Throttled(3));
    world.attempt().await;
    assert_eq!(world.telegram.texts_to(ANA).len(), 0);
    world.attempt().await;
    assert_eq!(world.telegram.texts_to(ANA), [WAKING]);
}

#[tokio::test]
async fn after_45_minutes_it_is_a_dead_letter_and_the_person_is_told_which() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.stops();
    world.says(ANA, 1).await;
    let start = world.clock.now();
    while world.dead_letters().is_empty() {
        assert!(world.clock.now().since(start) < Duration::from_secs(46 * 60));
        world.attempt().await;
    }
    assert!(world.clock.now().since(start) >= Duration::from_secs(45 * 60));
    assert_eq!((world.dead_letters(), world.waiting().len()), (vec![1], 0));
    let told = world.telegram.sent_to(ANA).pop().expect("the person is told");
    assert!(told.text.starts_with("This message was not delivered"), "{}", told.text);
    assert_eq!(told.reply_to, Some(1));

    // The next message gets its own time and its own chance.
    runtime.starts();
    world.says(ANA, 2).await;
    world.run_until_idle().await;
    assert_eq!(runtime.update_ids(), [2]);
}

#[tokio::test]
async fn until_the_person_can_be_told_the_message_stays() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.faults.fail_any(Failure::Status(400));
    world.telegram.faults.fail_next("sendMessage", telegram::Failure::Throttled(1));
    world.says(ANA, 1).await;
    assert_eq!(world.drain().await.reported, 1);
    assert_eq!((world.dead_letters(), world.waiting().len()), (vec![1], 1));
}

#[tokio::test]
async fn a_person_who_blocked_the_bot_holds_nothing_up() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.faults.fail_any(Failure::Status(400));
    world.telegram.blocks_the_bot(ANA);
    world.says(ANA, 1).await;
    assert_eq!(world.drain().await.done, 1);
    assert_eq!(world.dead_letters(), [1]);
}

#[tokio::test]
async fn what_the_runtime_cannot_read_is_a_dead_letter_at_once() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.faults.fail_any(Failure::Status(400));
    world.says(ANA, 1).await;
    assert_eq!(world.drain().await.done, 1);
    assert_eq!((world.dead_letters(), runtime.attempts()), (vec![1], 1));
    assert_eq!(world.telegram.sent_to(ANA)[0].reply_to, Some(1));
}

#[tokio::test]
async fn suspended_since_is_a_dead_letter_with_the_way_to_resume() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    world.says(ANA, 1).await;
    world.set_route(ANA, |route| route.status = RouteStatus::Suspended).await;
    assert_eq!(world.drain().await.done, 1);
    assert_eq!((world.dead_letters(), runtime.attempts()), (vec![1], 0));
    assert!(world.telegram.texts_to(ANA)[0].contains("/billing"));
}

#[tokio::test]
async fn a_chat_without_an_assistant_is_told_so() {
    let world = World::start().await;
    world.telegram.knows(ANA, "Ana");
    world.says(ANA, 1).await;
    assert_eq!(world.drain().await.done, 1);
    assert_eq!(world.dead_letters(), [1]);
    assert!(world.telegram.texts_to(ANA)[0].contains("no assistant"));
}

#[tokio::test]
async fn while_provisioning_time_does_not_count_and_then_it_does() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    world.set_route(ANA, |route| route.status = RouteStatus::Provisioning).await;
    world.says(ANA, 1).await;
    let start = world.clock.now();
    while world.clock.now().since(start) < Duration::from_secs(2 * 60 * 60) {
        assert!(world.attempt().await.is_some(), "it waits");
    }
    assert_eq!((runtime.attempts(), world.dead_letters().len()), (0, 0));
    assert_eq!(world.telegram.texts_to(ANA).len(), 2);
    assert!(world.telegram.texts_to(ANA)[0].contains("still being set up"));

    runtime.stops();
    let activated = world.clock.now();
    world
        .set_route(ANA, |route| {
            route.status = RouteStatus::Active;
            route.activated_at = Some(activated);
        })
        .await;
    while world.clock.now().since(activated) < Duration::from_secs(44 * 60) {
        assert!(world.attempt().await.is_some(), "its 45 minutes began with the activation");
    }
    runtime.starts();
    world.run_until_idle().await;
    assert_eq!((runtime.update_ids(), world.dead_letters().len()), (vec![1], 0));
}

#[tokio::test]
async fn before_the_queue_would_drop_it_silently_it_is_dead_lettered_with_a_notice() {
    let world = World::start().await;
    let _runtime = world.add_chat(ANA).await;
    world.set_route(ANA, |route| route.status = RouteStatus::Provisioning).await;
    world.says(ANA, 1).await;
    let report = world.run_until_idle().await;
    assert_eq!((report.reported, report.done), (189, 1));
    assert_eq!(world.dead_letters(), [1]);
    assert!(world.telegram.texts_to(ANA)[2].contains("not delivered"));
}

#[tokio::test]
async fn during_a_rotation_either_generation_of_the_secret_opens() {
    for (current, other, tries) in [(1, 2, 1), (2, 1, 2)] {
        let world = World::start().await;
        let runtime = world.add_chat(ANA).await;
        world
            .set_route(ANA, |route| {
                (route.generation, route.other_generation) = (generation(current), Some(generation(other)));
            })
            .await;
        world.says(ANA, 1).await;
        assert_eq!(world.drain().await.done, 1);
        assert_eq!((runtime.update_ids(), runtime.attempts()), (vec![1], tries));
    }
}

#[tokio::test]
async fn a_secret_the_runtime_does_not_know_raises_an_alarm_and_waits() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    world
        .set_route(ANA, |route| {
            (route.generation, route.other_generation) = (generation(7), Some(generation(8)));
        })
        .await;
    world.says(ANA, 1).await;
    assert_eq!(world.attempt().await, Some(Duration::from_secs(2)));
    assert_eq!((runtime.attempts(), runtime.update_ids().len()), (2, 0));
    assert!(nbhd::telemetry::capture().contains("\"TenantsRefusingSecret\":1"));

    world.set_route(ANA, |route| (route.generation, route.other_generation) = (generation(1), None)).await;
    world.run_until_idle().await;
    assert_eq!(runtime.update_ids(), [1]);
}

#[tokio::test]
async fn order_within_a_chat_is_kept_and_other_chats_go_on() {
    let world = World::start().await;
    let (sick, well) = (world.add_chat(ANA).await, world.add_chat(BEN).await);
    sick.stops();
    for update_id in 1..=3 {
        world.says(ANA, update_id).await;
        world.says(BEN, update_id + 10).await;
    }
    world.drain().await;
    assert_eq!(well.update_ids(), [11, 12, 13]);
    assert_eq!((sick.attempts(), world.waiting().len()), (1, 3));
    sick.starts();
    world.run_until_idle().await;
    assert_eq!(sick.update_ids(), [1, 2, 3]);
}

#[tokio::test]
async fn an_outage_of_ours_loses_nothing() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    world.says(ANA, 1).await;
    world.table.faults.set_down(true);
    assert_eq!(world.attempt().await, Some(Duration::from_secs(2)));
    world.sqs.faults.set_down(true);
    assert_eq!(world.attempt().await, Some(Duration::from_secs(180)), "without a word the queue's own timeout holds");
    world.table.faults.set_down(false);
    world.sqs.faults.set_down(false);
    world.run_until_idle().await;
    assert_eq!((runtime.update_ids(), world.dead_letters().len()), (vec![1], 0));
}

#[tokio::test]
async fn a_dead_letter_that_the_queue_did_not_take_is_retried() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    runtime.faults.fail_any(Failure::Status(400));
    runtime.faults.fail_any(Failure::Status(400));
    world.sqs.faults.fail_always("SendMessage", Unavailable);
    let sent = Outgoing {
        body: update(ANA, 1),
        group: Some(ANA.to_string()),
        deduplication: Some("1".to_owned()),
        ..Outgoing::default()
    };
    world.sqs.send(INBOUND, sent).expect("a good message");
    assert_eq!(world.attempt().await, Some(Duration::from_secs(2)));
    assert!(world.telegram.texts_to(ANA).is_empty(), "nobody is told before the message is kept");
    world.sqs.faults.recover();
    world.run_until_idle().await;
    assert_eq!((world.dead_letters(), world.telegram.texts_to(ANA).len()), (vec![1], 1));
}

#[tokio::test]
async fn a_record_we_did_not_write_is_left_to_the_queues_own_limit() {
    let world = World::start().await;
    let runtime = world.add_chat(ANA).await;
    let sent = Outgoing {
        body: "x".to_owned(),
        group: Some("nonsense".to_owned()),
        deduplication: Some("1".to_owned()),
        ..Outgoing::default()
    };
    world.sqs.send(INBOUND, sent).expect("SQS takes it");
    world.says(ANA, 2).await;
    let report = world.drain().await;
    assert_eq!((report.reported, report.done, runtime.update_ids()), (1, 1, vec![2]));
}

#[tokio::test]
async fn a_delivery_costs_one_read_and_nothing_else() {
    let world = World::start().await;
    let _runtime = world.add_chat(ANA).await;
    world.says(ANA, 1).await;
    world.table.clear_calls();
    world.drain().await;
    let calls: Vec<_> = world.table.calls().into_iter().map(|call| (call.operation, call.units)).collect();
    assert_eq!(calls, [("GetItem".to_owned(), 1.0)]);
}
