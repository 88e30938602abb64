//! What is sent to Google, and what its simulator answers, is what Google's discovery documents describe.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use nbhd::config::Env;
use nbhd::providers::google::{calendar, gmail, oauth};
use nbhd_sim::contracts;
use nbhd_sim::google::contract::Contract;
use nbhd_sim::google::{Endpoint, Failure};
use nbhd_sim::journal::{Entry, Journal};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::vendors::google_world::{CALENDAR, GMAIL, PERSON, World};

#[tokio::test]
async fn every_answer_of_the_simulator_is_one_google_describes() {
    let world = World::start().await;
    world.fill_account();
    let token = world.access_token().await;
    let get = async |path: String| world.get(&token, &path).await;

    for path in
        ["", "?q=is:unread&maxResults=3", "?maxResults=2&fields=messages(id,threadId),nextPageToken", "?q=nothing"]
    {
        get(format!("/gmail/v1/users/me/messages{path}")).await;
    }
    let ids = world.google.mailbox(PERSON, |mailbox| {
        mailbox.messages().iter().map(|message| (message.id.clone(), message.thread_id.clone())).collect::<Vec<_>>()
    });
    for (id, thread) in &ids {
        get(format!("/gmail/v1/users/me/messages/{id}")).await;
        get(format!("/gmail/v1/users/me/messages/{id}?format=metadata&metadataHeaders=From&metadataHeaders=Date"))
            .await;
        get(format!("/gmail/v1/users/me/messages/{id}?format=minimal")).await;
        get(format!("/gmail/v1/users/me/threads/{thread}?format=full")).await;
    }
    for path in ["/gmail/v1/users/me/messages/none", "/gmail/v1/users/me/messages/1", "/gmail/v1/users/else/messages"] {
        get(path.to_owned()).await;
    }
    get("/calendar/v3/calendars/primary".to_owned()).await;
    get("/calendar/v3/calendars/unknown/events".to_owned()).await;
    let range = "timeMin=2026-11-01T00:00:00Z&timeMax=2026-12-01T00:00:00Z";
    get(format!("/calendar/v3/calendars/primary/events?{range}&singleEvents=true&orderBy=startTime&maxResults=2"))
        .await;
    get(format!("/calendar/v3/calendars/primary/events?{range}&showDeleted=true&pageToken=2")).await;
    get("/calendar/v3/calendars/primary/events?orderBy=startTime".to_owned()).await;
    get("/oauth2/v2/userinfo".to_owned()).await;
    let asked = json!({
        "timeMin": "2026-11-21T00:00:00Z", "timeMax": "2026-11-22T00:00:00Z",
        "items": [{ "id": "primary" }, { "id": "nobody@example.com" }],
    });
    world.post(&token, "/calendar/v3/freeBusy", asked).await;
    world.get("ya29.unknown", "/gmail/v1/users/me/messages").await;

    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!(report.requests, 4 + 4 * ids.len() + 3 + 5 + 1 + 1 + 1);
}

#[tokio::test]
async fn our_clients_ask_for_what_google_describes_and_understand_the_answers() {
    let world = World::start().await;
    world.fill_account();
    let env = Env::from_pairs(world.google.settings());
    let tokens = world.connect(&format!("openid email {GMAIL} {CALENDAR}"), &[]).await;
    let refresh_token = SecretString::from(tokens["refresh_token"].as_str().expect("a refresh token"));
    let oauth = oauth::Client::from_env(&env, world.http.clone()).expect("settings").expect("configured");
    let token = oauth.refresh_access_token(&refresh_token).await.expect("a token").access_token;
    assert_eq!(oauth.get_account(&token).await.expect("an account").email.as_deref(), Some(PERSON));

    let gmail = gmail::Client::new(&env, world.http.clone()).expect("settings");
    let found = gmail.search(&token, "subject:budget", 10).await.expect("a list");
    assert_eq!(found.messages.len(), 2);
    for id in found.messages.iter().map(|message| &message.id) {
        let summary = gmail.get_summary(&token, id).await.expect("a message");
        assert!(summary.headers().get("subject").is_some_and(|subject| subject.contains("Budget review")));
        let message = gmail.get_message(&token, id).await.expect("a message");
        assert_eq!(gmail.list_thread(&token, &message.thread_id).await.expect("a thread").len(), 2);
    }
    let invoice = &gmail.search(&token, "subject:invoice", 1).await.expect("a list").messages[0].id;
    let payload = gmail.get_message(&token, invoice).await.expect("a message").payload.expect("a payload");
    let payload: Value = serde_json::from_str(payload.get()).expect("JSON");
    let attached = &payload["parts"][1]["body"];
    let id = attached["attachmentId"].as_str().expect("an attachment's id");
    let data = gmail.get_attachment(&token, invoice, id).await.expect("an attachment");
    assert_eq!(URL_SAFE.decode(data).expect("base64url").len() as u64, attached["size"]);

    let calendar = calendar::Client::new(&env, world.http.clone()).expect("settings");
    assert_eq!(calendar.get_time_zone(&token).await.expect("a zone"), Some("Europe/Zurich".to_owned()));
    let (from, to) = (world.clock.now(), world.clock.now() + Duration::from_secs(86_400));
    let range = calendar::Range { from, to: Some(to), max_results: 10, page_token: None };
    assert_eq!(calendar.list_events(&token, &range).await.expect("events").items.len(), 2);
    assert_eq!(calendar.get_free_busy(&token, from, to).await.expect("busy times").len(), 1);

    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!((report.violations, report.requests), (Vec::new(), 1 + 1 + 3 * 2 + 3 + 3));
}

#[tokio::test]
async fn every_message_of_the_corpus_is_answered_as_google_describes() {
    let Some(corpus) = contracts::mail_dir() else { return };
    let world = World::start().await;
    let count = world.google.fills_mailbox(PERSON, Some(&corpus)).expect("the corpus can be read");
    let token = world.access_token().await;
    let ids = world
        .google
        .mailbox(PERSON, |mailbox| mailbox.messages().iter().map(|message| message.id.clone()).collect::<Vec<_>>());
    assert_eq!(ids.len(), count, "none was dropped");
    for id in ids {
        let (status, _) = world.get(&token, &format!("/gmail/v1/users/me/messages/{id}")).await;
        assert_eq!(status, StatusCode::OK);
    }
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!((report.violations, report.requests), (Vec::new(), count));
}

#[test]
fn the_check_finds_what_breaks_a_document() {
    let Some(contract) = Contract::load() else { return };
    let messages = "/gmail/v1/users/me/messages";
    let list = json!({ "messages": [], "resultSizeEstimate": 0 });
    for (method, path, body, answer, violation) in [
        ("GET", "/gmail/v1/users/me/inbox", json!(null), list.clone(), "no document describes"),
        ("POST", "/gmail/v1/users/me/threads/1", json!(null), list.clone(), "no document describes"),
        ("GET", &format!("{messages}?max_results=5"), json!(null), list.clone(), "`max_results` is no parameter"),
        ("GET", &format!("{messages}?maxResults=many"), json!(null), list.clone(), "`maxResults` cannot be `many`"),
        ("GET", &format!("{messages}?q=a&q=b"), json!(null), list.clone(), "`q` is given twice"),
        ("GET", &format!("{messages}?access_token=x"), json!(null), list.clone(), "puts a credential into the address"),
        (
            "GET",
            &format!("{messages}?fields=messages/subject"),
            json!(null),
            list.clone(),
            "`messages/subject`, which is no field",
        ),
        ("GET", &format!("{messages}?fields=messages("), json!(null), list.clone(), "`fields` cannot be read"),
        ("GET", &format!("{messages}/1?format=huge"), json!(null), json!({}), "`format` cannot be `huge`"),
        ("GET", messages, json!({}), list, "takes no body"),
        ("GET", messages, json!(null), json!({ "messages": [{ "subject": "x" }] }), "subject"),
        ("GET", &format!("{messages}/1"), json!(null), json!({ "internalDate": 5 }), "internalDate"),
        ("GET", &format!("{messages}/1"), json!(null), json!({ "internalDate": "today" }), "internalDate"),
        (
            "GET",
            "/calendar/v3/calendars/primary/events?timeMin=now",
            json!(null),
            json!({}),
            "`timeMin` cannot be `now`",
        ),
        ("POST", "/calendar/v3/freeBusy", json!({ "from": "x" }), json!({}), "from"),
    ] {
        let journal = Journal::new();
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let place = journal.record(Entry::new("google", method, path, &HeaderMap::new(), body.into()));
        journal.record_answer(place, StatusCode::OK, &HeaderMap::new(), answer.to_string().into());
        let report = contract.check(&journal);
        let found = report.violations.iter().any(|found| found.contains(violation));
        assert!(found, "{method} {path} should break `{violation}`: {:?}", report.violations);
    }
}

#[tokio::test]
async fn an_injected_failure_is_held_to_nothing_but_its_request_is() {
    let world = World::start().await;
    let token = world.access_token().await;
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::NotJson);
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::Status(503));
    for _ in 0..2 {
        world.get(&token, "/gmail/v1/users/me/messages").await;
    }
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::Throttled(Some(7)));
    world.get(&token, "/gmail/v1/users/me/messages?unknown=1").await;
    let Some(report) = Contract::load().map(|contract| contract.check(&world.journal)) else { return };
    assert_eq!((report.requests, report.violations.len()), (3, 1), "{:?}", report.violations);
}
