//! The local world: the story `make run` plays, and its page.

use std::sync::{Arc, Mutex};

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::ChatId;
use nbhd_local::story::{self, QUESTION};
use nbhd_local::{Options, Show, World};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn world() -> World {
    let clock = Clock::manual(Timestamp::from_seconds(1_795_240_000));
    World::start(Options::with_clock(clock)).await.expect("the world starts")
}

#[tokio::test]
async fn the_story_ends_with_an_answer_out_of_mail_and_calendar() {
    let world = world().await;
    let subscriber = world.subscribes(ChatId(world.chat.id())).await.expect("seeded");
    assert_eq!(story::fill_account(&world, None).expect("the project's own messages"), 8);

    let told = Arc::new(Mutex::new(String::new()));
    let tell = |line: &str| told.lock().expect("one teller").push_str(line);
    story::play(&world, &subscriber, &mut Show::new(&world.trace, tell)).await.expect("every step ends as it should");

    let told = told.lock().expect("told to its end");
    let (_, end) = told.rsplit_once(QUESTION).expect("she asks at the end");
    assert!(end.contains("Dinner on Saturday") && end.contains("Garden committee"), "{end}");
    for function in ["telegram-webhook", "telegram-forward", "telegram-relay", "oauth-authorize", "oauth-callback"] {
        assert!(told.contains(function), "{function} did nothing");
    }
    for function in ["runtime-gmail", "runtime-calendar", "scheduled-refresh"] {
        assert!(told.contains(function), "{function} did nothing");
    }
}

#[tokio::test]
async fn the_page_shows_what_is_written_and_answered() {
    let world = world().await;
    world.subscribes(ChatId(world.chat.id())).await.expect("seeded");
    let http = nbhd::http::client_trusting(None).expect("a client");
    let at = |path: &str| format!("{}{path}", world.base_url());

    let page = http.get(at("/")).send().await.expect("served");
    assert!(page.status() == StatusCode::OK && page.text().await.expect("HTML").contains("Write to the bot"));

    let said = http.post(at("/local/say")).header("content-type", "application/json");
    let said = said.body(json!({ "text": "good morning" }).to_string()).send().await.expect("served");
    assert_eq!(said.status(), StatusCode::NO_CONTENT);
    world.settle().await;

    let state = http.get(at("/local/state")).send().await.expect("served").bytes().await.expect("read");
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    let chat: Vec<_> = state["chat"].as_array().expect("lines").iter().collect();
    assert!(chat[0]["mine"] == true && chat[0]["text"] == "good morning", "{state}");
    assert!(chat[1]["mine"] == false && chat[1]["text"].as_str().expect("text").contains("good morning"), "{state}");
    assert_eq!(state["trace"][0]["function"], "telegram-webhook");
}

#[tokio::test]
async fn another_sites_form_cannot_write_to_the_bot() {
    let world = world().await;
    let http = nbhd::http::client_trusting(None).expect("a client");
    let form = http.post(format!("{}/local/say", world.base_url())).header("content-type", "text/plain");
    let answer = form.body(r#"{"text":"hi"}"#).send().await.expect("served");
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_tenant_keeps_its_identity_when_the_table_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || Options {
        table: Some(folder.path().join("table.sqlite")),
        ..Options::with_clock(Clock::manual(Timestamp::from_seconds(1_795_240_000)))
    };
    let mut tenants = Vec::new();
    for _ in 0..2 {
        let world = World::start(options()).await.expect("the world starts");
        tenants.push(world.subscribes(ChatId(world.chat.id())).await.expect("seeded").tenant_id);
    }
    assert_eq!(tenants[0], tenants[1]);
}
