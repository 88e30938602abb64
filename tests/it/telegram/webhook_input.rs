//! What `telegram-webhook` refuses, and what it accepts and drops: one test for each way to be wrong.

use nbhd_sim::telegram::updates;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::telegram::webhook_world::{ANA, SECRET, World, private};

#[tokio::test]
async fn without_a_configured_secret_nothing_is_verified_and_nothing_passes() {
    let world = World::start_with(|env| env.without("TELEGRAM_WEBHOOK_SECRETS")).await;
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
async fn what_json_readers_differ_about_is_queued_byte_for_byte() {
    let world = World::start().await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let emoji = "😀".repeat(4_096);
    let fields = [
        r#""text":"cut \ud83d emoji""#.to_owned(),
        r#""caption":"\udc00","document":{"file_name":"\ud83d.pdf"},"\ud800":0"#.to_owned(),
        r#""text":"a\u0000b","entities":[{"length":1e999}]"#.to_owned(),
        r#""text":"first","text":"second""#.to_owned(),
        format!("\"text\":\"{emoji}\",\"quote\":{deep}"),
    ];
    let frame = |update_id: usize, field: &String| {
        let chat = r#""chat":{"id":1001,"type":"private"},"from":{"id":1001,"first_name":"A\ud83d"}"#;
        format!("{{\"update_id\":{update_id},\"message\":{{\"message_id\":{update_id},{chat},{field}}}}}")
    };
    let mut bodies: Vec<String> = fields.iter().enumerate().map(|(at, field)| frame(at + 1, field)).collect();
    bodies.push(format!("\u{feff}{}", frame(9, &"\"text\":\"hi\"".to_owned())));
    for body in &bodies {
        assert_eq!(world.post(Some(SECRET), body.clone()).await, (200, String::new()));
    }
    assert_eq!(world.queued(), bodies);
}

#[tokio::test]
async fn a_command_cut_within_an_emoji_is_still_a_command() {
    let world = World::start().await;
    let person = r#""chat":{"id":1001,"type":"private"},"from":{"first_name":"A\ud83d"}"#;
    let body = format!(r#"{{"update_id":1,"message":{{{person},"text":"/help \ud83d"}}}}"#);
    let (status, answer) = world.post(Some(SECRET), body).await;
    assert!(status == 200 && answer.contains("/connect"), "{answer}");
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
    assert_eq!(world.table_calls().len(), 2);
    let in_topic = updates::in_topic(updates::in_group(-101, ANA, "/start@nbhd_bot"), 77);
    let (_, answer) = world.post(Some(SECRET), numbered(in_topic)).await;
    let answer: Value = serde_json::from_str(&answer).expect("a call");
    assert_eq!(answer["message_thread_id"], 77);
    assert!(world.queued().is_empty());
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
    assert!(emitted.contains(&world.tenant.to_string()), "the message left a line");
    assert!(!emitted.contains("canary-in-") && !emitted.contains("canary-secret") && !emitted.contains("canary-un"));
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

/// After a body that cannot be used: 200, nothing said, nothing queued, and the reason in the log.
async fn assert_dropped(body: impl Into<Vec<u8>>, reason: &str) {
    let world = World::start().await;
    assert_eq!(world.post(Some(SECRET), body).await, (200, String::new()));
    assert!(world.table_calls().is_empty() && world.queued().is_empty());
    let emitted = nbhd::telemetry::capture();
    assert!(emitted.contains(&format!("\"reason\":\"{reason}\"")), "`{reason}` is not in the log");
    assert!(emitted.contains("UpdatesUnusable"));
}

fn numbered(mut update: Value) -> String {
    update["update_id"] = json!(1);
    update.to_string()
}
