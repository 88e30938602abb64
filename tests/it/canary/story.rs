//! The value chain, and every way we know in which it fails.

use std::time::Duration;

use axum::http::StatusCode;
use nbhd_local::{Browser, LoadedPage};
use nbhd_sim::google::{Endpoint, Failure, Scopes};
use nbhd_sim::telegram::updates;
use nbhd_sim::{key_vault, telegram};
use serde_json::{Value, json};

use super::search::{Marker, Sink};
use super::stage::{CHAT, Mood, Stage};

const HOUR: Duration = Duration::from_secs(3_600);
const STRANGER: i64 = 4_002;
const NOWHERE: &[Sink] = &[];
const DELIVERED: &[Sink] = &[Sink::Inbound, Sink::Runtime];
const DEAD_LETTERED: &[Sink] = &[Sink::Inbound, Sink::Runtime, Sink::DeadLetter];

pub(super) async fn people_write(stage: &mut Stage) {
    let text = stage.add_marker("a message", DELIVERED);
    stage.world.telegram.says(CHAT, &text);
    let data = stage.add_marker("a pressed button", DELIVERED);
    stage.world.telegram.presses(CHAT, 1, &data);
    let edited = stage.add_marker("an edited message", DELIVERED);
    stage.world.telegram.sends_update(updates::edited(CHAT, 1, &edited));
    let zone = stage.add_marker("an unknown time zone", NOWHERE);
    stage.world.telegram.says(CHAT, &format!("/timezone {zone}"));
    stage.run_until_idle().await;

    let group = stage.add_marker("a message to a group", NOWHERE);
    stage.world.telegram.sends_update(updates::in_group(-100, CHAT, &group));
    let channel = stage.add_marker("a post in a channel", NOWHERE);
    stage.world.telegram.sends_update(updates::channel_post(-200, &channel));
    let query = stage.add_marker("an inline query", NOWHERE);
    stage.world.telegram.sends_update(updates::inline_query(CHAT, &query));
    let stranger = stage.add_marker("a stranger's message", NOWHERE);
    stage.world.telegram.knows(STRANGER, "Stranger");
    stage.world.telegram.says(STRANGER, &stranger);
    stage.run_until_idle().await;

    let secret = stage.setting("TELEGRAM_WEBHOOK_SECRETS");
    let unsigned = stage.add_marker("an unsigned update", NOWHERE);
    let wrong = stage.add_marker("a wrong webhook secret", NOWHERE);
    assert_eq!(stage.webhook(&wrong, update(&unsigned)).await, StatusCode::FORBIDDEN);
    let broken = stage.add_marker("a broken update", NOWHERE);
    assert_eq!(stage.webhook(&secret, update(&broken).replace('}', "")).await, StatusCode::OK);

    for _ in 0..32 {
        stage.world.telegram.says(CHAT, "again");
    }
    let limited = stage.add_marker("a message over the limit", NOWHERE);
    stage.world.telegram.says(CHAT, &limited);
    stage.run_until_idle().await;
    stage.world.clock.advance(HOUR);
}

pub(super) async fn the_assistant_answers(stage: &mut Stage) {
    let send = |text: &str| json!({ "chat_id": CHAT, "text": text }).to_string();
    let answer = stage.add_marker("an answer", &[Sink::Telegram, Sink::Relay]);
    assert_eq!(relay(stage, "sendMessage", send(&answer)).await, StatusCode::OK);
    let astray = stage.add_marker("an answer to another chat", NOWHERE);
    let foreign = json!({ "chat_id": STRANGER, "text": astray }).to_string();
    assert_ne!(relay(stage, "sendMessage", foreign).await, StatusCode::OK);
    let forbidden = stage.add_marker("a parameter of a forbidden method", NOWHERE);
    let forward = json!({ "chat_id": CHAT, "from_chat_id": forbidden, "message_id": 1 }).to_string();
    assert_ne!(relay(stage, "forwardMessage", forward).await, StatusCode::OK);
    let broken = stage.add_marker("a broken call", NOWHERE);
    assert_ne!(relay(stage, "sendMessage", send(&broken).replace('}', "")).await, StatusCode::OK);
    let doubled = stage.add_marker("a parameter given twice", NOWHERE);
    let form = format!("chat_id={CHAT}&text={doubled}&text={doubled}");
    let (status, _) = stage.relay("sendMessage", "application/x-www-form-urlencoded", form).await;
    assert_ne!(status, StatusCode::OK);
    let capability = stage.add_marker("a wrong capability", NOWHERE);
    let address = format!("{}/bot1:{capability}/getMe", stage.subscriber.secrets.api_root);
    assert_ne!(stage.http.get(address).send().await.expect("an answer").status(), StatusCode::OK);

    for failure in [
        telegram::Failure::Throttled(3),
        telegram::Failure::Status(StatusCode::INTERNAL_SERVER_ERROR),
        telegram::Failure::Status(StatusCode::BAD_REQUEST),
        telegram::Failure::NotJson,
        telegram::Failure::AnswerLost,
    ] {
        let lost = stage.add_marker("an answer Telegram did not take", &[Sink::Telegram]);
        stage.world.telegram.faults.fail_next("sendMessage", failure);
        assert_ne!(relay(stage, "sendMessage", send(&lost)).await, StatusCode::OK);
    }

    let content = stage.add_marker("a file's content", &[Sink::Relay]);
    let file = stage.world.telegram.uploads_file(CHAT, "note.txt", "text/plain", content.into_bytes());
    stage.run_until_idle().await;
    let (_, found) = stage.relay("getFile", "application/json", json!({ "file_id": file }).to_string()).await;
    let path = found["result"]["file_path"].as_str().expect("a signed path").to_owned();
    let (root, token) = (&stage.subscriber.secrets.api_root, &stage.subscriber.secrets.bot_token);
    let seal = path.split('/').next().and_then(|sealed| sealed.split_once('-')).expect("a seal").1.to_owned();
    let address = format!("{root}/file/bot{token}/{path}");
    assert_eq!(stage.http.get(&address).send().await.expect("an answer").status(), StatusCode::OK);
    let unsigned = address.replace(&seal, "forged");
    assert_ne!(stage.http.get(unsigned).send().await.expect("an answer").status(), StatusCode::OK);
    stage.markers.push(Marker::new("the seal of a file's path", seal, &[Sink::Relay]));
}

/// The message with the links is the bot's, and the assistant may reply to it.
pub(super) async fn the_assistant_replies_to_a_link(stage: &mut Stage) {
    stage.world.telegram.says(CHAT, "/billing");
    stage.run_until_idle().await;
    let with_a_link = stage.world.telegram.sent_to(CHAT).pop().expect("a message");
    assert!(find(&with_a_link.message["reply_markup"], "/billing/portal").is_some(), "a link");
    let reply = json!({ "message_id": with_a_link.message_id });
    let message = json!({ "chat_id": CHAT, "text": "which?", "reply_parameters": reply }).to_string();
    assert_eq!(relay(stage, "sendMessage", message).await, StatusCode::OK);
}

pub(super) async fn google_is_connected(stage: &mut Stage) {
    for failure in [Failure::Echo, Failure::NotJson, Failure::Status(503), Failure::OAuth("invalid_grant")] {
        stage.world.google.faults.fail_next(Endpoint::Token, failure);
        connect(stage, &Scopes::All).await;
    }
    connect(stage, &Scopes::Deny).await;

    let (_, back) = consent(stage, &Scopes::All).await;
    let seen = Browser::new().expect("a browser").open(&back).await.expect("a page");
    assert_ne!(seen.status, 200, "another browser");
    for query in ["", "?code=x", "?state=x&code=x"] {
        let address = format!("{}/oauth/google/callback{query}", stage.world.base_url());
        assert_ne!(Browser::new().expect("a browser").open(&address).await.expect("a page").status, 200);
    }
    let code = stage.add_marker("an error of Google's", NOWHERE);
    let address = format!("{}/oauth/google/callback?error={code}&state=x", stage.world.base_url());
    assert_ne!(Browser::new().expect("a browser").open(&address).await.expect("a page").status, 200);

    stage.world.azure.vault.faults.fail_all(key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE));
    connect(stage, &Scopes::All).await;
    stage.world.azure.vault.faults.recover();
    let (mut browser, back) = consent(stage, &Scopes::All).await;
    stage.world.table.faults.set_down(true);
    assert_ne!(browser.open(&back).await.expect("a page").status, 200, "the table is down");
    stage.world.table.faults.set_down(false);

    stage.world.google.faults.fail_next(Endpoint::UserInfo, Failure::Echo);
    connect(stage, &Scopes::Only(vec!["calendar.readonly"])).await;
    let seen = connect(stage, &Scopes::All).await;
    assert_eq!(seen.status, 200);
    let undo = format!("{}/oauth/google/undo", stage.world.base_url());
    let undone = Browser::new().expect("a browser").submit(&undo, &seen.form_fields()).await.expect("a page");
    assert_eq!(undone.status, 200);
    stage.run_until_idle().await;
    assert_eq!(connect(stage, &Scopes::All).await.status, 200);
    stage.run_until_idle().await;
}

pub(super) async fn the_assistant_reads(stage: &mut Stage) {
    let search = stage.add_marker("a search", &[Sink::Google]);
    assert_eq!(tool(stage, &format!("gmail/messages/?q={search}")).await, StatusCode::OK);
    let (status, list) = stage.tool("gmail/messages/", &[]).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    let message = format!("gmail/messages/{}/", list["messages"][0]["id"].as_str().expect("a message"));
    for path in [message.as_str(), "google-calendar/events/", "google-calendar/freebusy/"] {
        assert_eq!(tool(stage, path).await, StatusCode::OK, "{path}");
    }
    let parameter = stage.add_marker("a parameter out of form", NOWHERE);
    assert_eq!(tool(stage, &format!("gmail/messages/?max_results={parameter}")).await, StatusCode::BAD_REQUEST);
    let (key, tenant) = (stage.add_marker("a wrong key", NOWHERE), stage.add_marker("another tenant", NOWHERE));
    for header in [("x-nbhd-internal-key", key.as_str()), ("x-nbhd-tenant-id", &tenant)] {
        assert_eq!(stage.tool("gmail/messages/", &[header]).await.0, StatusCode::UNAUTHORIZED);
    }
    for (endpoint, path) in [
        (Endpoint::MessagesList, "gmail/messages/"),
        (Endpoint::MessagesGet, "gmail/messages/"),
        (Endpoint::MessagesGet, message.as_str()),
        (Endpoint::ThreadsGet, message.as_str()),
        (Endpoint::EventsList, "google-calendar/events/"),
        (Endpoint::FreeBusy, "google-calendar/freebusy/"),
    ] {
        let failures =
            [Failure::Echo, Failure::NotJson, Failure::UsageLimit, Failure::Unauthorized, Failure::Status(500)];
        for failure in failures {
            stage.world.google.faults.fail_always(endpoint, failure);
            tool(stage, path).await;
        }
        stage.world.google.faults.recover();
    }
    stage.look_at_the_table();
}

pub(super) async fn tokens_age(stage: &mut Stage) {
    for failure in [Failure::Status(503), Failure::Echo, Failure::NotJson] {
        stage.world.clock.advance(2 * HOUR);
        stage.world.google.faults.fail_next(Endpoint::Token, failure);
        assert_ne!(tool(stage, "gmail/messages/").await, StatusCode::OK);
    }
    for failure in [key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE), key_vault::Failure::NotJson] {
        stage.world.clock.advance(2 * HOUR);
        stage.world.azure.vault.faults.fail_all(failure);
        assert_ne!(tool(stage, "google-calendar/events/").await, StatusCode::OK);
        stage.world.azure.vault.faults.recover();
    }
    stage.world.clock.advance(2 * HOUR);
    assert_eq!(tool(stage, "gmail/messages/").await, StatusCode::OK, "a blip is not an outage");
    stage.world.clock.advance(2 * HOUR);
    let account = stage.texts.account.clone();
    stage.world.google.person_revokes(&account);
    assert_eq!(tool(stage, "gmail/messages/").await, StatusCode::CONFLICT);
    assert_eq!(connect(stage, &Scopes::All).await.status, 200);
    stage.run_until_idle().await;
}

pub(super) async fn deliveries_fail(stage: &mut Stage) {
    for status in [400, 401, 500] {
        stage.runtime(Mood::Echoes(status));
        let refused = stage.add_marker("a message that was given up", DEAD_LETTERED);
        stage.world.telegram.faults.fail_next("sendMessage", telegram::Failure::NotJson);
        stage.world.telegram.says(CHAT, &refused);
        stage.run_until_idle().await;
    }
    stage.runtime(Mood::Takes);
}

pub(super) async fn stores_fail(stage: &mut Stage) {
    let secret = stage.setting("TELEGRAM_WEBHOOK_SECRETS");
    let send = |text: &str| json!({ "chat_id": CHAT, "text": text }).to_string();
    stage.world.table.faults.set_down(true);
    let unrouted = stage.add_marker("a message without a table", NOWHERE);
    assert_eq!(stage.webhook(&secret, update(&unrouted)).await, StatusCode::SERVICE_UNAVAILABLE);
    let unsent = stage.add_marker("an answer without a table", NOWHERE);
    assert_ne!(relay(stage, "sendMessage", send(&unsent)).await, StatusCode::OK);
    assert_eq!(tool(stage, "gmail/messages/").await, StatusCode::SERVICE_UNAVAILABLE);
    stage.world.table.faults.set_down(false);

    stage.world.sqs.faults.set_down(true);
    let unqueued = stage.add_marker("a message without a queue", &[Sink::Inbound]);
    assert_eq!(stage.webhook(&secret, update(&unqueued)).await, StatusCode::SERVICE_UNAVAILABLE);
    stage.world.sqs.faults.set_down(false);
}

pub(super) async fn google_is_disconnected(stage: &mut Stage) {
    stage.world.google.faults.fail_next(Endpoint::Revoke, Failure::Echo);
    let down = key_vault::Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
    stage.world.azure.vault.faults.fail_next(key_vault::Operation::Delete, down);
    stage.world.telegram.says(CHAT, "/disconnect");
    stage.run_until_idle().await;
    assert!(tool(stage, "gmail/messages/").await.is_client_error(), "nothing is connected");
    let names = stage.world.azure.vault.names();
    assert!(names.iter().all(|name| name.starts_with("runtime-")), "a token is left: {names:?}");
}

/// Walks from `/connect` to the result page.
async fn connect(stage: &mut Stage, scopes: &Scopes) -> LoadedPage {
    let (mut browser, back) = consent(stage, scopes).await;
    let waiting = browser.open(&back).await.expect("a page");
    if let Some(deep_link) = waiting.link_with("?start=") {
        let (_, token) = deep_link.split_once("?start=").expect("a token");
        stage.world.telegram.says(CHAT, &format!("/start {token}"));
        stage.world.telegram.deliver().await;
    }
    let seen = browser.open(&back).await.expect("a page");
    stage.look_at_the_table();
    browser.open(&back).await.expect("the same page again");
    seen
}

/// Walks from `/connect` to where Google sends the browser back to.
async fn consent(stage: &mut Stage, scopes: &Scopes) -> (Browser, String) {
    stage.world.clock.advance(Duration::from_secs(60));
    stage.world.telegram.says(CHAT, "/connect");
    stage.world.telegram.deliver().await;
    let link = newest_link(stage).expect("a link in the bot's answer");
    let mut browser = Browser::new().expect("a browser");
    let page = browser.open(&link).await.expect("a page");
    let next = browser.submit(&link, &page.form_fields()).await.expect("an answer");
    let consent = next.location.expect("the way to Google");
    let back = stage.world.google.consents(&consent, &stage.texts.account, scopes).expect("the way back");
    (browser, back)
}

fn newest_link(stage: &Stage) -> Option<String> {
    let answers = stage.world.journal.entries_of("api");
    let answer = answers.iter().rev().find(|entry| entry.path_only() == "/telegram/webhook")?;
    find(&serde_json::from_slice(&answer.answer).ok()?, "/oauth/google/authorize")
}

/// The first link to `path`.
fn find(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => text.split_whitespace().find(|word| word.contains(path)).map(str::to_owned),
        Value::Array(items) => items.iter().find_map(|item| find(item, path)),
        Value::Object(fields) => fields.values().find_map(|field| find(field, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

async fn relay(stage: &Stage, method: &str, body: String) -> StatusCode {
    stage.world.clock.advance(Duration::from_secs(10));
    stage.relay(method, "application/json", body).await.0
}

async fn tool(stage: &Stage, path: &str) -> StatusCode {
    stage.tool(path, &[]).await.0
}

fn update(text: &str) -> String {
    let person = json!({ "id": CHAT, "is_bot": false, "first_name": "x" });
    let message =
        json!({ "message_id": 1, "date": 1, "chat": { "id": CHAT, "type": "private" }, "from": person, "text": text });
    json!({ "update_id": 900_000_001, "message": message }).to_string()
}
