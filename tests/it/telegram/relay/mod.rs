//! The relay: what a runtime reaches through it, what it refuses and how.

mod egress;
mod files;
mod isolation;
mod limits;
mod older;
mod openclaw;
mod parameters;
mod refusals;
mod repeats;
mod rules;
mod samples;
mod world;

use axum::http::StatusCode;
use nbhd::domain::tenant::{Lifecycle, Tenant};
use nbhd_sim::telegram::Failure;
use nbhd_sim::telegram::contract::Contract;
use nbhd_sim::testbed::{BOT_ID, BOT_SECRET, BOT_USERNAME, generation};
use serde_json::{Value, json};
use world::{ANA, Multipart, World};

#[tokio::test]
async fn a_message_arrives_in_the_tenants_chat_in_each_of_telegrams_forms() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let text = "a <b>c</b> & d=e ü 👍";
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": text, "parse_mode": "HTML"})).await.result();
    world.post(&ana, "sendmessage", &json!({"chat_id": ANA.to_string(), "text": text})).await.result();
    world.form(&ana, "sendMessage", &[("chat_id", &ANA.to_string()), ("text", text)]).await.result();
    world.query(&ana, "sendMessage", &[("chat_id", &ANA.to_string()), ("text", text)]).await.result();
    let form = Multipart::default().field("chat_id", &ANA.to_string()).field("text", text);
    world.multipart(&ana, "sendMessage", form).await.result();

    // Only the first announced its markup.
    assert_eq!(world.telegram.texts_to(ANA), ["a c & d=e ü 👍", text, text, text, text]);
}

#[tokio::test]
async fn nested_objects_arrive_whole_as_json_and_as_text_of_a_form() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let reply = json!({"message_id": 1, "chat_id": ANA, "allow_sending_without_reply": true});
    let keyboard = json!({"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]});
    let body = json!({"chat_id": ANA, "text": "?", "reply_parameters": reply, "reply_markup": keyboard});
    world.post(&ana, "sendMessage", &body).await.result();
    let (reply, keyboard) = (reply.to_string(), keyboard.to_string());
    let chat = ANA.to_string();
    let form = [("chat_id", chat.as_str()), ("text", "?"), ("reply_parameters", &reply), ("reply_markup", &keyboard)];
    world.form(&ana, "sendMessage", &form).await.result();

    let (calls, mut body) = (world.calls(), body);
    body["link_preview_options"] = json!({"is_disabled": true});
    assert_eq!(calls[0], ("sendMessage".to_owned(), body));
    assert_eq!(calls[0], calls[1]);
}

#[tokio::test]
async fn an_uploaded_photo_arrives_byte_for_byte() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let photo: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let form = Multipart::default().field("chat_id", &ANA.to_string()).field("caption", "look").file(
        "photo",
        "a \"b\".jpg",
        &photo,
    );
    world.multipart(&ana, "sendPhoto", form).await.result();

    let sent = &world.telegram.sent_to(ANA)[0];
    assert_eq!((sent.method.as_str(), sent.text.as_str()), ("sendPhoto", "look"));
    assert_eq!(sent.params.uploads["photo"].bytes, photo);
}

#[tokio::test]
async fn an_album_arrives_with_its_files_under_names_of_ours() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let media = json!([
        {"type": "photo", "media": "attach://chat_id_of_someone", "caption": "one"},
        {"type": "photo", "media": "attach://second"},
    ]);
    let form = Multipart::default()
        .field("chat_id", &ANA.to_string())
        .field("media", &media.to_string())
        .file("second", "2.jpg", b"two")
        .file("chat_id_of_someone", "1.jpg", b"one");
    world.multipart(&ana, "sendMediaGroup", form).await.result();

    let sent = world.telegram.sent_to(ANA);
    assert_eq!(sent.len(), 2);
    let names: Vec<&String> = sent[0].params.uploads.keys().collect();
    assert_eq!(names, ["file0", "file1"]);
    assert_eq!(sent[0].params.uploads["file0"].bytes, &b"one"[..]);
}

#[tokio::test]
async fn an_upload_arrives_as_openclaws_own_client_writes_it() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    // grammY 1.46: lower-case headers, no spaces, a file name without quotes, the file under a random name.
    let body = "------------b\r\ncontent-disposition:form-data;name=\"chat_id\"\r\n\r\n1001\
                \r\n------------b\r\ncontent-disposition:form-data;name=\"document\"\r\n\r\nattach://0f3k9\
                \r\n------------b\r\ncontent-disposition:form-data;name=\"0f3k9\";filename=Q3 report; final.pdf\
                \r\ncontent-type:application/octet-stream\r\n\r\n%PDF\
                \r\n------------b--\r\n";
    world.call(&ana, "sendDocument", "multipart/form-data; boundary=----------b", body).await.result();

    let sent = &world.telegram.sent_to(ANA)[0];
    let upload = &sent.params.uploads["file0"];
    assert_eq!((upload.filename.as_str(), &upload.bytes[..]), ("Q3 report; final.pdf", &b"%PDF"[..]));
}

#[tokio::test]
async fn a_button_press_is_answered_and_a_message_edited_and_deleted() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let message = world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "?"})).await.result();
    let id = &message["message_id"];
    let query = world.telegram.presses(ANA, id.as_i64().expect("a number"), "y");
    let answer = json!({"callback_query_id": query, "text": "done"});
    assert_eq!(world.post(&ana, "answerCallbackQuery", &answer).await.result(), true);
    assert_eq!(world.telegram.answer_to_query(&query).as_deref(), Some("done"));

    world.post(&ana, "sendChatAction", &json!({"chat_id": ANA, "action": "typing"})).await.result();
    world.post(&ana, "editMessageText", &json!({"chat_id": ANA, "message_id": id, "text": "!"})).await.result();
    assert_eq!(
        (world.telegram.texts_to(ANA), world.telegram.actions_in(ANA)),
        (vec!["!".into()], vec!["typing".into()])
    );
    world.post(&ana, "deleteMessage", &json!({"chat_id": ANA, "message_id": id})).await.result();
    assert!(world.telegram.sent_to(ANA).is_empty());
}

#[tokio::test]
async fn the_shared_bot_is_not_a_runtimes_to_configure() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let hostile = json!({"url": "https://attacker.example", "commands": [], "drop_pending_updates": true});
    for method in telegram_relay::stubs::METHODS {
        let answer = world.post(&ana, method, &hostile).await;
        assert_eq!(answer.status, StatusCode::OK, "{method}");
        if let Some(contract) = Contract::load() {
            assert_eq!(contract.check_answer(method, 200, &answer.body), Vec::<String>::new());
        }
    }
    let me = world.query(&ana, "GETME", &[]).await.result();
    assert_eq!((&me["id"], &me["username"]), (&json!(BOT_ID), &json!(BOT_USERNAME)));
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn both_generations_open_the_relay_during_a_rotation_and_no_other() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    world
        .change(&ana, |tenant| Tenant { generation: generation(7), other_generation: Some(generation(6)), ..tenant })
        .await;
    for (number, status) in [(7, 200), (6, 200), (5, 401), (8, 401), (1, 401)] {
        let answer = world.query(&ana.at_generation(generation(number)), "getMe", &[]).await;
        assert_eq!(answer.status.as_u16(), status, "generation {number}");
    }
}

#[tokio::test]
async fn only_a_tenant_that_runs_is_served() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    for (lifecycle, serves) in [
        (Lifecycle::Pending, false),
        (Lifecycle::Provisioning, true),
        (Lifecycle::Active, true),
        (Lifecycle::Suspended, false),
        (Lifecycle::Deprovisioning, false),
    ] {
        world.change(&ana, |tenant| Tenant { lifecycle, ..tenant }).await;
        for method in ["getMe", "sendMessage"] {
            let answer = world.post(&ana, method, &json!({"chat_id": ANA, "text": "hi"})).await;
            if serves {
                answer.result();
            } else {
                answer.assert_refused(StatusCode::FORBIDDEN, "Forbidden: the assistant is suspended");
            }
        }
    }
    assert_eq!(world.telegram.texts_to(ANA), ["hi"; 2]);
}

#[tokio::test]
async fn telegrams_own_word_passes_through() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let message = json!({"chat_id": ANA, "text": "hi"});
    world.telegram.faults.fail_next("sendMessage", Failure::Throttled(17));
    let limited = world.post(&ana, "sendMessage", &message).await;
    assert_eq!(limited.json()["parameters"], json!({"retry_after": 17}));
    limited.assert_refused(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests: retry after 17");

    world.telegram.blocks_the_bot(ANA);
    let blocked = world.post(&ana, "sendMessage", &message).await;
    blocked.assert_refused(StatusCode::FORBIDDEN, "Forbidden: bot was blocked by the user");
    let unknown = world.post(&ana, "getFile", &json!({"file_id": "none"})).await;
    unknown.assert_refused(StatusCode::BAD_REQUEST, "Bad Request: invalid file_id");
}

#[tokio::test]
async fn neither_the_bots_token_nor_a_capability_is_ever_shown() {
    let world = World::start().await;
    let _ = nbhd::telemetry::capture();
    let ana = world.tenant(ANA).await;
    let mut shown = String::new();
    for failure in [None, Some(Failure::AnswerLost), Some(Failure::NotJson), Some(Failure::Throttled(1))] {
        for (method, body) in [
            ("sendMessage", json!({"chat_id": ANA, "text": "a word of a message"})),
            ("getFile", json!({"file_id": "f"})),
            ("getMe", Value::Null),
        ] {
            failure.iter().for_each(|failure| world.telegram.faults.fail_next(method, failure.clone()));
            let answer = world.post(&ana, method, &body).await;
            shown.push_str(&answer.text());
        }
    }
    for secret in [BOT_SECRET, ana.capability.as_str()] {
        assert!(!shown.contains(secret));
        assert!(!nbhd::telemetry::capture().contains(secret));
        assert!(!world.table.items().expect("readable").iter().any(|item| item.to_string().contains(secret)));
    }
    assert!(!nbhd::telemetry::capture().contains("a word of a message"));
}
