//! No update carries the links behind our buttons to a runtime; a runtime's own buttons come back to it.

use nbhd::domain::ids::ChatId;
use serde_json::{Value, json};
use telegram_relay::rules::{METHODS, Method};

use crate::telegram::webhook_world::{ANA, SECRET, World, private};

#[tokio::test]
async fn our_buttons_reach_no_queue_from_any_kind_of_update_and_any_place_in_it() {
    let world = World::start().await;
    world.ana_says("/billing").await;
    let ours = world.telegram.sent_to(ANA).pop().expect("a reply").message;
    assert!(ours["reply_markup"].to_string().contains("link="));
    let chat = json!({"id": ANA, "type": "private", "first_name": "Ana"});
    let nested = |place: &str, message: &Value| match place {
        "" => message.clone(),
        "reply_to_message.reply_to_message" => json!({"reply_to_message": {"reply_to_message": message}}),
        "a new place" => json!({"hologram": [{"layers": [[message]]}]}),
        place => json!({ place: message }),
    };
    let places = [
        "",
        "reply_to_message",
        "pinned_message",
        "external_reply",
        "message",
        "quote",
        "reply_to_message.reply_to_message",
        "a new place",
    ];
    let mut update_id = 10;
    for kind in ["message", "edited_message", "callback_query"] {
        for place in places {
            let mut content = nested(place, &ours);
            (content["chat"], content["text"]) = (chat.clone(), json!("see above"));
            if kind == "callback_query" {
                let mut message = content;
                message["from"] = ours["from"].clone();
                content = json!({"id": "1", "from": {"id": ANA, "first_name": "Ana"}, "message": message, "data": "y"});
            }
            update_id += 1;
            let update = json!({"update_id": update_id, kind: content});
            assert!(update.to_string().contains("link="));
            assert_eq!(world.post(Some(SECRET), update.to_string()).await.0, 200);
            let queued: Value = serde_json::from_str(&world.queued().pop().expect("queued")).expect("JSON");
            assert_eq!(queued["update_id"], update_id, "{kind} {place}");
            assert!(!queued.to_string().contains("link="), "{kind} {place}: {queued}");
            assert_eq!(queued, without_markup(update), "{kind} {place}");
        }
    }
}

#[tokio::test]
async fn a_button_that_a_runtime_may_send_comes_back_to_it() {
    let world = World::start().await;
    let button = json!({"text": "Yes", "callback_data": "y", "style": "success", "icon_custom_emoji_id": "5"});
    let markup = json!({"inline_keyboard": [[button, {"text": "See", "url": "https://a.example"}]]});
    let given = json!({"chat_id": ANA, "text": "?", "reply_markup": markup});
    let Value::Object(values) = given else { panic!("an object") };
    let parameters = telegram_relay::Parameters { values, ..Default::default() };
    let method = Method::find("sendMessage").unwrap_or(&METHODS[0]);
    let passed = telegram_relay::Call::check(method, ChatId(ANA), parameters).expect("allowed").parameters;
    assert_eq!(passed["reply_markup"], json!({"inline_keyboard": [[button]]}));

    let mut update = private(7, "this one");
    update["message"]["reply_to_message"] = json!({"message_id": 5, "reply_markup": passed["reply_markup"]});
    let body = format!(" {update:#}\n");
    assert_eq!(world.post(Some(SECRET), body.clone()).await.0, 200);
    assert_eq!(world.queued(), [body], "byte for byte");
}

#[tokio::test]
async fn a_link_that_the_person_wrote_is_theirs_to_send() {
    let world = World::start().await;
    let text = "https://nbhd.example/billing/portal?link=abc \"reply_markup\":{}";
    let mut update = private(7, text);
    update["message"]["entities"] = json!([{"type": "url", "offset": 0, "length": 44}]);
    assert_eq!(world.post(Some(SECRET), update.to_string()).await.0, 200);
    assert_eq!(world.queued(), [update.to_string()]);
}

fn without_markup(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_markup).collect(),
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(name, _)| name != "reply_markup");
            Value::Object(kept.map(|(name, value)| (name, without_markup(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
