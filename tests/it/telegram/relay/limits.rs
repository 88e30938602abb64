//! How often a tenant may call, how much passes through, and what a call costs the table.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::world::{ANA, BEN, Multipart, World};

const TOO_BIG: &str = "Bad Request: file is too big";

#[tokio::test]
async fn a_call_reads_one_item_and_writes_one() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let operations = || world.table.calls().into_iter().map(|call| call.operation).collect::<Vec<_>>();

    world.table.clear_calls();
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "hi"})).await.result();
    assert_eq!(operations(), ["GetItem", "UpdateItem"]);
    assert!(world.table.units() <= 2.0, "{} units", world.table.units());

    world.table.clear_calls();
    world.post(&ana, "getMe", &json!({})).await.result();
    world.post(&ana, "getUpdates", &json!({})).await;
    world.post(&ana, "sendMessage", &json!({"chat_id": BEN, "text": "hi"})).await;
    assert_eq!(operations(), ["GetItem", "UpdateItem"].repeat(3), "what is answered here is charged too");
}

#[tokio::test]
async fn calls_that_are_answered_here_have_a_limit_of_their_own() {
    let world = World::start().await;
    let (ana, ben) = (world.tenant(ANA).await, world.tenant(BEN).await);
    let call = async |runtime, method: &str| {
        let at = world.clock.now();
        let answer = world.post(runtime, method, &json!({})).await;
        world.clock.set(at);
        answer.status
    };
    for method in ["getMe", "getUpdates", "noSuchMethod", "setWebhook", "sendMessage"] {
        world.clock.advance(Duration::from_secs(60));
        let mut passed = 0;
        while call(&ana, method).await != StatusCode::TOO_MANY_REQUESTS {
            passed += 1;
            assert!(passed <= 20, "{method} is free");
        }
        assert_eq!(passed, 20, "{method}");
        assert_eq!(call(&ben, "getMe").await, StatusCode::OK, "another tenant is served as ever");
    }
    assert!(world.telegram.sent_to(ANA).is_empty());
}

#[tokio::test]
async fn five_sends_pass_at_once_and_then_one_a_second() {
    let world = World::start().await;
    let (ana, ben) = (world.tenant(ANA).await, world.tenant(BEN).await);
    let send = async |runtime, chat: i64| {
        let at = world.clock.now();
        let answer = world.post(runtime, "sendMessage", &json!({"chat_id": chat, "text": "hi"})).await;
        // The rest before a call is taken back: these come at once.
        world.clock.set(at);
        answer
    };
    for _ in 0..5 {
        send(&ana, ANA).await.result();
    }
    let refused = send(&ana, ANA).await;
    assert_eq!(refused.json()["parameters"], json!({"retry_after": 1}));
    refused.assert_refused(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests: retry after 1");
    send(&ben, BEN).await.result();

    world.clock.advance(Duration::from_secs(1));
    send(&ana, ANA).await.result();
    assert_eq!(send(&ana, ANA).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((world.telegram.texts_to(ANA).len(), world.telegram.texts_to(BEN).len()), (6, 1));
}

#[tokio::test]
async fn an_album_counts_as_its_items_and_passes_whole() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let file_id = world.telegram.uploads_file(ANA, "a.jpg", "image/jpeg", &b"a"[..]);
    let photo = json!({"type": "photo", "media": file_id});
    let album = json!({"chat_id": ANA, "media": vec![photo; 10]});
    let send = async |method: &str, body| {
        let at = world.clock.now();
        let answer = world.post(&ana, method, body).await;
        world.clock.set(at);
        answer
    };
    send("sendMediaGroup", &album).await.result();
    let text = json!({"chat_id": ANA, "text": "hi"});
    let refused = send("sendMessage", &text).await;
    assert_eq!(refused.json()["parameters"], json!({"retry_after": 6}));
    assert_eq!(send("sendMediaGroup", &album).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.telegram.sent_to(ANA).len(), 10);

    world.clock.advance(Duration::from_secs(6));
    send("sendMediaGroup", &album).await.result();
    assert_eq!(send("sendMessage", &text).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn no_more_than_the_burst_passes_at_the_very_same_time() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let chat = ANA.to_string();
    let pairs = [("chat_id", chat.as_str()), ("text", "hi")];
    let answers = futures::future::join_all((0..20).map(|_| world.query(&ana, "sendMessage", &pairs))).await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    let limited = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!((passed, limited, world.telegram.texts_to(ANA).len()), (5, 15, 5));
}

#[tokio::test]
async fn what_puts_nothing_into_the_chat_has_a_limit_of_its_own() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let at = world.clock.now();
    let mut passed = 0;
    loop {
        let answer = world.post(&ana, "sendChatAction", &json!({"chat_id": ANA, "action": "typing"})).await;
        world.clock.set(at);
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        answer.result();
        passed += 1;
    }
    assert_eq!((passed, world.telegram.actions_in(ANA).len()), (20, 20));
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "hi"})).await.result();
}

#[tokio::test]
async fn a_refused_call_costs_nothing_of_the_limit() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let at = world.clock.now();
    for _ in 0..10 {
        world.post(&ana, "sendMessage", &json!({"chat_id": BEN, "text": "hi"})).await;
        world.clock.set(at);
    }
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "hi"})).await.result();
}

#[tokio::test]
async fn a_body_over_4_mib_is_too_big_and_one_below_it_passes() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let form =
        |size: usize| Multipart::default().field("chat_id", &ANA.to_string()).file("document", "d.bin", &vec![0; size]);
    let overhead = form(0).end().len();
    let answer = world.multipart(&ana, "sendDocument", form(telegram_relay::MAX_BYTES + 1 - overhead)).await;
    answer.assert_refused(StatusCode::BAD_REQUEST, TOO_BIG);
    assert_eq!(world.calls(), []);
    world.multipart(&ana, "sendDocument", form(telegram_relay::MAX_BYTES - overhead)).await.result();
}

#[tokio::test]
async fn parameters_in_text_are_bounded_before_they_are_taken_apart() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let lists = format!("{{\"chat_id\":{ANA},\"text\":[{}0]}}", "0,".repeat(300_000));
    let form = Multipart::default().field("chat_id", &ANA.to_string()).field("media", &"[".repeat(300_000)).end();
    for (content_type, body) in [
        ("application/json", lists.clone().into_bytes()),
        ("application/x-www-form-urlencoded", lists.into_bytes()),
        ("multipart/form-data; boundary=B", form),
    ] {
        world.call(&ana, "sendMediaGroup", content_type, body).await.assert_refused(StatusCode::BAD_REQUEST, TOO_BIG);
    }
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn a_file_over_4_mib_is_too_big_and_one_of_them_passes() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let upload = |size| world.telegram.uploads_file(ANA, "d.bin", "application/octet-stream", vec![7; size]);
    let larger = upload(telegram_relay::MAX_BYTES + 1);
    let answer = world.post(&ana, "getFile", &json!({"file_id": larger})).await;
    answer.assert_refused(StatusCode::BAD_REQUEST, TOO_BIG);

    let file_id = upload(telegram_relay::MAX_BYTES);
    let file = world.post(&ana, "getFile", &json!({"file_id": file_id})).await.result();
    let path = file["file_path"].as_str().expect("a path");
    assert_eq!(world.download(&ana, path).await.body.len(), telegram_relay::MAX_BYTES);
}
