//! `telegram-webhook`: verified first, then routed, limited and queued; 200 or 503 and nothing else.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use nbhd::domain::route::RouteStatus;
use nbhd_sim::telegram::contract::Contract;
use nbhd_sim::telegram::updates;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::webhook_world::{ANA, SECRET, STRANGER, SUBSCRIBE, World};

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
    assert!(world.telegram.texts_to(STRANGER)[0].contains(SUBSCRIBE));
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), false)]);
    assert_eq!((world.table.items().expect("readable").len(), world.queued().len()), (rows, 0));
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
}

#[tokio::test]
async fn every_answer_is_a_call_telegram_takes() {
    let Some(contract) = Contract::load().expect("readable") else { return };
    let world = World::start().await;
    for text in ["/start", "/connect", "/disconnect", "/disconnect x", "/status", "/billing", "/timezone", "/help"] {
        let attempt = world.ana_says(text).await;
        assert_eq!(attempt.carried_out.as_deref(), Some("sendMessage"), "{text}");
    }
    world.telegram.says(STRANGER, "hi");
    world.deliver().await;
    assert_eq!(contract.violations(&world.journal).await, Vec::<String>::new());
}

// What a message may cost.

#[tokio::test]
async fn a_message_costs_one_conditional_write_and_one_send() {
    let world = World::start().await;
    world.ana_says("hi").await;
    assert_eq!(world.table_calls(), [("UpdateItem".to_owned(), true)]);
    assert!((world.table.units() - 1.0).abs() < f64::EPSILON, "{} units", world.table.units());
    assert_eq!(world.journal.of("sqs").len(), 1);
}

#[tokio::test]
async fn whatever_the_limit_says_a_message_costs_two_conditional_writes_at_most() {
    let world = World::start().await;
    for number in 0..15 {
        world.forget_calls();
        world.ana_says("hi").await;
        let calls = world.table_calls();
        assert!(calls.len() <= 2 && calls.iter().all(|(call, _)| call == "UpdateItem"), "message {number}: {calls:?}");
    }
    assert_eq!(world.queued().len(), 10);
}

// The limit.

#[tokio::test]
async fn over_the_limit_one_polite_message_is_sent_in_a_window() {
    let world = World::start().await;
    for _ in 0..14 {
        assert!(world.ana_says("hi").await.is_accepted());
    }
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (10, 1));

    world.later(Duration::from_secs(2));
    world.ana_says("one more").await;
    world.ana_says("too much").await;
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (11, 1));

    world.later(Duration::from_secs(60));
    for _ in 0..11 {
        world.ana_says("hi").await;
    }
    assert_eq!((world.queued().len(), world.telegram.texts_to(ANA).len()), (21, 2));
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
async fn the_limit_of_one_chat_is_not_anothers() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "1")).await;
    world.ana_says("hi").await;
    world.telegram.says(STRANGER, "hi");
    world.deliver().await;
    assert!(world.telegram.texts_to(STRANGER)[0].contains(SUBSCRIBE));
}

// Outages.

#[tokio::test]
async fn with_the_queue_down_telegram_retries_and_the_limit_does_not_stand_in_the_way() {
    let world = World::start_with(|env| env.with("RATE_LIMIT_BURST", "1")).await;
    world.sqs.fail(true);
    assert_eq!(world.ana_says("hi").await.status, Some(503));
    assert_eq!(world.deliver().await.status, Some(503));
    world.sqs.fail(false);
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
    world.table.fail(true);
    assert_eq!(world.ana_says("hi").await.status, Some(503));
    world.table.fail(false);
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
            world.later(Duration::from_secs(60));
        }
        assert_eq!(effects, 2, "one write and one send");
    }
}

// What cannot be used: one test for each way.

#[tokio::test]
async fn without_a_configured_secret_nothing_is_verified_and_nothing_passes() {
    let world = World::start_with(|env| env.without("TELEGRAM_WEBHOOK_SECRET")).await;
    for secret in [None, Some(""), Some(SECRET)] {
        assert_eq!(world.post(secret, private(1, "hi").to_string()).await.0, 503);
    }
    assert!(world.table_calls().is_empty());
}

#[tokio::test]
async fn a_wrong_or_missing_secret_is_403_whatever_the_body() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for secret in [None, Some(""), Some("webhook-secre"), Some("webhook-secret2"), Some("WEBHOOK-SECRET")] {
        for body in [private(1, "hi").to_string(), "{".to_owned(), String::new()] {
            answers.push(world.post(secret, body).await);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "they all look alike");
    assert_eq!(answers[0].0, 403);
    assert!(world.table_calls().is_empty() && world.queued().is_empty());
}

#[tokio::test]
async fn an_unsigned_body_over_one_mebibyte_is_413() {
    let world = World::start().await;
    assert_eq!(world.post(Some("wrong"), vec![b'x'; (1 << 20) + 1]).await.0, 413);
    assert_eq!(world.post(Some("wrong"), vec![b'x'; 1 << 20]).await.0, 403);
}

#[tokio::test]
async fn a_signed_body_that_no_queue_takes_is_not_asked_for_again() {
    let world = World::start().await;
    for length in [(1 << 20) + 1, nbhd::queue::LARGEST_UPDATE + 1] {
        let body = private(1, &"x".repeat(length)).to_string();
        assert_eq!(world.post(Some(SECRET), body).await, (200, String::new()));
    }
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn the_largest_update_fits_the_queue_even_as_base64() {
    let world = World::start().await;
    let frame = private(1, "\u{fffe}").to_string().len();
    let body = private(1, &format!("\u{fffe}{}", "x".repeat(nbhd::queue::LARGEST_UPDATE - frame))).to_string();
    assert_eq!(body.len(), nbhd::queue::LARGEST_UPDATE);
    assert_eq!(world.post(Some(SECRET), body).await.0, 200);
    assert_eq!(world.queued().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_accepted_and_dropped() {
    for body in [&b""[..], b"{", b"\xff\xfe", b"[1,2", b"hello"] {
        assert_dropped(body.to_vec(), "not_json").await;
    }
}

#[tokio::test]
async fn json_nested_without_end_is_accepted_and_dropped() {
    assert_dropped("[".repeat(100_000), "not_json").await;
}

#[tokio::test]
async fn an_update_without_a_numeric_id_is_accepted_and_dropped() {
    let mut update = private(1, "hi");
    for id in [Value::Null, json!("1"), json!(1.5), json!([])] {
        update["update_id"] = id;
        assert_dropped(update.to_string(), "no_update_id").await;
    }
}

#[tokio::test]
async fn a_message_without_a_chat_is_accepted_and_dropped() {
    for chat in [Value::Null, json!({}), json!({"id": "1001", "type": "private"}), json!(5)] {
        assert_dropped(json!({"update_id": 1, "message": {"chat": chat}}).to_string(), "no_chat").await;
    }
}

#[tokio::test]
async fn a_chat_without_a_known_type_is_accepted_and_dropped() {
    for kind in [Value::Null, json!("secret"), json!(1)] {
        let update = json!({"update_id": 1, "message": {"chat": {"id": ANA, "type": kind}}});
        assert_dropped(update.to_string(), "no_chat_type").await;
    }
}

#[tokio::test]
async fn a_pressed_button_without_a_message_is_accepted_and_dropped() {
    let update = json!({"update_id": 1, "callback_query": {"id": "1", "inline_message_id": "2"}});
    assert_dropped(update.to_string(), "no_chat").await;
}

#[tokio::test]
async fn a_blocked_bot_is_accepted_and_dropped() {
    let update = json!({"update_id": 1, "my_chat_member": {"chat": {"id": ANA, "type": "private"}}});
    assert_dropped(update.to_string(), "my_chat_member").await;
}

#[tokio::test]
async fn a_channel_post_is_accepted_and_dropped() {
    assert_dropped(numbered(updates::channel_post(-200, "/start")), "channel_post").await;
}

#[tokio::test]
async fn updates_without_a_chat_are_accepted_and_dropped() {
    assert_dropped(numbered(updates::poll_answer(ANA)), "poll_answer").await;
    assert_dropped(numbered(updates::inline_query(ANA, "q")), "inline_query").await;
}

#[tokio::test]
async fn a_reaction_is_accepted_and_dropped() {
    assert_dropped(numbered(updates::reaction(ANA, 3, "👍")), "message_reaction").await;
}

#[tokio::test]
async fn a_kind_telegram_adds_tomorrow_is_accepted_and_dropped() {
    assert_dropped(json!({"update_id": 1, "hologram": {"chat": {"id": ANA}}}).to_string(), "unknown_kind").await;
}

#[tokio::test]
async fn talk_in_a_group_is_accepted_and_dropped() {
    assert_dropped(numbered(updates::in_group(-100, ANA, "hi all")), "not_private").await;
    assert_dropped(numbered(updates::in_group(-100, ANA, "/start@another_bot")), "not_private").await;
}

#[tokio::test]
async fn a_command_in_a_group_is_answered_with_where_we_work() {
    let world = World::start().await;
    let (status, answer) = world.post(Some(SECRET), numbered(updates::in_group(-100, ANA, "/start@nbhd_bot"))).await;
    let answer: Value = serde_json::from_str(&answer).expect("a call");
    assert_eq!((status, &answer["chat_id"]), (200, &json!(-100)));
    assert!(answer["text"].as_str().is_some_and(|text| text.contains("private chats")));
    assert!(world.table_calls().is_empty() && world.queued().is_empty());
}

#[tokio::test]
async fn a_row_a_person_must_mend_does_not_slow_the_bot() {
    let world = World::start().await;
    world.corrupt_route();
    let attempt = world.ana_says("hi").await;
    assert_eq!(attempt.status, Some(200));
    assert!(world.telegram.texts_to(ANA)[0].contains("out of order"));
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn no_word_of_a_message_is_logged() {
    let world = World::start().await;
    world.ana_says("canary-in-a-message").await;
    world.post(Some(SECRET), r#"{"canary-in-nonsense": "#).await;
    world.post(Some("canary-secret"), "canary-unsigned").await;
    let emitted = nbhd::telemetry::capture();
    assert!(!emitted.contains("canary-in-") && !emitted.contains("canary-secret") && !emitted.contains("canary-un"));
}

/// After a body that cannot be used: 200, nothing said, nothing queued, and the reason in the log.
async fn assert_dropped(body: impl Into<Vec<u8>>, reason: &str) {
    nbhd::telemetry::capture();
    let world = World::start().await;
    assert_eq!(world.post(Some(SECRET), body).await, (200, String::new()));
    assert!(world.table_calls().is_empty() && world.queued().is_empty());
    let emitted = nbhd::telemetry::capture();
    assert!(emitted.contains(&format!("\"reason\":\"{reason}\"")), "`{reason}` is not in the log");
    assert!(emitted.contains("UpdatesUnusable"));
}

/// Whether an instance handling `update` could be stopped after that many of its requests.
async fn is_stopped_after(world: &World, requests: usize, update: &str) -> bool {
    let request = Request::post("/telegram/webhook").header("x-telegram-bot-api-secret-token", SECRET);
    let request = request.body(Body::from(update.to_owned())).expect("a request");
    let handling = world.another_instance().oneshot(request);
    world.journal.interruption().stop_after(requests, handling).await.is_none()
}

fn private(update_id: i64, text: &str) -> Value {
    let person = json!({"id": ANA, "is_bot": false, "first_name": "Ana"});
    let chat = json!({"id": ANA, "type": "private", "first_name": "Ana"});
    json!({"update_id": update_id, "message": {
        "message_id": 1, "from": person, "chat": chat, "date": 1_795_000_000, "text": text,
    }})
}

fn numbered(mut update: Value) -> String {
    update["update_id"] = json!(1);
    update.to_string()
}

#[test]
fn whatever_is_in_a_request_it_is_answered_200_when_signed_and_403_when_not() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start());
    let requests = (proptest::option::of("[ -~]{0,40}"), proptest::collection::vec(any::<u8>(), 0..300));
    let checked = proptest::test_runner::TestRunner::default().run(&requests, |(secret, body)| {
        let expected = if secret.is_some() { 403 } else { 200 };
        let secret = secret.as_deref().unwrap_or(SECRET);
        prop_assert_eq!(runtime.block_on(world.post(Some(secret), body)).0, expected);
        Ok(())
    });
    checked.expect("it holds for every request");
    assert!(world.table_calls().is_empty() && world.queued().is_empty());
}
