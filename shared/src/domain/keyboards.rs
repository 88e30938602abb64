//! Cuts keyboards that open addresses out of an update, before it goes on to a runtime.
//!
//! An update can hold messages of the bot's own: the one that a person replies to, forwards or pins, or whose button
//! they press. Behind our buttons stand signed links, and whoever has one may pay, cancel or connect for the person.
//! The relay lets a runtime make buttons that only answer the bot, so that every other one is ours or a third party's.

use std::borrow::Cow;

use serde::Deserialize;

use super::lenient_json::replace_lone_surrogates;

/// The field of a message that holds its keyboard. <https://core.telegram.org/bots/api#message>
const MARKUP: &str = "reply_markup";

/// A keyboard as a runtime can make it. Any other field, known or not, makes it another one.
/// <https://core.telegram.org/bots/api#inlinekeyboardmarkup>
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnsweringKeyboard {
    #[serde(rename = "inline_keyboard")]
    _rows: Vec<Vec<AnsweringButton>>,
}

/// A button that sends its data to the bot and does nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnsweringButton {
    #[serde(rename = "text")]
    _text: String,
    #[serde(rename = "callback_data")]
    _callback_data: String,
    #[serde(rename = "style", default)]
    _style: Option<String>,
    #[serde(rename = "icon_custom_emoji_id", default)]
    _icon: Option<String>,
}

/// The update without each `reply_markup`, at any depth, of which a button does more than answer the bot; every other
/// byte stays as it is. `update` is JSON; of bytes that are not, some may be left out.
pub fn cut_keyboards_with_links(update: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Vec::new();
    // Up to here, `update` is in `kept` or was cut.
    let mut done = 0;
    let mut at = 0;
    while let Some(start) = find(update, at, |byte| byte == b'"') {
        at = end_of_string(update, start);
        let Some(value) = value_of_key(update, at) else { continue };
        if !is_markup(between(update, start, at)) {
            at = value;
            continue;
        }
        let end = end_of_value(update, value);
        at = end;
        if is_answering(between(update, value, end)) {
            continue;
        }
        kept.extend_from_slice(between(update, done, start));
        let next = skip_space(update, end);
        if update.get(next) == Some(&b',') {
            (at, done) = (next + 1, next + 1);
        } else {
            cut_last_comma(&mut kept);
            done = end;
        }
    }
    if done == 0 {
        return Cow::Borrowed(update);
    }
    kept.extend_from_slice(between(update, done, update.len()));
    Cow::Owned(kept)
}

/// Whether a string, quotes included, is the name of the field, however it is escaped.
fn is_markup(name: &[u8]) -> bool {
    let inner = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
    inner == Some(MARKUP.as_bytes()) || name.contains(&b'\\') && read::<String>(name).is_some_and(|name| name == MARKUP)
}

/// Whether no button of this keyboard does more than answer the bot; so it is when there is no keyboard.
fn is_answering(value: &[u8]) -> bool {
    read::<Option<AnsweringKeyboard>>(value).is_some()
}

fn read<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Option<T> {
    let text = String::from_utf8_lossy(json);
    serde_json::from_str(&replace_lone_surrogates(&text)).ok()
}

/// Where the value begins of the key that ends here; `None` when the string was no key.
fn value_of_key(json: &[u8], end: usize) -> Option<usize> {
    let colon = skip_space(json, end);
    (json.get(colon) == Some(&b':')).then(|| skip_space(json, colon + 1))
}

fn end_of_value(json: &[u8], start: usize) -> usize {
    let is_end = |byte: u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
    match json.get(start) {
        Some(b'"') => end_of_string(json, start),
        Some(b'{' | b'[') => end_of_container(json, start),
        Some(_) | None => find(json, start, is_end).unwrap_or(json.len()),
    }
}

/// Counts brackets instead of calling itself: an update may be nested deeper than a stack.
fn end_of_container(json: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(place) = find(json, at, |byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']')) {
        at = place + 1;
        match json.get(place) {
            Some(b'"') => at = end_of_string(json, place),
            Some(b'{' | b'[') => depth += 1,
            Some(_) | None => depth = depth.saturating_sub(1),
        }
        if depth == 0 {
            return at;
        }
    }
    json.len()
}

/// Where the string that starts here ends, its quote included.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(place) = find(json, at, |byte| matches!(byte, b'"' | b'\\')) {
        if json.get(place) == Some(&b'"') {
            return place + 1;
        }
        at = place + 2;
    }
    json.len()
}

fn cut_last_comma(kept: &mut Vec<u8>) {
    let last = kept.iter().rposition(|byte| !byte.is_ascii_whitespace());
    if let Some(place) = last.filter(|place| kept.get(*place) == Some(&b',')) {
        kept.truncate(place);
    }
}

fn skip_space(json: &[u8], from: usize) -> usize {
    find(json, from, |byte| !byte.is_ascii_whitespace()).unwrap_or(json.len())
}

fn find(json: &[u8], from: usize, is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    json.get(from..)?.iter().position(|byte| is_wanted(*byte)).map(|place| from + place)
}

fn between(json: &[u8], start: usize, end: usize) -> &[u8] {
    json.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::{Map, Value, json};

    use super::*;

    fn cut(json: &str) -> String {
        String::from_utf8(cut_keyboards_with_links(json.as_bytes()).into_owned()).expect("still text")
    }

    #[test]
    fn a_keyboard_that_opens_an_address_is_cut_and_nothing_else_changes() {
        let ours = r#"{"inline_keyboard" : [ [{"text":"Pay","url":"https://a.example/?link=secret"} ] ]}"#;
        for (json, expected) in [
            (r#"{"a":1,"reply_markup":#}"#, r#"{"a":1}"#),
            (r#"{"reply_markup":#,"a":1}"#, r#"{"a":1}"#),
            (r#"{"reply_markup":#}"#, "{}"),
            ("{ \"a\" : 1 ,\n \"reply_markup\"\t:\r\n# , \"b\" :2}", "{ \"a\" : 1 ,\n  \"b\" :2}"),
            ("{\"a\":1 , \"reply_markup\" : # }", "{\"a\":1  }"),
            (r#"{"a":1,"reply_markup":#,"reply_markup":#}"#, r#"{"a":1}"#),
            (r#"{"reply_markup":#,"reply_markup":#,"a":{"reply_markup":#}}"#, r#"{"a":{}}"#),
            (r#"{"reply\u005fmarkup":#,"\u0072eply_mark\u0075p":#,"a":"\ud800"}"#, r#"{"a":"\ud800"}"#),
            (r#"[{"reply_markup":#},[{"x":[{"reply_markup":#,"y":[]}]}]]"#, r#"[{},[{"x":[{"y":[]}]}]]"#),
            (r#"{"text":"\\","reply_markup":#,"b":"}\""}"#, r#"{"text":"\\","b":"}\""}"#),
        ] {
            assert_eq!(cut(&json.replace('#', ours)), expected, "{json}");
        }
    }

    #[test]
    fn what_only_answers_the_bot_stays_byte_for_byte() {
        for markup in [
            "null",
            r#"{"inline_keyboard":[]}"#,
            r#"{ "inline_keyboard" : [[{"text":"Yes \ud83d","callback_data":"reply_markup:"}] , []]}"#,
            r#"{"inline_keyboard":[[{"style":"danger","icon_custom_emoji_id":"5","callback_data":"","text":"é"}]]}"#,
        ] {
            let update = format!(" {{\"a\":{{\"reply_markup\": {markup} }},\"text\":\"\\\"reply_markup\\\":\"}}");
            assert!(matches!(cut_keyboards_with_links(update.as_bytes()), Cow::Borrowed(_)), "{update}");
        }
    }

    #[test]
    fn whatever_is_not_known_to_be_harmless_is_cut() {
        let button = |field: &str| format!(r#"{{"inline_keyboard":[[{{"text":"a","callback_data":"b",{field}}}]]}}"#);
        for markup in [
            button(r#""url":"https://a.example""#),
            button(r#""login_url":{"url":"https://a.example"}"#),
            button(r#""web_app":{"url":"https://a.example"}"#),
            button(r#""copy_text":{"text":"https://a.example"}"#),
            button(r#""switch_inline_query":"a""#),
            button(r#""tomorrow":"a""#),
            button(r#""callback_data":"twice""#),
            button(r#""\u0075rl":"https://a.example""#),
            r#"{"inline_keyboard":[[{"text":"a","callback_data":"b"}]],"keyboard":[]}"#.to_owned(),
            r#"{"inline_keyboard":[[{"text":{"url":"https://a.example"},"callback_data":"b"}]]}"#.to_owned(),
            r#"{"inline_keyboard":[[{"text":"no data"}]]}"#.to_owned(),
            r#""{\"inline_keyboard\":[[{\"url\":\"https://a.example\"}]]}""#.to_owned(),
            "[]".to_owned(),
            "-1.5e3".to_owned(),
            format!("{}1{}", r#"{"inline_keyboard":["#.repeat(50_000), "]}".repeat(50_000)),
        ] {
            assert_eq!(cut(&format!(r#"{{"a":1,"reply_markup":{markup},"b":[2]}}"#)), r#"{"a":1,"b":[2]}"#);
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_same_without_links(
            update in updates(), is_pretty in any::<bool>(), is_escaped in any::<bool>(),
        ) {
            let text = if is_pretty { serde_json::to_string_pretty(&update) } else { serde_json::to_string(&update) };
            let mut text = text.expect("JSON");
            if is_escaped {
                text = text.replace("reply_markup", r"reply\u005Fmarkup");
            }
            let left = cut_keyboards_with_links(text.as_bytes());
            let read: Value = serde_json::from_slice(&left).expect("still JSON");
            prop_assert!(!read.to_string().contains("link="));
            let expected = without_links(update.clone());
            prop_assert_eq!(&read, &expected);
            if expected == update {
                prop_assert_eq!(&*left, text.as_bytes());
            }
        }

        #[test]
        fn any_bytes_are_walked(json in "(\"|\\\\|reply_markup|:|,|\\{|\\}|\\[|\\]| |a|1|\u{e9}){0,40}") {
            let left = cut_keyboards_with_links(json.as_bytes());
            if serde_json::from_str::<IgnoredAny>(&json).is_ok() {
                prop_assert!(serde_json::from_slice::<IgnoredAny>(&left).is_ok());
            }
        }
    }

    /// JSON with keyboards in it at any depth, some of which open addresses.
    fn updates() -> impl Strategy<Value = Value> {
        let answering = json!({"inline_keyboard": [[{"text": "\"[{", "callback_data": "c"}]]});
        let opening = json!({"inline_keyboard": [[{"text": "}]\\", "url": "https://a.example/?link=x"}]]});
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\{},:é ]{0,8}".prop_map(Value::from),
            Just(json!({ MARKUP: answering })),
            Just(json!({ MARKUP: opening, "text": "t" })),
        ];
        leaf.prop_recursive(6, 48, 4, move |inner| {
            let keyboard = prop_oneof![Just(None), Just(Some(answering.clone())), Just(Some(opening.clone()))];
            let fields = proptest::collection::btree_map("[a-z]{1,6}|reply_to_message|zz", inner.clone(), 0..4);
            let object = (fields, keyboard).prop_map(|(fields, keyboard)| {
                let mut object: Map<String, Value> = fields.into_iter().collect();
                object.extend(keyboard.map(|keyboard| (MARKUP.to_owned(), keyboard)));
                Value::Object(object)
            });
            prop_oneof![proptest::collection::vec(inner, 0..4).prop_map(Value::from), object]
        })
    }

    /// The same, by way of a tree.
    fn without_links(value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(without_links).collect(),
            Value::Object(object) => {
                let kept =
                    object.into_iter().filter(|(name, value)| name != MARKUP || value.to_string().contains("callback"));
                Value::Object(kept.map(|(name, value)| (name, without_links(value))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
        }
    }
}
