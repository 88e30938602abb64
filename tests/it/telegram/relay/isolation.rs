//! A second tenant opens nothing of the first: by no pair of address and capability, and by no parameter.

use axum::http::StatusCode;
use nbhd::domain::ids::ChatId;
use nbhd::providers::telegram::{Button, MessageOptions};
use serde_json::{Value, json};
use telegram_relay::rules::{METHODS, Method};

use super::samples::{Api, Field, names_someone};
use super::world::{ANA, BEN, Runtime, World};

/// How deep the contract's types are followed; they contain themselves.
const DEPTH: usize = 5;

#[tokio::test]
async fn a_capability_opens_its_own_tenants_address_alone() {
    let world = World::start().await;
    let (ana, ben) = (world.tenant(ANA).await, world.tenant(BEN).await);
    let file_id = world.telegram.uploads_file(ANA, "a.txt", "text/plain", &b"Ana's"[..]);
    let file = world.post(&ana, "getFile", &json!({"file_id": file_id})).await.result();
    let file_path = file["file_path"].as_str().expect("a path");
    let before = world.calls().len();
    for (address, holder, own) in [(&ana, &ana, true), (&ana, &ben, false), (&ben, &ana, false), (&ben, &ben, true)] {
        let pair = Runtime { tenant: address.tenant, capability: holder.capability.clone() };
        for method in METHODS.iter().map(|method| method.name).chain(telegram_relay::stubs::METHODS) {
            let answer = world.post(&pair, method, &json!({"chat_id": ANA})).await;
            assert_eq!(answer.status == StatusCode::UNAUTHORIZED, !own, "{method}");
        }
        let opened = world.download(&pair, file_path).await;
        assert_eq!(opened.status == StatusCode::OK, own && address.tenant == ana.tenant);
    }
    let reached = world.calls().into_iter().skip(before);
    assert!(reached.into_iter().all(|(_, call)| call.is_null() || call.get("chat_id").is_none_or(|chat| chat == ANA)));
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the counts are the test's finding")]
async fn no_parameter_of_any_allowed_method_reaches_another_chat() {
    let Some(api) = Api::load() else { return };
    let world = World::start().await;
    let ben = world.tenant(BEN).await;
    world.telegram.knows(ANA, "Ana");
    let mut tried = 0;
    for method in METHODS {
        let required = api.required(method, BEN);
        for path in paths(&api, method).into_iter().filter(|path| path.names_someone) {
            for stranger in strangers() {
                let call = path.holding(&required, stranger);
                let answer = world.post(&ben, method.name, &call).await;
                tried += 1;
                let is_in =
                    |call: &Value| ["\"user\"", "\"callback_game\""].map(|name| call.to_string().contains(name));
                if is_in(&call) != [false; 2] {
                    // A mention or a button is left out, and the rest goes on to the tenant's own chat.
                    let (_, passed) = world.calls().pop().expect("it reached Telegram");
                    assert_eq!(is_in(&passed), [false; 2], "{} {call}: {passed}", method.name);
                    continue;
                }
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{} {call}: {}", method.name, answer.text());
                assert_eq!((&answer.json()["ok"], &answer.json()["error_code"]), (&json!(false), &json!(400)));
            }
        }
    }
    println!("{tried} calls naming another chat, none of which reached it");
    assert!(tried > 500, "only {tried} calls");
    assert!(world.calls().iter().all(|(_, call)| call["chat_id"] == BEN));
    assert!(world.telegram.sent_to(ANA).is_empty());
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are the test's finding")]
fn a_strangers_id_in_any_parameter_comes_out_in_none_that_names_a_chat() {
    let Some(api) = Api::load() else { return };
    let (mut refused, mut passed) = (0, 0);
    for method in METHODS {
        let required = api.required(method, BEN);
        for path in paths(&api, method) {
            for stranger in strangers() {
                let Value::Object(values) = path.holding(&required, stranger) else { panic!("an object") };
                let given = telegram_relay::Parameters { values, ..Default::default() };
                match telegram_relay::Call::check(method, ChatId(BEN), given) {
                    Err(_) => refused += 1,
                    Ok(call) => {
                        passed += 1;
                        assert_names_only(&Value::Object(call.parameters), BEN);
                    }
                }
            }
        }
    }
    println!("{refused} calls refused, {passed} passed on with nobody else in them");
    assert!(refused > 2_000 && passed > 1_000, "{refused} refused, {passed} passed");
}

#[tokio::test]
async fn a_strangers_message_cannot_be_named_without_their_chat() {
    let world = World::start().await;
    let (ana, ben) = (world.tenant(ANA).await, world.tenant(BEN).await);
    let message = world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "mine"})).await.result();
    let id = &message["message_id"];
    for (method, call) in [
        ("editMessageText", json!({"chat_id": BEN, "message_id": id, "text": "changed"})),
        ("deleteMessage", json!({"chat_id": BEN, "message_id": id})),
        ("deleteMessages", json!({"chat_id": BEN, "message_ids": [id]})),
        ("setMessageReaction", json!({"chat_id": BEN, "message_id": id})),
    ] {
        world.post(&ben, method, &call).await;
    }
    assert_eq!(world.telegram.texts_to(ANA), ["mine"]);
}

#[tokio::test]
async fn no_answer_holds_the_address_behind_a_button_of_ours() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let button = Some(Button { text: "Manage", url: "https://control.example/billing/portal?t=secret" });
    let options = MessageOptions { button, ..MessageOptions::default() };
    let ours = world.bot.send_message(ChatId(ANA), "Your subscription", options).await.expect("sent").message_id;
    let reply = json!({"message_id": ours});

    let message = json!({"chat_id": ANA, "text": "hi", "reply_parameters": reply});
    let sent = world.post(&ana, "sendMessage", &message).await;
    let named = &sent.result()["reply_to_message"];
    assert_eq!((&named["message_id"], &named["chat"]["id"]), (&json!(ours), &json!(ANA)));
    let place = json!({"chat_id": ANA, "message_id": ours, "latitude": 1.0, "longitude": 1.0});
    let file_id = world.telegram.uploads_file(ANA, "a.jpg", "image/jpeg", &b"a"[..]);
    let photo = json!({"type": "photo", "media": file_id});
    let album = json!({"chat_id": ANA, "media": [photo, photo], "reply_parameters": reply});
    for (method, call) in [("editMessageLiveLocation", place), ("sendMediaGroup", album)] {
        let answer = world.post(&ana, method, &call).await;
        answer.result();
        assert!(!answer.text().contains("secret"), "{method}: {}", answer.text());
    }
    assert!(!sent.text().contains("secret"), "{}", sent.text());
}

/// Everything by which a hostile runtime might name the first tenant's chat.
fn strangers() -> Vec<Value> {
    let ana = ANA.to_string();
    vec![
        json!(ANA),
        json!(ana),
        json!("@ana"),
        json!(format!("+{ana}")),
        json!(format!(" {BEN} ")),
        json!(format!("0{BEN}")),
        json!(ANA as f64),
        json!([ANA]),
        json!({"id": ANA, "is_bot": false, "first_name": "Ana"}),
        json!(true),
    ]
}

/// A way from a method's parameters into nested objects.
struct Path<'a> {
    steps: Vec<Step<'a>>,
    names_someone: bool,
}

#[derive(Clone)]
enum Step<'a> {
    Field(&'a str),
    /// The only item of a list.
    Item,
}

fn paths<'a>(api: &'a Api, method: &Method) -> Vec<Path<'a>> {
    let mut found = Vec::new();
    for field in api.parameters(method.name) {
        follow(api, &field, &[], DEPTH, &mut found);
    }
    found
}

fn follow<'a>(api: &'a Api, field: &Field<'a>, before: &[Step<'a>], depth: usize, found: &mut Vec<Path<'a>>) {
    let mut steps = before.to_vec();
    steps.push(Step::Field(field.name));
    found.push(Path { steps: steps.clone(), names_someone: names_someone(field) });
    if depth == 0 {
        return;
    }
    let mut types = field.types.clone();
    while types.iter().any(|name| name.starts_with("Array of ")) {
        types = types.into_iter().filter_map(|name| name.strip_prefix("Array of ")).collect();
        steps.push(Step::Item);
    }
    for nested in api.fields_of_any(&types) {
        follow(api, &nested, &steps, depth - 1, found);
    }
}

impl Path<'_> {
    /// `call` with `value` at this place, and nothing beside it in the objects on the way.
    fn holding(&self, call: &Value, value: Value) -> Value {
        let mut value = value;
        for step in self.steps.iter().skip(1).rev() {
            value = match step {
                Step::Field(name) => json!({ *name: value }),
                Step::Item => json!([value]),
            };
        }
        let mut call = call.clone();
        if let Some(Step::Field(name)) = self.steps.first() {
            call[name] = value;
        }
        call
    }
}

/// Wherever a chat or a person is named in `value`, it is `chat`.
fn assert_names_only(value: &Value, chat: i64) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if names_someone(&Field { name, types: Vec::new(), required: false }) || name == "user" {
                    assert_eq!(value, &json!(chat), "{name}");
                }
                assert_names_only(value, chat);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| assert_names_only(item, chat)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
