//! JSON in which no object names a key twice: two readers could otherwise see two different calls.
//!
//! Half of a surrogate pair is replaced: a text that JavaScript cut within an emoji loses that emoji alone.

use std::fmt;

use nbhd::domain::lenient_json::replace_lone_surrogates;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one JSON value; `None` when it is not JSON, or when any object in it names a key twice.
pub(crate) fn parse(text: &[u8]) -> Option<Value> {
    let text = replace_lone_surrogates(std::str::from_utf8(text).ok()?);
    serde_json::from_str::<Unambiguous>(&text).ok().map(|value| value.0)
}

struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Unambiguous(value))) = entries.next_entry::<String, _>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a repeated key"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A whole number, as JSON or as its text.
pub(crate) fn to_integer(value: &Value) -> Option<Value> {
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Some(Value::from(number))
}

/// A boolean, as JSON, as 0 or 1, or as one of the texts that Telegram reads as one.
pub(crate) fn to_boolean(value: &Value) -> Option<Value> {
    let text = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    match text.as_str() {
        "true" | "yes" | "1" => Some(Value::from(true)),
        "false" | "no" | "0" => Some(Value::from(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":1}}"#, r#"[[{"a":1},{"a":1,"\u0061":2}]]"#] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(parse(br#"{"a":[1,{"b":null}],"c":-1.5}"#), Some(serde_json::json!({"a":[1,{"b":null}],"c":-1.5})));
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{}{}", "{} x", "nul", "1e999", r#"{"\ud800":1,"\udc00":2}"#, &deep] {
            assert!(parse(text.as_bytes()).is_none());
        }
        assert!(parse(b"\"\xff\"").is_none());
    }

    #[test]
    fn a_text_that_was_cut_within_an_emoji_keeps_the_rest() {
        assert_eq!(parse(br#"["cut \ud83d"]"#), Some(serde_json::json!(["cut \u{fffd}"])));
    }
}
