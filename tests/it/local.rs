//! The local world: the story `make run` plays, and its page.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::ids::ChatId;
use nbhd_local::story::{self, QUESTION};
use nbhd_local::{Options, Show, Trigger, World};
use nbhd_sim::google::mailbox::TextForm;
use reqwest::StatusCode;
use serde_json::{Value, json};

const MILLI: Duration = Duration::from_millis(1);

async fn world() -> World {
    let clock = Clock::manual(Timestamp::from_seconds(1_795_240_000));
    World::start(Options::with_clock(clock)).await.expect("the world starts")
}

#[tokio::test]
async fn the_story_goes_from_a_stranger_to_an_answer_out_of_mail_and_on_to_a_receipt() {
    let world = world().await;
    assert_eq!(story::fill_account(&world, None, TextForm::Utf8).expect("the project's own messages"), 8);

    let told = Arc::new(Mutex::new(String::new()));
    let tell = |line: &str| told.lock().expect("one teller").push_str(line);
    let mut show = Show::new(&world.trace, tell);
    let subscriber = story::begin(&world, &mut show).await.expect("every step ends as it should");
    let begun = told.lock().expect("told").clone();
    let (_, end) = begun.rsplit_once(QUESTION).expect("she asks at the end");
    assert!(end.contains("Dinner on Saturday") && end.contains("Garden committee"), "{end}");

    story::end(&world, &subscriber, &mut show).await.expect("every step ends as it should");
    let told = told.lock().expect("told to its end");
    for function in ["telegram-webhook", "telegram-forward", "telegram-relay", "oauth-authorize", "oauth-callback"] {
        assert!(told.contains(function), "{function} did nothing");
    }
    for function in ["runtime-gmail", "runtime-calendar", "scheduled-refresh", "stripe-webhook", "tenant-reconcile"] {
        assert!(told.contains(function), "{function} did nothing");
    }
    assert!(world.inventory().is_empty() && told.contains("billing-session"));
}

#[tokio::test]
async fn the_page_shows_what_is_written_and_answered() {
    let world = world().await;
    world.subscribes(ChatId(world.chat.id())).await.expect("an assistant");
    let http = nbhd::http::client_with_roots(None).expect("a client");
    let at = |path: &str| format!("{}{path}", world.base_url());

    let page = http.get(at("/")).send().await.expect("served");
    assert!(page.status() == StatusCode::OK && page.text().await.expect("HTML").contains("Write to the bot"));

    let said = http.post(at("/local/say")).header("content-type", "application/json");
    let said = said.body(json!({ "text": "good morning" }).to_string()).send().await.expect("served");
    assert_eq!(said.status(), StatusCode::NO_CONTENT);
    world.run_until_idle().await;

    let state = http.get(at("/local/state")).send().await.expect("served").bytes().await.expect("read");
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    let chat: Vec<_> = state["chat"].as_array().expect("lines").iter().collect();
    let said = chat.iter().position(|line| line["mine"] == true).expect("what she said");
    assert_eq!(chat[said]["text"], "good morning");
    let answer = &chat[said + 1];
    assert!(answer["mine"] == false && answer["text"].as_str().expect("text").contains("good morning"), "{state}");
    assert_eq!(state["trace"][0]["function"], "telegram-webhook");
}

#[tokio::test]
async fn repeated_sweeps_are_one_line_of_the_page_and_what_the_person_caused_stands_out() {
    let world = world().await;
    let sweep = || world.trace.record("reconcile-sweep", Trigger::Schedule("sweep"), "done".to_owned(), MILLI);
    let job = || world.trace.record("tenant-reconcile", Trigger::Queue("lifecycle"), "done".to_owned(), MILLI);
    for _ in 0..40 {
        sweep();
        job();
    }
    world.chat.says("hello");
    world.run_until_idle().await;
    sweep();

    let http = nbhd::http::client_with_roots(None).expect("a client");
    let state = http.get(format!("{}/local/state", world.base_url())).send().await.expect("served");
    let state: Value = serde_json::from_slice(&state.bytes().await.expect("read")).expect("JSON");
    let line = |place: usize| {
        let line = &state["trace"][place];
        json!([line["function"], line["trigger"], line["count"], line["by_person"], line["millis"]])
    };
    assert_eq!(line(0), json!(["reconcile-sweep", "sweep", 40, false, 40]));
    assert_eq!(line(1), json!(["tenant-reconcile", "lifecycle", 40, false, 40]));
    let webhook = &state["trace"][2];
    assert_eq!((&webhook["trigger"], &webhook["by_person"]), (&json!("POST /telegram/webhook"), &json!(true)));
    assert_eq!(
        (line(3), line(4)),
        (json!(["reconcile-sweep", "sweep", 1, false, 1]), json!([null, null, null, null, null]))
    );
}

#[tokio::test]
async fn another_sites_form_cannot_write_to_the_bot() {
    let world = world().await;
    let http = nbhd::http::client_with_roots(None).expect("a client");
    let form = http.post(format!("{}/local/say", world.base_url())).header("content-type", "text/plain");
    let answer = form.body(r#"{"text":"hi"}"#).send().await.expect("served");
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_kept_table_still_has_its_tenants() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || Options {
        table: Some(folder.path().join("table.sqlite")),
        ..Options::with_clock(Clock::manual(Timestamp::from_seconds(1_795_240_000)))
    };
    let first = World::start(options()).await.expect("the world starts");
    let chat = ChatId(first.chat.id());
    let tenant = first.subscribes(chat).await.expect("an assistant").tenant_id;
    drop(first);
    let second = World::start(options()).await.expect("the world starts");
    let kept = second.store().expect("a store").tenant(tenant).await.expect("readable").expect("still there");
    assert_eq!(kept.chat_id, chat);
    assert_ne!(second.chat.id(), chat.0, "a chat of an earlier run is not a stranger's");
}
