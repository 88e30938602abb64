//! Telegram's simulator is held to Telegram's own contract, and behaves where the contract is silent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::update::Update;
use nbhd_sim::journal::Journal;
use nbhd_sim::server::Server;
use nbhd_sim::telegram::contract::Contract;
use nbhd_sim::telegram::params::Params;
use nbhd_sim::telegram::{Failure, Telegram, updates};
use serde_json::{Value, json};

const TOKEN: &str = "42:simulated-token";
const ANA: i64 = 1001;
const BEN: i64 = 1002;

#[tokio::test]
async fn every_update_it_sends_obeys_the_contract() {
    let Some(contract) = contract() else { return };
    let world = World::start().await;
    world.telegram.says(ANA, "/start now");
    world.telegram.uploads_file(ANA, "notes.pdf", "application/pdf", &b"%PDF"[..]);
    world.telegram.presses(ANA, 5, "yes");
    world.telegram.blocks_the_bot(ANA);
    for update in every_other_kind() {
        world.telegram.sends_update(update);
    }
    let hook = Hook::start(|_| (StatusCode::OK, String::new())).await;
    world.telegram.deliver_to(&hook.url(), "s3cret");
    let delivered = world.telegram.deliver().await;
    assert_eq!(delivered.len(), 4 + every_other_kind().len());
    assert_eq!(contract.check(&world.journal).violations, Vec::<String>::new());
}

#[tokio::test]
async fn every_call_and_every_answer_obeys_the_contract() {
    let Some(contract) = contract() else { return };
    let world = World::start().await;
    world.telegram.knows(ANA, "Ana");
    let query = world.telegram.presses(ANA, 1, "yes");
    let file = world.telegram.uploads_file(ANA, "notes.pdf", "application/pdf", &b"%PDF"[..]);
    let first = world.call("sendMessage", json!({"chat_id": ANA, "text": "hi"})).await["result"]["message_id"].clone();
    let calls = [
        ("getMe", json!({})),
        ("setWebhook", json!({"url": "https://bot.example/hook", "secret_token": "s", "allowed_updates": ["message"]})),
        ("getWebhookInfo", json!({})),
        ("sendChatAction", json!({"chat_id": ANA, "action": "typing"})),
        (
            "sendMessage",
            json!({"chat_id": ANA, "text": "a", "reply_parameters": {"message_id": first},
            "reply_markup": {"inline_keyboard": [[{"text": "b", "callback_data": "c"}]]}}),
        ),
        ("sendPhoto", json!({"chat_id": ANA, "photo": "https://pictures.example/1.jpg", "caption": "c"})),
        ("sendLivePhoto", json!({"chat_id": ANA, "live_photo": file, "photo": file})),
        ("sendAudio", json!({"chat_id": ANA, "audio": file})),
        ("sendDocument", json!({"chat_id": ANA, "document": file})),
        ("sendVideo", json!({"chat_id": ANA, "video": file})),
        ("sendAnimation", json!({"chat_id": ANA, "animation": file})),
        ("sendVoice", json!({"chat_id": ANA, "voice": file})),
        ("sendVideoNote", json!({"chat_id": ANA, "video_note": file})),
        ("sendSticker", json!({"chat_id": ANA, "sticker": file})),
        (
            "sendMediaGroup",
            json!({"chat_id": ANA, "media": [
            {"type": "photo", "media": file}, {"type": "photo", "media": file, "caption": "two"}]}),
        ),
        ("sendLocation", json!({"chat_id": ANA, "latitude": 52.5, "longitude": 13.4})),
        ("sendVenue", json!({"chat_id": ANA, "latitude": 52.5, "longitude": 13.4, "title": "t", "address": "a"})),
        ("sendContact", json!({"chat_id": ANA, "phone_number": "1", "first_name": "Ben"})),
        ("sendPoll", json!({"chat_id": ANA, "question": "q", "options": [{"text": "a"}, {"text": "b"}]})),
        ("sendDice", json!({"chat_id": ANA})),
        ("editMessageText", json!({"chat_id": ANA, "message_id": first, "text": "edited"})),
        ("editMessageCaption", json!({"chat_id": ANA, "message_id": first, "caption": "c"})),
        (
            "editMessageMedia",
            json!({"chat_id": ANA, "message_id": first, "media": {"type": "document", "media": file}}),
        ),
        ("editMessageLiveLocation", json!({"chat_id": ANA, "message_id": first, "latitude": 52.5, "longitude": 13.4})),
        ("stopMessageLiveLocation", json!({"chat_id": ANA, "message_id": first})),
        ("editMessageReplyMarkup", json!({"chat_id": ANA, "message_id": first})),
        (
            "setMessageReaction",
            json!({"chat_id": ANA, "message_id": first, "reaction": [{"type": "emoji", "emoji": "👍"}]}),
        ),
        ("answerCallbackQuery", json!({"callback_query_id": query, "text": "done"})),
        ("getFile", json!({"file_id": file})),
        ("deleteMessages", json!({"chat_id": ANA, "message_ids": [first, 999_999]})),
        ("deleteWebhook", json!({})),
    ];
    for (method, parameters) in calls {
        let answer = world.call(method, parameters).await;
        assert_eq!(answer["ok"], true, "{method}: {answer}");
    }
    let poll = json!({"chat_id": ANA, "question": "q", "options": [{"text": "a"}, {"text": "b"}]});
    let poll = world.call("sendPoll", poll).await["result"]["message_id"].clone();
    let stopped = world.call("stopPoll", json!({"chat_id": ANA, "message_id": poll})).await;
    assert_eq!(stopped["result"]["is_closed"], true);
    assert_eq!(world.telegram.answer_to_query(&query).as_deref(), Some("done"));
    assert_eq!(contract.check(&world.journal).violations, Vec::<String>::new());
}

#[test]
fn every_kind_of_update_telegram_names_is_known_to_the_parser() {
    let Some(contract) = contract() else { return };
    for (kind, _, _) in contract.fields("Update") {
        let mut update = json!({"update_id": 1});
        if kind != "update_id" {
            update[kind] = json!({});
            let parsed = Update::parse(update.to_string().as_bytes());
            assert_ne!(parsed, Update::Unusable("unknown_kind"), "{kind}");
        }
    }
}

#[tokio::test]
async fn html_is_shown_without_its_markup_and_refused_when_broken() {
    let world = World::start().await;
    world.telegram.knows(ANA, "Ana");
    let html = |text: &str| json!({"chat_id": ANA, "text": text, "parse_mode": "HTML"});
    world.call("sendMessage", html("<b>Lunch</b> &lt;today&gt;")).await;
    assert_eq!(world.telegram.texts_to(ANA), ["Lunch <today>"]);
    let refused = world.call("sendMessage", html("from <ana@example.com>")).await;
    let description = refused["description"].as_str().expect("a description");
    assert!(description.starts_with("Bad Request: can't parse entities"), "{description}");
}

#[tokio::test]
async fn parameters_come_in_by_query_form_json_and_multipart_alike() {
    let world = World::start().await;
    world.telegram.knows(ANA, "Ana");
    let multipart = "--b\r\ncontent-disposition: form-data; name=\"chat_id\"\r\n\r\n1001\r\n\
                     --b\r\ncontent-disposition: form-data; name=\"caption\"\r\n\r\nhi\r\n\
                     --b\r\ncontent-disposition: form-data; name=\"document\"; filename=\"a.txt\"\r\n\r\n\
                     file\r\n--b--\r\n";
    for (path, content_type, body) in [
        ("sendMessage?chat_id=1001&text=hi", "", ""),
        ("sendMessage", "application/x-www-form-urlencoded", "chat_id=1001&text=hi"),
        ("sendMessage", "application/json", r#"{"chat_id": 1001, "text": "hi"}"#),
        ("sendDocument", "multipart/form-data; boundary=b", multipart),
    ] {
        let (status, answer) = world.post(TOKEN, path, content_type, body).await;
        assert_eq!(status, 200, "{content_type}: {answer}");
    }
    assert_eq!(world.telegram.texts_to(ANA), ["hi"; 4]);
    let uploaded = world.telegram.sent_to(ANA).pop().expect("the document");
    assert_eq!(&uploaded.params.uploads["document"].bytes[..], b"file");
    if let Some(contract) = contract() {
        assert_eq!(contract.check(&world.journal).violations, Vec::<String>::new());
    }
}

#[tokio::test]
async fn it_refuses_what_telegram_refuses_in_telegrams_shape() {
    let world = World::start().await;
    world.telegram.knows(ANA, "Ana");
    world.telegram.blocks_the_bot(BEN);
    let long = "x".repeat(4097);
    let cases = [
        ("42:another-token", "getMe", json!({}), 401, "Unauthorized"),
        ("no-token", "getMe", json!({}), 404, "Not Found"),
        (TOKEN, "noSuchMethod", json!({}), 404, "Not Found"),
        (TOKEN, "sendMessage", json!({"text": "hi"}), 400, "Bad Request: chat_id is empty"),
        (TOKEN, "sendMessage", json!({"chat_id": 9, "text": "hi"}), 400, "Bad Request: chat not found"),
        (TOKEN, "sendMessage", json!({"chat_id": ANA}), 400, "Bad Request: message text is empty"),
        (TOKEN, "sendMessage", json!({"chat_id": ANA, "text": long}), 400, "Bad Request: message is too long"),
        (TOKEN, "sendMessage", json!({"chat_id": BEN, "text": "hi"}), 403, "Forbidden: bot was blocked by the user"),
        (
            TOKEN,
            "deleteMessage",
            json!({"chat_id": ANA, "message_id": 9}),
            400,
            "Bad Request: message to delete not found",
        ),
        (TOKEN, "getFile", json!({"file_id": "none"}), 400, "Bad Request: invalid file_id"),
    ];
    for (token, method, parameters, status, description) in cases {
        let (answered, answer) = world.post(token, method, "application/json", &parameters.to_string()).await;
        let expected = json!({"ok": false, "error_code": status, "description": description});
        assert_eq!((answered, answer), (status, expected), "{method}");
    }
}

#[tokio::test]
async fn ordered_failures_come_once_and_in_order() {
    let world = World::start().await;
    world.telegram.knows(ANA, "Ana");
    world.telegram.faults.fail_next("sendMessage", Failure::Throttled(7));
    world.telegram.faults.fail_next("sendMessage", Failure::Status(StatusCode::BAD_GATEWAY));
    world.telegram.faults.fail_next("sendMessage", Failure::AnswerLost);
    let hi = json!({"chat_id": ANA, "text": "hi"}).to_string();
    let (status, answer) = world.post(TOKEN, "sendMessage", "application/json", &hi).await;
    assert_eq!((status, &answer["parameters"]["retry_after"]), (429, &json!(7)));
    assert_eq!(world.post(TOKEN, "sendMessage", "application/json", &hi).await.0, 502);
    assert!(world.telegram.sent_to(ANA).is_empty());

    let lost = world.request(TOKEN, "sendMessage", "application/json", &hi).await;
    assert!(lost.is_err(), "the answer was to be lost");
    assert_eq!(world.telegram.texts_to(ANA), ["hi"], "the call had its effect");
    assert_eq!(world.post(TOKEN, "sendMessage", "application/json", &hi).await.0, 200);
}

#[tokio::test]
async fn a_file_is_downloaded_with_the_token_alone() {
    let world = World::start().await;
    let file = world.telegram.uploads_file(ANA, "notes.pdf", "application/pdf", &b"%PDF"[..]);
    let answer = world.call("getFile", json!({"file_id": file})).await;
    let path = answer["result"]["file_path"].as_str().expect("a path").to_owned();
    let get = |token: &str| world.http.get(format!("{}/file/bot{token}/{path}", world.telegram.base_url())).send();
    assert_eq!(get(TOKEN).await.expect("an answer").bytes().await.expect("a body"), "%PDF");
    assert_eq!(get("42:another").await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn updates_of_a_chat_wait_for_the_one_before_them_and_other_chats_do_not() {
    let world = World::start().await;
    let refused = Arc::new(Mutex::new(0));
    let hook = Hook::start(move |update: &Value| {
        let mut refused = refused.lock().expect("no panic");
        if update["message"]["text"] == "one" && *refused < 2 {
            *refused += 1;
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        (StatusCode::OK, String::new())
    })
    .await;
    world.telegram.deliver_to(&hook.url(), "s3cret");
    for (chat, text) in [(ANA, "one"), (ANA, "two"), (BEN, "three")] {
        world.telegram.says(chat, text);
    }
    assert_eq!(world.telegram.deliver().await.iter().filter(|attempt| attempt.is_accepted()).count(), 1);
    assert_eq!(world.telegram.pending(), 2);
    let info = world.call("getWebhookInfo", json!({})).await;
    assert_eq!(info["result"]["pending_update_count"], 2);
    assert_eq!(info["result"]["last_error_message"], "Wrong response from the webhook: 503 Service Unavailable");

    world.telegram.deliver().await;
    world.telegram.deliver().await;
    assert_eq!(world.telegram.pending(), 0);
    let ana: Vec<_> = hook.texts().into_iter().filter(|text| text != "three").collect();
    assert_eq!(ana, ["one", "one", "one", "two"]);
    assert!(hook.secrets().iter().all(|secret| secret == "s3cret"));
}

#[tokio::test]
async fn a_method_in_the_webhooks_answer_is_carried_out() {
    let world = World::start().await;
    let reply = json!({"method": "sendMessage", "chat_id": ANA, "text": "welcome"}).to_string();
    let hook = Hook::start(move |_| (StatusCode::OK, reply.clone())).await;
    world.telegram.deliver_to(&hook.url(), "s3cret");
    world.telegram.says(ANA, "/start");
    let attempt = world.telegram.deliver().await.pop().expect("one update");
    assert_eq!(attempt.method.as_deref(), Some("sendMessage"));
    assert_eq!(world.telegram.texts_to(ANA), ["welcome"]);
}

#[tokio::test]
async fn an_update_nobody_accepts_is_given_up_after_a_day() {
    let world = World::start().await;
    let hook = Hook::start(|_| (StatusCode::SERVICE_UNAVAILABLE, String::new())).await;
    world.telegram.deliver_to(&hook.url(), "s3cret");
    world.telegram.says(ANA, "hi");
    world.clock.advance(std::time::Duration::from_secs(24 * 3600 - 1));
    assert_eq!(world.telegram.deliver().await.len(), 1);
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!((world.telegram.deliver().await.len(), world.telegram.pending()), (0, 0));
}

#[test]
fn the_contract_finds_what_is_missing_unknown_or_of_another_type() {
    let Some(contract) = contract() else { return };
    let found = |parameters: Value| {
        let Value::Object(object) = parameters else { panic!("an object") };
        let values =
            object.into_iter().map(|(name, value)| (name, nbhd_sim::telegram::params::ParamValue::Typed(value)));
        contract.check_request("sendMessage", &Params { values: values.collect(), ..Params::default() })
    };
    assert_eq!(found(json!({"chat_id": 1, "text": "hi"})), Vec::<String>::new());
    assert_eq!(found(json!({"chat_id": 1})), ["sendMessage: `text` is missing"]);
    assert_eq!(found(json!({"chat_id": 1, "text": "hi", "txt": 1})), ["sendMessage: `txt` is unknown"]);
    assert_eq!(found(json!({"chat_id": 1, "text": 5})), ["sendMessage.text: 5 is no String"]);
    let reply = json!({"chat_id": 1, "text": "hi", "reply_parameters": {"message": 5}});
    assert_eq!(
        found(reply),
        ["sendMessage.reply_parameters: `message_id` is missing", "sendMessage.reply_parameters: `message` is unknown"]
    );
    assert_eq!(contract.check_answer("getMe", 200, br#"{"ok":true,"result":{"id":1}}"#).len(), 2);
    assert_eq!(contract.check_answer("getMe", 500, br#"{"ok":false,"error_code":502,"description":"d"}"#).len(), 1);
    assert_eq!(contract.check_update(&json!({"update_id": "1"})), ["update.update_id: \"1\" is no Integer"]);
}

fn contract() -> Option<Contract> {
    Contract::load()
}

fn every_other_kind() -> Vec<Value> {
    vec![
        updates::edited(ANA, 3, "hello"),
        updates::in_group(-100, ANA, "/start@nbhd_bot"),
        updates::channel_post(-200, "news"),
        updates::poll_answer(ANA),
        updates::inline_query(ANA, "q"),
        updates::reaction(ANA, 3, "👍"),
    ]
}

struct World {
    telegram: Telegram,
    journal: Journal,
    clock: Clock,
    http: reqwest::Client,
}

impl World {
    async fn start() -> Self {
        let clock = Clock::manual(Timestamp::from_seconds(1_795_000_000));
        let journal = Journal::new();
        let telegram =
            Telegram::start(TOKEN, "nbhd_bot", clock.clone(), journal.clone()).await.expect("a free loopback port");
        let http = nbhd::http::client_with_roots(None).expect("a client");
        Self { telegram, journal, clock, http }
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.post(TOKEN, method, "application/json", &parameters.to_string()).await.1
    }

    async fn post(&self, token: &str, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let (status, answer) = self.request(token, path, content_type, body).await.expect("an answer");
        (status, serde_json::from_str(&answer).expect("JSON"))
    }

    async fn request(
        &self,
        token: &str,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> Result<(u16, String), reqwest::Error> {
        let url = format!("{}/bot{token}/{path}", self.telegram.base_url());
        let mut request = self.http.post(url).body(body.to_owned());
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

/// A webhook that answers as told and remembers what it was sent.
struct Hook {
    server: Server,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    async fn start(answer: impl Fn(&Value) -> (StatusCode, String) + Clone + Send + Sync + 'static) -> Self {
        let seen = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let kept = Arc::clone(&seen);
        let handler = move |headers: axum::http::HeaderMap, body: String| {
            let update: Value = serde_json::from_str(&body).expect("JSON");
            let answered = answer(&update);
            let secret = headers["x-telegram-bot-api-secret-token"].to_str().expect("ASCII").to_owned();
            kept.lock().expect("no panic").push((secret, update));
            async move { answered }
        };
        let server = Server::start(Router::new().route("/hook", post(handler))).await.expect("a free loopback port");
        Self { server, seen }
    }

    fn url(&self) -> String {
        format!("{}/hook", self.server.base_url())
    }

    fn texts(&self) -> Vec<String> {
        let text = |(_, update): &(String, Value)| update["message"]["text"].as_str().unwrap_or_default().to_owned();
        self.seen.lock().expect("no panic").iter().map(text).collect()
    }

    fn secrets(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").iter().map(|(secret, _)| secret.clone()).collect()
    }
}
