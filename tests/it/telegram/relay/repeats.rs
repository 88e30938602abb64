//! Which calls a runtime may repeat: it repeats a message after 429 alone, and loses it on any other error.

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use nbhd_sim::telegram::Failure;
use serde_json::{Value, json};

use super::world::{ANA, Answer, World};

#[tokio::test]
async fn what_surely_did_not_reach_telegram_may_be_repeated() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let nowhere = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let world = World::start_with(|env| env.with("TELEGRAM_API_URL", &nowhere)).await;
    let ana = world.tenant(ANA).await;
    for (method, body) in calls() {
        assert_repeatable(&world.post(&ana, method, &body).await);
    }

    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    world.table.faults.set_down(true);
    for (method, body) in calls() {
        assert_repeatable(&world.post(&ana, method, &body).await);
    }
    assert_eq!(world.calls(), []);
    world.table.faults.set_down(false);
    for (method, body) in calls() {
        // Our token was revoked: the runtime's own capability is as good as before, and nothing was done.
        for status in [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND] {
            world.telegram.faults.fail_next(method, Failure::Status(status));
            assert_repeatable(&world.post(&ana, method, &body).await);
        }
    }
    assert!(world.telegram.texts_to(ANA).is_empty());
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "hi"})).await.result();
}

#[tokio::test]
async fn a_message_that_may_have_arrived_is_not_repeated_and_any_other_call_is() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    for failure in [
        Failure::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Failure::Status(StatusCode::BAD_GATEWAY),
        Failure::NotJson,
        Failure::AnswerLost,
    ] {
        for (method, body) in calls() {
            world.telegram.faults.fail_next(method, failure.clone());
            let answer = world.post(&ana, method, &body).await;
            if method.starts_with("sendMessage") || method.starts_with("edit") {
                answer.assert_refused(StatusCode::BAD_GATEWAY, "Bad Gateway");
            } else {
                assert_repeatable(&answer);
            }
        }
    }
    assert_eq!(world.telegram.texts_to(ANA), ["hi"], "the one whose answer was lost");
}

#[tokio::test]
async fn a_download_may_be_repeated_whatever_happened() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let file_id = world.telegram.uploads_file(ANA, "a.pdf", "application/pdf", &b"%PDF"[..]);
    let file = world.post(&ana, "getFile", &json!({"file_id": file_id})).await.result();
    let path = file["file_path"].as_str().expect("a path");
    world.telegram.faults.fail_next("download", Failure::Status(StatusCode::BAD_GATEWAY));
    assert_repeatable(&world.download(&ana, path).await);
    assert_eq!(world.download(&ana, path).await.text(), "%PDF");
}

/// A send, an edit, and one call of every kind that is neither.
fn calls() -> [(&'static str, Value); 6] {
    [
        ("sendMessage", json!({"chat_id": ANA, "text": "hi"})),
        ("editMessageText", json!({"chat_id": ANA, "message_id": 1, "text": "hi"})),
        ("sendChatAction", json!({"chat_id": ANA, "action": "typing"})),
        ("setMessageReaction", json!({"chat_id": ANA, "message_id": 1, "reaction": []})),
        ("deleteMessage", json!({"chat_id": ANA, "message_id": 900})),
        ("getFile", json!({"file_id": "f"})),
    ]
}

fn assert_repeatable(answer: &Answer) {
    answer.assert_refused(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests: retry after 10");
    assert_eq!(answer.json()["parameters"], json!({"retry_after": 10}));
}
