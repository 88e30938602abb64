//! What leaves through the relay without the person's doing: nothing that Telegram fetches, opens, or tells of others.

use serde_json::{Value, json};
use telegram_relay::rules::{METHODS, Method, Rule};

use super::world::{ANA, World};

const PERSON: &str = "tg://user?id=2002";

#[tokio::test]
async fn no_text_that_is_sent_or_edited_shows_a_preview() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let methods =
        || METHODS.iter().filter(|method| method.parameters().any(|(_, rule)| matches!(rule, Rule::NoPreview)));
    assert_eq!(methods().map(|method| method.name).collect::<Vec<_>>(), ["sendMessage", "editMessageText"]);
    for method in methods() {
        for given in [Value::Null, json!({"is_disabled": false, "url": "https://a.example/?q=secret"}), json!("{}")] {
            let mut body = json!({"chat_id": ANA, "text": "https://a.example", "link_preview_options": given});
            if method.name == "editMessageText" {
                body["message_id"] = json!(1);
            }
            world.post(&ana, method.name, &body).await;
            let (_, sent) = world.calls().pop().expect("it reached Telegram");
            assert_eq!(sent["link_preview_options"], json!({"is_disabled": true}), "{} {given}", method.name);
            assert_eq!(sent["text"], "https://a.example", "the link itself stays");
        }
    }
}

#[tokio::test]
async fn no_file_is_fetched_from_an_address_in_any_place_for_one() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let mut tried = 0;
    for method in METHODS {
        for (name, rule) in method.parameters() {
            for value in places(rule, &|rule| matches!(rule, Rule::Media), &json!("https://a.example/?q=secret")) {
                let mut body = json!({"chat_id": ANA, *name: value});
                if method.parameters().any(|(name, _)| *name == "message_id") {
                    body["message_id"] = json!(1);
                }
                let answer = world.post(&ana, method.name, &body).await;
                assert!(answer.text().contains("wrong file identifier"), "{} {body}: {}", method.name, answer.text());
                tried += 1;
            }
        }
    }
    assert!(tried > 20 && world.calls().is_empty(), "{tried}");
}

#[tokio::test]
async fn a_link_to_a_person_loses_its_number_in_every_text_with_a_mode() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let html = format!("<b>Ask</b> <a href=\"&#116;g:{}\">Ben</a>", &PERSON[3..]);
    let mut tried = 0;
    for method in METHODS {
        for (text, mode, place) in texts(method) {
            for (mode_name, marked, expected) in [
                ("HTML", html.as_str(), "<b>Ask</b> Ben"),
                ("MarkdownV2", "*Ask* [Ben](tg://user?id=2002)", "*Ask* [Ben](tg ://user?id=2002)"),
            ] {
                let mut body = json!({"chat_id": ANA});
                if method.parameters().any(|(name, _)| *name == "message_id") {
                    body["message_id"] = json!(1);
                }
                let fields = json!({ text: marked, mode: mode_name });
                match place {
                    None => fields
                        .as_object()
                        .expect("an object")
                        .iter()
                        .for_each(|(name, value)| body[name] = value.clone()),
                    Some((name, true)) => body[name] = json!([fields]),
                    Some((name, false)) => body[name] = fields,
                }
                let before = world.calls().len();
                let answer = world.post(&ana, method.name, &body).await;
                assert_eq!(world.calls().len(), before + 1, "{} {body}: {}", method.name, answer.text());
                let (_, sent) = world.calls().pop().expect("it reached Telegram");
                let sent = match place {
                    None => &sent[text],
                    Some((name, true)) => &sent[name][0][text],
                    Some((name, false)) => &sent[name][text],
                };
                assert_eq!(sent, expected, "{} {text}", method.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 40, "only {tried} texts");
}

#[tokio::test]
async fn what_the_markup_says_besides_arrives() {
    let world = World::start().await;
    let ana = world.tenant(ANA).await;
    let html = format!("<b>a</b> <a href=\"{PERSON}\">Ben</a> <a href=\"https://a.example/?b=1&amp;c\">site</a> &lt;3");
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": html, "parse_mode": "html"})).await.result();
    assert_eq!(world.telegram.texts_to(ANA), ["a Ben site <3"]);
    let (_, sent) = world.calls().pop().expect("sent");
    assert_eq!(sent["text"], "<b>a</b> Ben <a href=\"https://a.example/?b=1&amp;c\">site</a> &lt;3");
    // Without a mode, a text is what it says.
    world.post(&ana, "sendMessage", &json!({"chat_id": ANA, "text": html})).await.result();
    assert_eq!(world.calls().pop().expect("sent").1["text"], html);
}

/// A value for each place under `rule` that `is_meant`, with `value` there and nothing beside it.
fn places(rule: &Rule, is_meant: &dyn Fn(&Rule) -> bool, value: &Value) -> Vec<Value> {
    match rule {
        rule if is_meant(rule) => vec![value.clone()],
        Rule::List(of) => places(of, is_meant, value).into_iter().map(|item| json!([item])).collect(),
        Rule::Object(fields) | Rule::Labelled(fields) => fields
            .iter()
            .flat_map(|(name, rule)| {
                places(rule, is_meant, value).into_iter().map(move |value| json!({ *name: value }))
            })
            .collect(),
        Rule::OwnChat | Rule::Integer | Rule::Float | Rule::Boolean | Rule::Text | Rule::ParseMode => Vec::new(),
        Rule::Url | Rule::Media | Rule::NoPreview | Rule::Dropped(_) | Rule::Refused(_) => Vec::new(),
    }
}

/// The names of a text and of its parse mode, and of the parameter they are in, with whether that is a list.
type MarkedText = (&'static str, &'static str, Option<(&'static str, bool)>);

/// The texts of a method that have a parse mode.
fn texts(method: &Method) -> Vec<MarkedText> {
    let pairs = |fields: &[(&'static str, Rule)]| {
        let modes = fields.iter().filter(|(_, rule)| matches!(rule, Rule::ParseMode)).map(|(name, _)| *name);
        let text_of = |mode: &'static str| match mode.strip_suffix("_parse_mode") {
            Some(text) => text,
            None if fields.iter().any(|(name, _)| *name == "caption") => "caption",
            None => "text",
        };
        modes.map(|mode| (text_of(mode), mode)).collect::<Vec<_>>()
    };
    let own: Vec<_> = method.parameters().copied().collect();
    let mut found: Vec<_> = pairs(&own).into_iter().map(|(text, mode)| (text, mode, None)).collect();
    for (name, rule) in own {
        let (item, is_list) = if let Rule::List(of) = rule { (*of, true) } else { (rule, false) };
        let (Rule::Object(fields) | Rule::Labelled(fields)) = item else { continue };
        found.extend(pairs(fields).into_iter().map(|(text, mode)| (text, mode, Some((name, is_list)))));
    }
    found
}

#[test]
fn the_front_of_a_container_passes_the_methods_that_the_relay_answers_and_no_others() {
    let listed = METHODS.iter().map(|method| method.name).chain(telegram_relay::stubs::METHODS);
    let mut listed: Vec<&str> = listed.chain(telegram_relay::rules::RICH_METHODS).collect();
    let mut passed = nbhd_front::doors::BOT_METHODS.to_vec();
    listed.sort_unstable();
    passed.sort_unstable();
    assert_eq!(passed, listed);
}
