//! Reads JSON as JavaScript does where `serde_json` is stricter, so that what is valid to others is not lost here.
//!
//! JSON may escape half of a surrogate pair, as when a text is cut within an emoji, and a Rust string cannot hold one.
//! <https://www.rfc-editor.org/rfc/rfc8259#section-8.2>

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The fields of an object by name, each value as its text. Of fields with the same name the last counts.
///
/// A value's text is checked no further than its grammar: it may be nested deeply, or hold a number that fits no type.
#[derive(Debug)]
pub struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Reads an object; `None` when the text is not JSON, or no object. A lone surrogate in a name is refused, so give
    /// the text to [`replace_lone_surrogates`] first.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The field as an object.
    pub fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.0.get(name)?.get())
    }

    /// The field as a whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// The field as a text; empty when it is absent or none.
    pub fn text(&self, name: &str) -> String {
        self.0.get(name).and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
    }

    /// Whether the field is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.get() == "true")
    }
}

/// Replaces every escape of half a surrogate pair by one of the replacement character, as a decoder of UTF-16 does.
pub fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut replaced = String::new();
    let mut kept = 0;
    let mut at = 0;
    // Outside a string there is no backslash, so that every one begins an escape.
    while let Some(place) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + place;
        let is_pair = || matches!(escaped_unit(json, start + 6), Some(0xDC00..=0xDFFF));
        at = match escaped_unit(json, start) {
            Some(0xD800..=0xDBFF) if is_pair() => start + 12,
            Some(0xD800..=0xDFFF) => {
                replaced.push_str(json.get(kept..start).unwrap_or_default());
                replaced.push_str("\\ufffd");
                kept = start + 6;
                kept
            }
            Some(_) => start + 6,
            // The second character may be a backslash that begins nothing.
            None => start + 1 + json.get(start + 1..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8),
        };
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    replaced.push_str(json.get(kept..).unwrap_or_default());
    Cow::Owned(replaced)
}

/// The UTF-16 code unit that an escape `\uXXXX` at this place stands for.
fn escaped_unit(json: &str, start: usize) -> Option<u16> {
    let digits = json.get(start..start + 6)?.strip_prefix("\\u")?;
    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_pair_is_replaced_and_everything_else_stays() {
        for (given, expected) in [
            (r#""cut \ud83d emoji""#, r#""cut \ufffd emoji""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#"{"\uD800":"\udfff"}"#, r#"{"\ufffd":"\ufffd"}"#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            (r#""\ud83""#, r#""\ud83""#),
        ] {
            assert_eq!(replace_lone_surrogates(given), expected);
        }
        for whole in [r#""\ud83d\ude00 \u00e9 \\ud83d \\\\ud800 é😀""#, r#""\\"#, r"\", r"\é", "", r#""\u+123""#] {
            assert!(matches!(replace_lone_surrogates(whole), Cow::Borrowed(same) if same == whole), "{whole}");
        }
    }

    #[test]
    fn a_field_is_read_whatever_stands_beside_it() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#" {{"id":1,"a":1e999,"b":{deep},"id":7,"c":{{"t":"\u0000é","f":true}},"n":null}}"#);
        let fields = Fields::parse(&text).expect("an object");
        assert_eq!((fields.integer("id"), fields.integer("a"), fields.integer("none")), (Some(7), None, None));
        let inner = fields.object("c").expect("an object");
        assert_eq!((inner.text("t"), inner.is_true("f"), inner.text("f")), ("\0é".to_owned(), true, String::new()));
        assert!(fields.contains("n") && fields.object("n").is_none() && !fields.is_true("id"));
        for text in ["", "{", "[]", "7", "{} {}", "{\"a\":}"] {
            assert!(Fields::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_replaced_parses_and_what_parsed_means_the_same(
            units in proptest::collection::vec(prop_oneof![0xD7FE_u16..0xE002, any::<u16>()], 0..12),
        ) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let text = format!("\"{escaped}\"");
            let read: String = serde_json::from_str(&replace_lone_surrogates(&text)).expect("JSON");
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn any_text_is_scanned(text in "(\\\\|u|[dD][8-9a-fA-F]|[0-9a-f]|é|\"){0,40}") {
            replace_lone_surrogates(&text);
        }
    }
}
