//! Older spellings that Telegram still accepts, translated into those that the rules name.
//!
//! When both are given, Telegram's own server decides which counts (`Client.cpp` of
//! <https://github.com/tdlib/telegram-bot-api>): the present one, and the older one only without it. The changes are
//! listed in <https://core.telegram.org/bots/api-changelog>.

use serde_json::{Map, Value, json};

use crate::json::{to_boolean, to_integer};
use crate::parameters::Parameters;
use crate::rules::Method;

/// Older names of parameters and of nested fields, each with the present name of the same value.
pub const RENAMED: [(&str, &str); 5] = [
    ("thumb", "thumbnail"),
    ("hide_keyboard", "remove_keyboard"),
    ("personal_keyboard", "selective"),
    ("force_reply_keyboard", "force_reply"),
    ("request_phone_number", "request_contact"),
];

/// Older parameters, each with the present one whose value holds it now.
///
/// They count as not given to a method that has no such parameter, as every unknown parameter does at Telegram; and so
/// does what is said of previews, which are always off.
pub const MOVED: [(&str, &str); 4] = [
    ("reply_to_message_id", "reply_parameters"),
    ("allow_sending_without_reply", "reply_parameters"),
    ("disable_web_page_preview", "link_preview_options"),
    ("correct_option_id", "correct_option_ids"),
];

/// Translates every older parameter of a call, and a file that came under an older name.
pub(crate) fn translate(method: &Method, given: &mut Parameters) {
    let knows = |name: &str| method.parameters().any(|(known, _)| *known == name);
    rename_fields(knows, &mut given.values);
    for (older, present) in RENAMED {
        if knows(present)
            && !given.files.contains_key(present)
            && let Some(file) = given.files.remove(older)
        {
            given.files.insert(present.to_owned(), file);
        }
    }
    let [reply, always, _, correct] = MOVED.map(|(older, _)| given.values.remove(older).unwrap_or_default());
    let mut insert = |name: &str, value: Value| {
        // An empty text says nothing, except that a message is no reply.
        let is_empty = |value: &Value| value.is_null() || value == "" && name != "reply_parameters";
        if knows(name) && given.values.get(name).is_none_or(is_empty) {
            given.values.insert(name.to_owned(), value);
        }
    };
    if let Some(message_id) = to_integer(&reply).filter(|id| id.as_i64() > Some(0)) {
        let always = to_boolean(&always).unwrap_or_else(|| Value::from(false));
        insert("reply_parameters", json!({"message_id": message_id, "allow_sending_without_reply": always}));
    }
    if !correct.is_null() {
        insert("correct_option_ids", json!([correct]));
    }
}

/// Gives the fields of an object, or of a call, their present names; `knows` says which the rules have.
pub(crate) fn rename_fields(knows: impl Fn(&str) -> bool, given: &mut Map<String, Value>) {
    for (older, present) in RENAMED {
        if knows(present)
            && let Some(value) = given.remove(older)
        {
            given.entry(present).or_insert(value);
        }
    }
}
