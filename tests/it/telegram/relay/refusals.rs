//! Every way for a call to be wrong has its refusal, in Telegram's own shape, and reaches nobody.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use nbhd::domain::ids::TenantId;
use nbhd_sim::testbed::{BOT_ID, BOT_SECRET};
use serde_json::{Value, json};

use super::world::{ANA, Multipart, World};

#[tokio::test]
async fn a_strange_tenant_and_a_wrong_capability_look_alike() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let (tenant, token) = (ana.tenant.to_string(), ana.token());
    let shorter = &token[..token.len() - 1];
    let wrong = [
        (TenantId::random().to_string(), token.clone()),
        (tenant.to_uppercase(), token.clone()),
        ("nobody".to_owned(), token.clone()),
        (tenant.clone(), format!("{BOT_ID}:{BOT_SECRET}")),
        (tenant.clone(), format!("{BOT_ID}:")),
        (tenant.clone(), format!("43:{}", ana.capability)),
        (tenant.clone(), ana.capability.clone()),
        (tenant.clone(), shorter.to_owned()),
        (tenant.clone(), format!("{token}x")),
        (tenant.clone(), token.to_lowercase()),
    ];
    for (tenant, token) in wrong {
        for rest in [format!("bot{token}/getMe"), format!("bot{token}/getUpdates"), format!("file/bot{token}/a")] {
            let path = format!("/telegram/relay/{tenant}/{rest}");
            let answer = world.send(Request::post(&path).body(Body::from("{not parsed")).expect("a request")).await;
            answer.assert_refused(StatusCode::UNAUTHORIZED, "Unauthorized");
            assert_eq!(answer.text(), r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#);
        }
    }
}

#[tokio::test]
async fn an_address_of_another_form_is_not_found() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let token = ana.token();
    for rest in ["bot".to_owned(), format!("bot{token}"), format!("{token}/getMe"), "file/x/y".into(), "%ff/x".into()] {
        let path = format!("/telegram/relay/{}/{rest}", ana.tenant);
        let answer = world.send(Request::get(&path).body(Body::empty()).expect("a request")).await;
        answer.assert_refused(StatusCode::NOT_FOUND, "Not Found");
    }
    for method in ["", "test/getMe", "getMe/", "../getMe", "get_me", "getMe%00"] {
        let answer = world.query(&ana, method, &[]).await;
        answer.assert_refused(StatusCode::NOT_FOUND, "Not Found: method not found");
    }
    let delete = Request::delete(ana.path("sendMessage")).body(Body::empty()).expect("a request");
    world.send(delete).await.assert_refused(StatusCode::NOT_FOUND, "Not Found");
}

#[tokio::test]
async fn parameters_come_from_one_place_and_once() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let chat = ANA.to_string();
    let twice = "Bad Request: a parameter is given twice";
    let json_twice = "Bad Request: the body is not a JSON object of parameters, each named once";

    let mixed = Request::post(format!("{}?chat_id={ANA}", ana.path("sendMessage")))
        .header("content-type", "application/json")
        .body(Body::from(r#"{"text":"hi"}"#));
    let both = "Bad Request: parameters are accepted from the query or from the body, not from both";
    world.send(mixed.expect("a request")).await.assert_refused(StatusCode::BAD_REQUEST, both);

    let pairs = [("chat_id", chat.as_str()), ("text", "a"), ("chat_id", "2002")];
    world.query(&ana, "sendMessage", &pairs).await.assert_refused(StatusCode::BAD_REQUEST, twice);
    world.form(&ana, "sendMessage", &pairs).await.assert_refused(StatusCode::BAD_REQUEST, twice);
    let form = || Multipart::default().field("chat_id", &chat).field("text", "a");
    world
        .multipart(&ana, "sendMessage", form().field("chat_id", "2002"))
        .await
        .assert_refused(StatusCode::BAD_REQUEST, twice);
    let both_ways = form().file("photo", "a", b"a").field("photo", "b");
    world.multipart(&ana, "sendPhoto", both_ways).await.assert_refused(StatusCode::BAD_REQUEST, twice);

    for body in [
        r#"{"chat_id":1001,"chat_id":2002,"text":"a"}"#,
        r#"{"chat_id":1001,"text":"a","reply_parameters":{"message_id":1,"chat_id":1001,"chat_id":2002}}"#,
        r#"{"chat_id":1001,"text":"a","ch\u0061t_id":2002}"#,
        r#"[{"chat_id":1001,"text":"a"}]"#,
        r#"{"chat_id":1001,"text":"a"}{}"#,
        "\u{feff}{}",
    ] {
        let answer = world.call(&ana, "sendMessage", "application/json", body).await;
        answer.assert_refused(StatusCode::BAD_REQUEST, json_twice);
    }
    let nested = r#"{"message_id":1,"chat_id":1001,"chat_id":2002}"#;
    let pairs = [("chat_id", chat.as_str()), ("text", "a"), ("reply_parameters", nested)];
    let answer = world.form(&ana, "sendMessage", &pairs).await;
    answer.assert_refused(StatusCode::BAD_REQUEST, "Bad Request: parameter \"reply_parameters\" is not of its form");
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn a_body_is_of_the_form_it_says() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let unsupported = "Bad Request: unsupported content type";
    let not_multipart = "Bad Request: the body is not the multipart form its content type says";
    for (content_type, body, description) in [
        ("", r#"{"chat_id":1001,"text":"a"}"#, unsupported),
        ("text/plain", "chat_id=1001&text=a", unsupported),
        ("application/xml", "<a/>", unsupported),
        ("multipart/form-data", "--B--", not_multipart),
        ("multipart/form-data; boundary=B", "chat_id=1001", not_multipart),
        (
            "multipart/form-data; boundary=B",
            "--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n--B--\r\n",
            not_multipart,
        ),
    ] {
        let answer = world.call(&ana, "sendMessage", content_type, body).await;
        answer.assert_refused(StatusCode::BAD_REQUEST, description);
    }
    let not_text = Multipart::default().field("chat_id", "1001").end();
    let not_text = [
        &not_text[..not_text.len() - 7],
        b"--B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n\xff\r\n--B--\r\n",
    ];
    let answer = world.call(&ana, "sendMessage", "multipart/form-data; boundary=B", not_text.concat()).await;
    answer.assert_refused(StatusCode::BAD_REQUEST, not_multipart);
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn every_hostile_call_is_refused_by_name() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    for (method, extra, said) in hostile_calls() {
        let mut call = json!({"chat_id": ANA});
        for (name, value) in extra.as_object().expect("an object") {
            call[name] = value.clone();
        }
        let answer = world.post(&ana, method, &call).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {call}");
        let description = answer.json()["description"].as_str().unwrap_or_default().to_owned();
        assert!(description.starts_with("Bad Request: ") && description.contains(said), "{call}: {description}");
    }
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn a_file_that_no_parameter_means_is_refused() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let form = || Multipart::default().field("chat_id", &ANA.to_string());
    let missing = r#"[{"type":"photo","media":"attach://a"},{"type":"photo","media":"attach://a"}]"#;
    for (method, form, description) in [
        ("sendPhoto", form().file("photo", "a", b"a").file("other", "b", b"b"), "unknown parameter \"other\""),
        (
            "sendMessage",
            form().field("text", "a").file("reply_markup", "a", b"{}"),
            "unknown parameter \"reply_markup\"",
        ),
        ("sendPhoto", Multipart::default().file("chat_id", "a", b"1001"), "unknown parameter \"chat_id\""),
        ("sendPhoto", form().field("photo", "attach://none"), "attached file not found"),
        ("sendMediaGroup", form().field("media", missing).file("a", "a", b"a"), "attached file not found"),
    ] {
        let answer = world.multipart(&ana, method, form).await;
        answer.assert_refused(StatusCode::BAD_REQUEST, &format!("Bad Request: {description}"));
    }
    assert_eq!(world.calls(), []);
}

#[tokio::test]
async fn an_unwanted_button_or_mention_is_left_out_and_the_rest_arrives() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let site = json!({"url": "https://a.example"});
    let (yes, no) = (json!({"text": "Yes", "callback_data": "y"}), json!({"text": "No", "callback_data": "n"}));
    for (field, value) in [
        ("url", &json!("https://a.example")),
        ("url", &json!("tg://user?id=2002")),
        ("url", &json!("javascript:alert(1)")),
        ("copy_text", &json!({"text": "a"})),
        ("web_app", &site),
        ("login_url", &site),
        ("switch_inline_query", &json!("")),
        ("switch_inline_query_current_chat", &json!("")),
        ("switch_inline_query_chosen_chat", &json!({})),
        ("pay", &json!(true)),
        ("callback_game", &json!({})),
    ] {
        let unwanted = json!({"text": "Open", field: value});
        let markup = json!({"inline_keyboard": [[unwanted, yes], [unwanted], [no]]});
        world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": "a", "reply_markup": markup})).await.result();
        let sent = world.calls().pop().expect("sent").1;
        assert_eq!(sent["reply_markup"], json!({"inline_keyboard": [[yes], [no]]}), "{field}");
    }
    for (field, value) in [
        ("request_users", json!({"request_id": 1})),
        ("request_chat", json!({"request_id": 1})),
        ("request_managed_bot", json!({"request_id": 1})),
        ("web_app", site),
    ] {
        let markup = json!({"keyboard": [[{"text": "Pick", field: value}]]}).to_string();
        let pairs = [("chat_id", "1001"), ("text", "a"), ("reply_markup", markup.as_str())];
        world.form(&ana, "sendMessage", &pairs).await.result();
        assert_eq!(world.calls().pop().expect("sent").1["reply_markup"], json!({"keyboard": []}), "{field}");
    }
    let bold = json!({"type": "bold", "offset": 0, "length": 1});
    let mention = json!({"type": "text_mention", "offset": 0, "length": 1, "user": {"id": 2002, "first_name": "B"}});
    let link = |url: &str| json!({"type": "text_link", "offset": 0, "length": 1, "url": url});
    let (web, person) = (link("HTTPS://a.example/?b=c"), link("tg://user?id=2002"));
    let quote = json!({"message_id": 1, "quote": "a", "quote_entities": [mention, bold, person]});
    let entities = [&bold, &mention, &person, &link("tg:user?id=2002"), &link(" tg://user?id=2002"), &web];
    let body = json!({"chat_id": ANA, "text": "a", "entities": entities, "reply_parameters": quote});
    world.post(&ana, "sendMessage", &body).await;
    let sent = world.calls().pop().expect("sent").1;
    assert_eq!((&sent["entities"], &sent["reply_parameters"]["quote_entities"]), (&json!([bold, web]), &json!([bold])));
}

/// A method, what is given beside the tenant's own chat, and what the refusal names.
fn hostile_calls() -> Vec<(&'static str, Value, &'static str)> {
    let button = |button: Value| json!({"text": "a", "reply_markup": {"inline_keyboard": [[button]]}});
    let photo = |photo: &str| json!({"photo": photo});
    let entity = |entity: Value| json!({"text": "a", "entities": [entity]});
    vec![
        ("sendMessage", json!({"chat_id": "@someone", "text": "a"}), "chat not found"),
        ("sendMessage", json!({"chat_id": null, "text": "a"}), "chat_id is empty"),
        ("sendMessage", json!({"text": "a", "invented": 1}), "unknown parameter \"invented\""),
        ("sendMessage", json!({"text": "a", "business_connection_id": "b"}), "business_connection_id"),
        ("sendMessage", json!({"text": "a", "direct_messages_topic_id": 1}), "direct_messages_topic_id"),
        ("sendMessage", json!({"text": "a", "allow_paid_broadcast": true}), "allow_paid_broadcast"),
        ("sendMessage", json!({"text": "a", "suggested_post_parameters": {}}), "suggested_post_parameters"),
        ("sendMessage", json!({"text": "a", "reply_parameters": {"message_id": 1, "chat_id": 2002}}), "chat not found"),
        ("sendMessage", json!({"text": "a", "reply_parameters": "{\"chat_id\":2002}"}), "chat not found"),
        ("sendMessage", json!({"text": {"a": 1}}), "\"text\" is not of its form"),
        ("sendMessage", json!({"text": "a", "disable_notification": "maybe"}), "\"disable_notification\""),
        ("sendMessage", entity(json!({"type": "text_link", "url": ["a"]})), "\"url\" is not of its form"),
        ("sendMessage", button(json!({"text": "a", "callback_data": 7})), "\"callback_data\""),
        ("sendMessage", json!({"text": "<a href='tg://user?id=1>a</a>", "parse_mode": "HTML"}), "can't parse entities"),
        ("sendMessage", json!({"text": "a", "parse_mode": "HTML5"}), "\"parse_mode\" is not of its form"),
        ("sendPhoto", photo("https://a.example/?secret"), "wrong file identifier/HTTP URL specified"),
        ("sendPhoto", photo("file:///etc/passwd"), "wrong file identifier/HTTP URL specified"),
        ("sendPhoto", photo("/etc/passwd"), "wrong file identifier/HTTP URL specified"),
        ("sendPhoto", photo("attach://photo"), "attached file not found"),
        ("sendPhoto", json!({"photo": ["a"]}), "\"photo\" is not of its form"),
        ("sendMediaGroup", json!({"media": [{"type": "photo", "media": "file:///a"}]}), "wrong file identifier"),
        ("sendMediaGroup", json!({"media": [{"type": "photo", "media": "http://a.example"}]}), "wrong file identifier"),
        (
            "editMessageMedia",
            json!({"message_id": 1, "media": {"type": "video", "media": "a", "thumbnail": "https://a.example"}}),
            "wrong file identifier",
        ),
        ("sendMediaGroup", json!({"media": "[{\"type\":\"photo\",\"media\":\"a\",\"chat_id\":2002}]"}), "unknown"),
        ("sendMediaGroup", json!({"media": {"type": "photo"}}), "\"media\" is not of its form"),
        ("sendPoll", json!({"question": "a", "options": [{"text": "a", "media": {"type": "photo"}}]}), "media"),
        ("editMessageText", json!({"inline_message_id": "a", "text": "a"}), "inline_message_id"),
        ("editMessageText", json!({"message_id": 1, "rich_message": {"html": "a"}}), "rich_message"),
        ("editMessageMedia", json!({"message_id": 1, "media": {"type": "photo", "media": "file:///a"}}), "wrong file"),
        ("setMessageReaction", json!({"message_id": 1, "reaction": [{"type": "emoji", "user_id": 2002}]}), "unknown"),
        ("answerCallbackQuery", json!({"chat_id": null, "callback_query_id": "1", "url": "https://a.example"}), "url"),
        ("deleteMessages", json!({"message_ids": ["a"]}), "\"message_ids\" is not of its form"),
        ("getFile", json!({"file_id": "a"}), "unknown parameter \"chat_id\""),
    ]
}
