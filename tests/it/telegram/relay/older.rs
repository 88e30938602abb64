//! Older spellings of parameters arrive as the present ones, decided as Telegram decides.

use axum::http::StatusCode;
use serde_json::{Value, json};
use telegram_relay::older::{MOVED, RENAMED};
use telegram_relay::rules::{METHODS, Method};

use super::samples::Api;
use super::world::{ANA, Multipart, World};

#[tokio::test]
async fn a_reply_is_translated_from_every_encoding() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let chat = ANA.to_string();
    let typed = json!({
        "chat_id": ANA, "text": "hi", "reply_to_message_id": 5, "allow_sending_without_reply": true,
        "disable_web_page_preview": true,
    });
    world.post(&ana, "sendMessage", &typed).await.result();
    let pairs = [
        ("chat_id", chat.as_str()),
        ("text", "hi"),
        ("reply_to_message_id", "5"),
        ("allow_sending_without_reply", "True"),
        ("disable_web_page_preview", "1"),
    ];
    let texts: Value = pairs.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    world.post(&ana, "sendMessage", &texts).await.result();
    world.form(&ana, "sendMessage", &pairs).await.result();
    world.query(&ana, "sendMessage", &pairs).await.result();
    let form = pairs.iter().fold(Multipart::default(), |form, (name, text)| form.field(name, text));
    world.multipart(&ana, "sendMessage", form).await.result();

    let present = json!({
        "chat_id": ANA, "text": "hi", "link_preview_options": {"is_disabled": true},
        "reply_parameters": {"message_id": 5, "allow_sending_without_reply": true},
    });
    assert_eq!(world.calls(), vec![("sendMessage".to_owned(), present); 5]);
}

#[tokio::test]
async fn of_two_spellings_the_present_one_counts() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let reply = |id: i64| json!({"message_id": id, "allow_sending_without_reply": true});
    let thumbnails = json!({"thumb": "OLD", "thumbnail": "NEW"});
    let sent = async |method: &str, given: Value| {
        let mut body = given;
        body["chat_id"] = json!(ANA);
        world.post(&ana, method, &body).await;
        let (_, mut sent) = world.calls().pop().expect("it reached Telegram");
        let sent_fields = sent.as_object_mut().expect("an object");
        sent_fields.remove("chat_id");
        let preview = sent_fields.remove("link_preview_options");
        assert_eq!(preview, (method == "sendMessage").then(|| json!({"is_disabled": true})));
        sent
    };
    for (method, given, expected) in [
        (
            "sendMessage",
            json!({"text": "a", "reply_to_message_id": 4, "reply_parameters": reply(5)}),
            json!({"text": "a", "reply_parameters": reply(5)}),
        ),
        ("sendMessage", json!({"text": "a", "reply_to_message_id": 4, "reply_parameters": ""}), json!({"text": "a"})),
        (
            "sendMessage",
            json!({"text": "a", "reply_to_message_id": 4, "reply_parameters": null}),
            json!({"text": "a", "reply_parameters": {"message_id": 4, "allow_sending_without_reply": false}}),
        ),
        (
            "sendAudio",
            {
                let mut audio = thumbnails.clone();
                audio["audio"] = json!("AUDIO");
                audio
            },
            json!({"audio": "AUDIO", "thumbnail": "NEW"}),
        ),
        (
            "sendPoll",
            json!({"question": "a", "options": ["b"], "correct_option_id": 0, "correct_option_ids": [1]}),
            json!({"question": "a", "options": [{"text": "b"}], "correct_option_ids": [1]}),
        ),
    ] {
        assert_eq!(sent(method, given.clone()).await, expected, "{method} {given}");
    }
}

#[tokio::test]
async fn no_spelling_turns_previews_on_and_what_says_nothing_is_no_reply() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    for older in [
        json!({"reply_to_message_id": 0}),
        json!({"reply_to_message_id": -5, "allow_sending_without_reply": true}),
        json!({"reply_to_message_id": "abc"}),
        json!({"reply_to_message_id": null, "disable_web_page_preview": null}),
        json!({"allow_sending_without_reply": true}),
        json!({"disable_web_page_preview": false}),
        json!({"disable_web_page_preview": "perhaps"}),
        json!({"link_preview_options": {"is_disabled": false, "url": "https://a.example"}}),
        json!({"link_preview_options": "{\"prefer_large_media\":true}", "disable_web_page_preview": false}),
        json!({"link_preview_options": {"invented": 1}}),
        json!({"link_preview_options": null}),
    ] {
        let mut body = older.clone();
        (body["chat_id"], body["text"]) = (json!(ANA), json!("hi"));
        world.post(&ana, "sendMessage", &body).await.result();
        let expected = json!({"chat_id": ANA, "text": "hi", "link_preview_options": {"is_disabled": true}});
        assert_eq!(world.calls().pop().expect("sent").1, expected, "{older}");
    }
    // An edit is never a reply.
    let edit = json!({"chat_id": ANA, "message_id": 1, "text": "b", "reply_to_message_id": 5});
    world.post(&ana, "editMessageText", &edit).await;
    let expected = json!({
        "chat_id": ANA, "message_id": 1, "text": "b", "link_preview_options": {"is_disabled": true},
    });
    assert_eq!(world.calls().pop().expect("sent").1, expected);
}

#[tokio::test]
async fn nested_fields_and_files_have_older_names_too() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let keyboard =
        json!({"keyboard": [["Yes", {"text": "No", "request_phone_number": true}]], "personal_keyboard": true});
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "?", "reply_markup": keyboard})).await.result();
    let present = json!({"keyboard": [[{"text": "Yes"}, {"text": "No", "request_contact": true}]], "selective": true});
    assert_eq!(world.calls().pop().expect("sent").1["reply_markup"], present);
    for (older, present) in [("hide_keyboard", "remove_keyboard"), ("force_reply_keyboard", "force_reply")] {
        let markup = json!({older: true}).to_string();
        let pairs = [("chat_id", "1001"), ("text", "?"), ("reply_markup", markup.as_str())];
        world.form(&ana, "sendMessage", &pairs).await.result();
        assert_eq!(world.calls().pop().expect("sent").1["reply_markup"], json!({present: true}));
    }

    let media = json!([
        {"type": "video", "media": "attach://a", "thumb": "attach://t"},
        {"type": "video", "media": "attach://a2"},
    ]);
    let form = Multipart::default().field("chat_id", "1001").field("media", &media.to_string());
    let form = form.file("a", "a.mp4", b"one").file("t", "t.jpg", b"thumbnail").file("a2", "b.mp4", b"two");
    world.multipart(&ana, "sendMediaGroup", form).await.result();
    let album = world.telegram.sent_to(ANA).pop().expect("an album");
    assert!(album.params.uploads.values().any(|file| file.bytes == b"thumbnail"[..]));

    let form =
        Multipart::default().field("chat_id", "1001").file("audio", "a.mp3", b"one").file("thumb", "t.jpg", b"t");
    world.multipart(&ana, "sendAudio", form).await.result();
    let audio = world.telegram.sent_to(ANA).pop().expect("an audio");
    assert_eq!(audio.params.uploads["thumbnail"].bytes, &b"t"[..]);
}

#[tokio::test]
async fn an_older_spelling_keeps_the_rules_of_the_present_one() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    for (method, given, named) in [
        ("sendAudio", json!({"audio": "AUDIO", "thumb": "file:///etc/passwd"}), "wrong file identifier"),
        ("sendPoll", json!({"question": "a", "options": ["b"], "correct_option_id": "x"}), "correct_option_ids"),
        ("sendMessage", json!({"text": "a", "reply_markup": {"hide_keyboard": {}}}), "remove_keyboard"),
        ("sendMessage", json!({"text": "a", "thumb": "AUDIO"}), "unknown parameter"),
    ] {
        let mut body = given.clone();
        body["chat_id"] = json!(ANA);
        let answer = world.post(&ana, method, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{given}");
        assert!(answer.text().contains(named), "{given}: {}", answer.text());
    }
    assert_eq!(world.calls(), []);
}

#[test]
fn no_older_spelling_is_a_present_one_and_every_present_one_has_a_rule() {
    let names: Vec<&str> = METHODS.iter().flat_map(Method::parameters).map(|(name, _)| *name).collect();
    for (older, present) in MOVED {
        assert!(!names.contains(&older) && names.contains(&present), "{older} → {present}");
    }
    let Some(api) = Api::load() else { return };
    for (older, present) in RENAMED {
        let markups = ["ReplyKeyboardMarkup", "ReplyKeyboardRemove", "ForceReply", "KeyboardButton", "InputMediaVideo"];
        let fields: Vec<&str> = api.fields_of_any(&markups).iter().map(|field| field.name).collect();
        assert!(fields.contains(&present) && !fields.contains(&older), "{older} → {present}");
    }
}
