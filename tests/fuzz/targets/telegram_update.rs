//! Telegram's updates: what is read of one is what it says, no name carries control characters, and nothing but
//! keyboards is cut out of one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nbhd::domain::command::Command;
use nbhd::domain::keyboards::cut_keyboards_with_links;
use nbhd::domain::update::Update;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let update = Update::parse(body);
    // More than this is read: half of a surrogate pair, for one.
    let Some(json) = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object) else { return };
    assert_ne!(update, Update::Unusable("not_json"));
    let written = serde_json::to_vec(&json).expect("JSON");
    assert_eq!(Update::parse(&written), update, "the same update in other bytes");
    let left = serde_json::from_slice(&cut_keyboards_with_links(body)).expect("still JSON");
    assert_eq!(without_keyboards(left), without_keyboards(json.clone()));
    match update {
        Update::Private(private) => {
            assert_eq!(json["update_id"].as_i64(), Some(private.update_id));
            assert!(private.name.chars().count() <= 64 && !private.name.chars().any(char::is_control));
            assert!(String::from_utf8_lossy(&written).contains(&private.chat.to_string()));
            let _ = Command::parse(&private.text, "nbhd_bot");
        }
        Update::NonPrivate { text, .. } => drop(Command::parse(&text, "nbhd_bot")),
        Update::Unusable(reason) => assert!(reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')),
    }
});

fn without_keyboards(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_keyboards).collect(),
        Value::Object(object) => {
            let others = object.into_iter().filter(|(name, _)| name != "reply_markup");
            Value::Object(others.map(|(name, value)| (name, without_keyboards(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
