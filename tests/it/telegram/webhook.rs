//! `telegram-webhook`: verified first, then routed, limited and queued; 200 or 503 and nothing else.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use nbhd::domain::ids::ChatId;
use nbhd::domain::integration::Provider;
use nbhd::domain::route::RouteStatus;
use nbhd_sim::telegram::contract::Contract;
use nbhd_sim::telegram::updates;
use serde_json::json;
use tower::ServiceExt as _;

use crate::telegram::webhook_world::{ANA, SECRET, STRANGER, World, private};

#[tokio::test]
async fn a_message_is_queued_byte_for_byte_in_its_chats_group() {
    let world = World::start().await;
    let body = json!({"update_id": 7, "message": {"chat": {"id": ANA, "type": "private"}, "text": "héllo 😀"}});
    let body = format!("  {body}\n");
    assert_eq!(world.post(Some(SECRET), body.clone()).await, (200, String::new()));
    let message = world.sqs.messages("inbound.fifo").pop().expect("one message");
    assert_eq!(message.sent.body, body);
    assert_eq!(message.sent.group.as_deref(), Some("1001"));
    assert_eq!(message.sent.deduplication.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_character_that_sqs_refuses_still_arrives_byte_for_byte() {
    let world = World::start().await;
    let body = json!({"update_id": 7, "message": {"chat": {"id": ANA, "type": "private"}, "text": "\u{fffe}"}});
    assert_eq!(world.post(Some(SECRET), body.to_string()).await.0, 200);
    let sent = world.sqs.messages("inbound.fifo").pop().expect("one message").sent;
    let encoding = sent.attributes["encoding"]["StringValue"].as_str();
    assert_eq!(nbhd::queue::decode(&sent.body, encoding).expect("base64"), body.to_string().as_bytes());
}

#[tokio::test]
async fn edits_and_pressed_buttons_are_queued_too() {
    let world = World::start().await;
    world.telegram.sends_update(updates::edited(ANA, 3, "hello"));
    world.telegram.presses(ANA, 4, "yes");
    assert!(world.telegram.deliver().await.iter().all(|attempt| attempt.is_accepted() && attempt.answer.is_empty()));
    assert_eq!(world.queued().len(), 2);
}

#[tokio::test]
async fn while_the_assistant_is_made_ready_messages_wait_in_the_queue() {
    let world = World::start().await;
    world.set_route(RouteStatus::Provisioning).await;
    assert!(world.ana_says("hi").await.is_accepted());
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (1, 0));
}

#[tokio::test]
async fn a_stranger_is_welcomed_with_the_way_to_subscribe_and_gets_no_row() {
    let world = World::start().await;
    let rows = world.table.items().expect("readable").len();
    world.telegram.says(STRANGER, "/connect");
    world.deliver().await;
    assert!(world.telegram.texts_to(STRANGER)[0].contains("Subscribe"));
    let link = world.billing_link(STRANGER, "checkout");
    assert_eq!((link.chat_id, link.tenant_id), (ChatId(STRANGER), None));
    // The chat has no route; what is kept for a moment is that it was answered, and that one stranger was.
    assert_eq!(world.table_calls(), [false, true, true].map(|applied| ("UpdateItem".to_owned(), applied)));
    let items = world.table.items().expect("readable");
    let (kept, others): (Vec<_>, Vec<_>) = items.iter().partition(|item| item.to_string().contains("STRANGER#"));
    assert!(others.len() == rows && kept.len() == 2 && kept.iter().all(|item| item.get("ttl").is_some()), "{kept:?}");
    assert_eq!(world.queued().len(), 0);
}

#[tokio::test]
async fn a_suspended_person_is_told_how_to_resume() {
    let world = World::start().await;
    world.set_route(RouteStatus::Suspended).await;
    for text in ["hi", "/start", "/connect"] {
        world.ana_says(text).await;
    }
    let texts = world.telegram.texts_to(ANA);
    assert!(texts.len() == 3 && texts.iter().all(|text| text.contains("/billing")), "{texts:?}");
    assert!(world.queued().is_empty());
    let link = world.billing_link(ANA, "portal");
    assert_eq!((link.chat_id, link.tenant_id), (ChatId(ANA), Some(world.tenant)));
}

#[tokio::test]
async fn every_answer_is_a_call_telegram_takes() {
    let Some(contract) = Contract::load() else { return };
    let world = World::start().await;
    for text in ["/start", "/connect", "/disconnect", "/disconnect x", "/status", "/billing", "/timezone", "/help"] {
        let attempt = world.ana_says(text).await;
        assert_eq!(attempt.method.as_deref(), Some("sendMessage"), "{text}");
    }
    world.telegram.says(STRANGER, "hi");
    world.deliver().await;
    assert_eq!(contract.check(&world.journal).violations, Vec::<String>::new());
}

// What a message may cost.

#[tokio::test]
async fn a_message_costs_one_conditional_write_and_one_send() {
    let world = World::start().await;
    world.ana_says("hi").await;
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), true)]);
    assert!((world.table.units() - 1.0).abs() < f64::EPSILON, "{} units", world.table.units());
    assert_eq!(world.journal.entries_of("sqs").len(), 1);
}

#[tokio::test]
async fn whatever_the_limit_says_a_message_costs_two_conditional_writes_at_most() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "10")).await;
    for number in 0..15 {
        world.forget_calls();
        world.ana_says("hi").await;
        let calls = world.table_calls();
        // The first of a burst finds the limit at rest; the eleventh is told so, the others are not.
        let expected = if number == 0 || number > 10 { 1 } else { 2 };
        assert!(calls.iter().all(|(call, _)| call == "UpdateItem"), "message {number}: {calls:?}");
        assert_eq!(calls.len(), expected, "message {number}: {calls:?}");
    }
    assert_eq!(world.queued().len(), 10);
}

// The limit.

#[tokio::test]
async fn over_the_limit_one_polite_message_is_sent_in_a_window() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "10")).await;
    for _ in 0..14 {
        assert!(world.ana_says("hi").await.is_accepted());
    }
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (10, 1));

    world.advance(Duration::from_secs(2));
    world.ana_says("one more").await;
    world.ana_says("too much").await;
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (11, 1));

    world.advance(Duration::from_secs(60));
    for _ in 0..11 {
        world.ana_says("hi").await;
    }
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (21, 2));
}

#[tokio::test]
async fn a_suspended_persons_flood_meets_the_same_limit() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "10")).await;
    world.connect(Provider::Gmail).await;
    world.set_route(RouteStatus::Suspended).await;
    for _ in 0..14 {
        assert!(world.ana_says("/disconnect").await.is_accepted());
    }
    assert_eq!(world.telegram.texts_to(ANA).len(), 11, "ten answers and a word");
    world.forget_calls();
    world.ana_says("/disconnect").await;
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), false)]);

    world.advance(Duration::from_secs(60));
    world.forget_calls();
    world.ana_says("hi").await;
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), true)]);
    assert!(world.telegram.texts_to(ANA).last().is_some_and(|text| text.contains("/billing")));
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn a_retry_of_the_update_that_was_told_to_slow_down_is_told_again() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "1")).await;
    world.ana_says("hi").await;
    let update = private(2, "too much").to_string();
    let first = world.post(Some(SECRET), update.clone()).await;
    let again = world.post(Some(SECRET), update).await;
    assert!(first.1.contains("sendMessage"), "{first:?}");
    assert_eq!(first, again);
    assert_eq!(world.post(Some(SECRET), private(3, "more").to_string()).await, (200, String::new()));
}

#[tokio::test]
async fn a_long_paste_and_two_albums_are_taken_whole_and_a_flood_is_not() {
    let world = World::start().await;
    for part in 0..20 {
        let part = format!("{part} {}", "x".repeat(4_000));
        assert!(world.ana_says(&part).await.is_accepted());
    }
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (20, 0), "a paste in twenty parts");

    let world = World::start().await;
    for update_id in 0..20 {
        let album = if update_id < 10 { "13579" } else { "24680" };
        assert_eq!(world.post(Some(SECRET), album_item(update_id, album)).await, (200, String::new()));
    }
    for update_id in 20..48 {
        assert_eq!(world.post(Some(SECRET), private(update_id, "hi").to_string()).await, (200, String::new()));
    }
    assert_eq!(world.queued().len(), 48, "two albums count as two of the thirty");
    assert!(world.post(Some(SECRET), private(48, "hi").to_string()).await.1.contains("more than I can take"));

    let world = World::start().await;
    for update_id in 0..200 {
        world.post(Some(SECRET), private(update_id, "hi").to_string()).await;
    }
    assert_eq!(world.queued().len(), 30);
}

#[tokio::test]
async fn an_item_of_an_album_costs_no_more_writes_than_a_message() {
    let world = World::start().await;
    for update_id in 0..10 {
        world.forget_calls();
        world.post(Some(SECRET), album_item(update_id, "13579")).await;
        assert!(world.table_calls().len() <= 2, "{:?}", world.table_calls());
    }
    assert_eq!(world.queued().len(), 10);
}

#[tokio::test]
async fn the_limit_of_one_chat_is_not_anothers() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "1")).await;
    world.ana_says("hi").await;
    world.telegram.says(STRANGER, "hi");
    world.deliver().await;
    assert!(world.telegram.texts_to(STRANGER)[0].contains("Subscribe"));
}

// Outages.

#[tokio::test]
async fn with_the_queue_down_telegram_retries_and_the_limit_does_not_stand_in_the_way() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "1")).await;
    world.sqs.faults.set_down(true);
    assert_eq!(world.ana_says("hi").await.status, Some(503));
    assert_eq!(world.deliver().await.status, Some(503));
    world.sqs.faults.set_down(false);
    assert_eq!(world.deliver().await.status, Some(200));
    assert_eq!((world.queued().len(), world.telegram.pending()), (1, 0));
    assert!(world.telegram.texts_to(ANA).is_empty());
}

#[tokio::test]
async fn the_same_update_twice_at_once_is_queued_once() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "1")).await;
    let update = private(1, "hi").to_string();
    let (one, other) = tokio::join!(world.post(Some(SECRET), update.clone()), world.post(Some(SECRET), update.clone()));
    assert_eq!((one, other), ((200, String::new()), (200, String::new())));
    assert_eq!(world.queued().len(), 1);
}

#[tokio::test]
async fn with_the_table_down_telegram_retries() {
    let world = World::start().await;
    world.table.faults.set_down(true);
    assert_eq!(world.ana_says("hi").await.status, Some(503));
    world.table.faults.set_down(false);
    assert_eq!(world.deliver().await.status, Some(200));
    assert_eq!(world.queued().len(), 1);
}

#[tokio::test]
async fn stopped_after_any_effect_a_message_arrives_once_with_telegrams_retry() {
    for burst in ["1", "10"] {
        let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", burst)).await;
        let mut effects = 0;
        for update_id in 1.. {
            let update = private(update_id, "hi").to_string();
            if !is_stopped_after(&world, usize::try_from(update_id).expect("small"), &update).await {
                effects = update_id - 1;
                break;
            }
            assert_eq!(world.post(Some(SECRET), update.clone()).await, (200, String::new()));
            assert_eq!(world.queued().iter().filter(|body| **body == update).count(), 1);
            world.advance(Duration::from_secs(60));
        }
        assert_eq!(effects, 2, "one write and one send");
    }
}

/// One photo of an album of Ana's.
fn album_item(update_id: i64, album: &str) -> String {
    let mut update = private(update_id, "");
    update["message"]["media_group_id"] = json!(album);
    update.to_string()
}

/// Whether an instance handling `update` could be stopped after that many of its requests.
async fn is_stopped_after(world: &World, requests: usize, update: &str) -> bool {
    let request = Request::post("/telegram/webhook").header("x-telegram-bot-api-secret-token", SECRET);
    let request = request.body(Body::from(update.to_owned())).expect("a request");
    let handling = world.another_instance().oneshot(request);
    world.journal.interruption().stop_after(requests, handling).await.is_none()
}
