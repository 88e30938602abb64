//! Whatever is sent, reading it never panics, and what comes out is what the rules name and nothing else.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use bytes::Bytes;
use nbhd::domain::ids::ChatId;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};
use telegram_relay::older::{MOVED, RENAMED};
use telegram_relay::rules::{METHODS, Method, Rule};
use telegram_relay::{Call, File, Parameters};

use super::world::{ANA, World};

proptest! {
    #[test]
    fn any_body_of_any_type_is_read_or_refused(
        query in proptest::option::of("[ -~]{0,40}"),
        content_type in select(CONTENT_TYPES.as_slice()),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "\\PC{0,80}".prop_map(String::into_bytes),
            "(--B\r\n|Content-Disposition: form-data; (file)?name=\"[a-z\"]*\"|\r\n|--B--|a){0,12}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let read = Parameters::from_request(query.as_deref(), &headers, Bytes::from(body));
        if let Err(refusal) = block_on(read) {
            prop_assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn whatever_passes_is_named_by_the_rules_and_speaks_to_the_own_chat(
        method in any::<Index>(),
        given in proptest::collection::btree_map(names(), values(), 0..6),
        own_chat in any::<bool>(),
        files in proptest::collection::btree_set(names(), 0..3),
    ) {
        let method = &METHODS[method.index(METHODS.len())];
        let mut values: Map<String, Value> = given.into_iter().collect();
        if own_chat {
            values.insert("chat_id".to_owned(), json!(ANA));
        }
        let file = |name: String| (name, File { name: "a\r\n\"b".to_owned(), bytes: Bytes::from_static(b"x") });
        let files = files.into_iter().map(file).collect();
        if let Ok(call) = Call::check(method, ChatId(ANA), Parameters { values, files }) {
            prop_assert!(conforms_to(method, &call), "{} {:?}", method.name, call);
        }
    }

    #[test]
    fn what_a_form_carries_is_what_arrives(text in "\\PC{0,60}", flag in any::<bool>()) {
        let chat = ANA.to_string();
        let flag_text = flag.to_string();
        let pairs = [("chat_id", chat.as_str()), ("text", &text), ("disable_notification", &flag_text)];
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let read = block_on(Parameters::from_request(Some(&query), &HeaderMap::new(), Bytes::new()));
        let call = Call::check(&METHODS[0], ChatId(ANA), read.expect("a form")).expect("allowed");
        let no_preview = json!({"is_disabled": true});
        let expected = json!({
            "chat_id": ANA, "text": text, "disable_notification": flag, "link_preview_options": no_preview,
        });
        prop_assert_eq!(Value::Object(call.parameters), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn no_address_is_answered_but_in_telegrams_shape(
        rests in proptest::collection::vec("(/|bot|file/|42:|%2e%2e|%2f|\\.\\.|%ff|[a-zA-Z0-9:._-]{1,4}){0,8}", 16),
    ) {
        block_on(async {
            let world = World::start().await;
            let ana = world.tenant(ANA).await;
            for rest in rests {
                // Slowly enough for the limit of a runtime's calls.
                world.clock.advance(Duration::from_secs(1));
                let token = ana.token();
                for path in [format!("{rest}/x"), format!("bot{token}/{rest}"), format!("file/bot{token}/{rest}")] {
                    let path = format!("/telegram/relay/{}/{path}", ana.tenant);
                    let answer = world.send(Request::get(&path).body(Body::empty()).expect("a request")).await;
                    assert_eq!(answer.json()["ok"], false, "{path}");
                    assert!(matches!(answer.status.as_u16(), 400 | 401 | 404), "{path}: {}", answer.status);
                }
            }
            assert_eq!(world.calls(), []);
        });
    }
}

const CONTENT_TYPES: [&str; 6] = [
    "application/json",
    "application/json; charset=utf-8",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=B",
    "multipart/form-data; boundary=\"",
    "text/plain",
];

/// Names of the rules, and some others.
fn names() -> impl Strategy<Value = String> {
    let older = MOVED.iter().chain(&RENAMED).map(|(older, _)| *older);
    let known = METHODS.iter().flat_map(Method::parameters).flat_map(|(name, rule)| nested(name, rule));
    let known: Vec<&str> = known.chain(older).collect();
    prop_oneof![9 => select(known).prop_map(str::to_owned), 1 => "[a-z_]{0,8}"]
}

fn nested(name: &'static str, rule: &'static Rule) -> Vec<&'static str> {
    match rule {
        Rule::Object(fields) | Rule::Labelled(fields) => {
            fields.iter().flat_map(|(name, rule)| nested(name, rule)).chain([name]).collect()
        }
        Rule::List(of) => nested(name, of),
        Rule::OwnChat | Rule::Integer | Rule::Float | Rule::Boolean | Rule::Text => vec![name],
        Rule::Url | Rule::Media | Rule::NoPreview | Rule::ParseMode | Rule::Dropped(_) | Rule::Refused(_) => vec![name],
    }
}

/// Values that fit here and there, nested, and now and then written as text.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![json!(ANA), json!(ANA.to_string()), json!(2002), json!("2002"), json!("@ana")]),
        select(vec!["https://a.example", "tg://user?id=1", "attach://photo", "attach://", "true", "1", "AgAC"])
            .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let nested = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(names(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    (nested, any::<bool>()).prop_map(|(value, as_text)| if as_text { Value::from(value.to_string()) } else { value })
}

/// An independent reading of the rules.
fn conforms_to(method: &Method, call: &Call) -> bool {
    let rule = |name: &str| method.parameters().find(|(known, _)| *known == name).map(|(_, rule)| rule);
    let parameters = call.parameters.iter().all(|(name, value)| rule(name).is_some_and(|rule| conforms(rule, value)));
    let uploads = call.uploads.iter().enumerate().all(|(at, upload)| {
        let meant = matches!(rule(&upload.field), Some(Rule::Media)) || upload.field == format!("file{at}");
        meant && !upload.file_name.contains(['\r', '\n'])
    });
    let speaks_to = call.parameters.get("chat_id");
    parameters && uploads && (!method.takes_chat_id() || speaks_to == Some(&json!(ANA)))
}

fn conforms(rule: &Rule, value: &Value) -> bool {
    match rule {
        Rule::OwnChat => *value == json!(ANA),
        Rule::Integer => value.is_i64(),
        Rule::Float => value.is_f64(),
        Rule::Boolean => value.is_boolean(),
        Rule::Text => value.is_string(),
        Rule::ParseMode => {
            value.as_str().is_some_and(|mode| ["", "none", "html"].contains(&mode) || mode.contains("ark"))
        }
        Rule::Url => {
            value.as_str().is_some_and(|text| text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")))
        }
        Rule::Media => value.as_str().is_some_and(|text| {
            let id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            text.starts_with("attach://file") || text.bytes().all(id)
        }),
        Rule::NoPreview => *value == json!({"is_disabled": true}),
        Rule::Dropped(_) | Rule::Refused(_) => false,
        Rule::List(of) => value.as_array().is_some_and(|items| items.iter().all(|item| conforms(of, item))),
        Rule::Object(fields) | Rule::Labelled(fields) => value.as_object().is_some_and(|object| {
            let rule = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, rule)| rule);
            object.iter().all(|(name, value)| rule(name).is_some_and(|rule| conforms(rule, value)))
        }),
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
