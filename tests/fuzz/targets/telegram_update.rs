//! Telegram's updates: what is read of one is what it says, and no name carries control characters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nbhd::domain::command::Command;
use nbhd::domain::update::Update;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let update = Update::parse(body);
    // More than this is read: half of a surrogate pair, for one.
    let Some(json) = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object) else { return };
    assert_ne!(update, Update::Unusable("not_json"));
    let written = serde_json::to_vec(&json).expect("JSON");
    assert_eq!(Update::parse(&written), update, "the same update in other bytes");
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
