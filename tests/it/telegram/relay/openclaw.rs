//! The relay is held to what the real program calls, as recorded in `openclaw-2026.9.6.json`: each of its calls passes,
//! is answered by a stub, or is refused for a reason that stands here.

use axum::http::StatusCode;
use nbhd_sim::telegram::contract::Contract;
use serde_json::{Map, Value, json};
use telegram_relay::rules::Method;
use telegram_relay::stubs;

use super::world::{ANA, Answer, Multipart, Runtime, World};

const RECORDED: &str = include_str!("openclaw-2026.9.6.json");

/// Methods that are refused, and what follows from it.
const REFUSED_METHODS: &[(&str, &str)] = &[
    ("sendRichMessage", "only with `richMessages`; the refusal's words make the program send the text as a message"),
    ("getUpdates", "only without a webhook"),
    ("getChat", "it asks about groups, user names and usable reactions; it goes on without an answer"),
    ("getChatMember", "only in groups"),
    ("createForumTopic", "a tool that is not offered to the model"),
    ("editForumTopic", "the topic keeps its name; the answer in it arrives"),
    ("pinChatMessage", "the message arrives and is not pinned"),
    ("unpinChatMessage", "the message stays pinned"),
    ("deleteBusinessMessages", "only for messages of a business account, which no runtime gets"),
];

/// Parameters for which a call is refused, and when the program sends them.
const REFUSED_PARAMETERS: &[(&str, &str, &str)] = &[
    ("sendMessage", "direct_messages_topic_id", "only in the direct messages of a channel"),
    ("sendMessage", "business_connection_id", "only to a message of a business account"),
    ("editMessageText", "business_connection_id", "only to a message of a business account"),
    ("editMessageReplyMarkup", "business_connection_id", "only to a message of a business account"),
    ("editMessageText", "rich_message", "only with `richMessages`; the text is then sent without"),
];

#[tokio::test]
async fn every_call_passes_or_is_refused_for_a_known_reason() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let mut met = Vec::new();
    let calls = list("calls");
    for call in &calls {
        let method = call["method"].as_str().expect("a method");
        let parameters = call["parameters"].as_object().expect("parameters");
        let before = world.calls().len();
        let answer = replay(&world, &ana, method, parameters, &call["files"]).await;
        let reached = world.calls().len() - before;
        let refused_for =
            REFUSED_PARAMETERS.iter().find(|(of, name, _)| *of == method && parameters.contains_key(*name));
        if let Some((refused, _)) = REFUSED_METHODS.iter().find(|(refused, _)| *refused == method) {
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{method}: {}", answer.text());
            met.push((*refused, ""));
        } else if let Some((_, name, _)) = refused_for {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{call}");
            assert!(answer.text().contains(name), "{call}: {}", answer.text());
            met.push((method, *name));
        } else if stubs::METHODS.contains(&method) {
            answer.result();
        } else {
            assert_eq!(reached, 1, "{call}: {}", answer.text());
            continue;
        }
        assert_eq!(reached, 0, "{call}");
    }
    for expected in REFUSED_METHODS.iter().map(|(method, _)| (*method, "")) {
        assert!(met.contains(&expected), "{expected:?} is refused and never called");
    }
    for expected in REFUSED_PARAMETERS.iter().map(|(method, name, _)| (*method, *name)) {
        assert!(met.contains(&expected), "{expected:?} is refused and never sent");
    }
    if let Some(contract) = Contract::load() {
        assert_eq!(contract.check(&world.journal).violations, Vec::<String>::new());
    }
}

#[test]
fn every_method_that_its_source_names_is_decided_on() {
    let named = list("named");
    assert!(named.len() > 20);
    for method in named.iter().map(|named| named["method"].as_str().expect("a method")) {
        let is_refused = REFUSED_METHODS.iter().any(|(refused, _)| *refused == method);
        let is_stub = stubs::METHODS.contains(&method);
        let decisions = [Method::find(method).is_some(), is_stub, is_refused];
        assert_eq!(decisions.into_iter().filter(|decided| *decided).count(), 1, "{method}");
        assert!(list("calls").iter().any(|call| call["method"] == method), "{method} has no call");
    }
}

#[tokio::test]
async fn a_reply_arrives_as_a_reply_and_without_a_preview() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let call = list("calls").into_iter().find(|call| call["parameters"]["reply_to_message_id"] == 5).expect("a reply");
    let parameters = call["parameters"].as_object().expect("parameters");
    replay(&world, &ana, "sendMessage", parameters, &Value::Null).await;
    let (_, sent) = world.calls().pop().expect("it reached Telegram");
    assert_eq!(sent["reply_parameters"], json!({"message_id": 5, "allow_sending_without_reply": true}));
    assert_eq!(sent["message_thread_id"], 7);
    assert_eq!(sent["link_preview_options"], json!({"is_disabled": true}));
    assert!(sent.get("reply_to_message_id").is_none() && sent.get("allow_sending_without_reply").is_none());
}

fn list(name: &str) -> Vec<Value> {
    let recorded: Value = serde_json::from_str(RECORDED).expect("JSON");
    recorded[name].as_array().expect("a list").clone()
}

/// Sends a recorded call as it came: as a form with its files, or as JSON.
async fn replay(
    world: &World,
    runtime: &Runtime,
    method: &str,
    parameters: &Map<String, Value>,
    files: &Value,
) -> Answer {
    let Some(files) = files.as_array() else {
        return world.post(runtime, method, &Value::Object(parameters.clone())).await;
    };
    let form = parameters.iter().fold(Multipart::default(), |form, (name, value)| {
        // In a form, an object is its JSON.
        form.field(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let form = files.iter().fold(form, |form, name| {
        let name = name.as_str().expect("a name");
        form.file(name, name, b"content")
    });
    world.multipart(runtime, method, form).await
}
