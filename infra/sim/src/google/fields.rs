//! Google's partial responses: `fields=messages(id,payload/headers)` leaves out whatever it does not name.
//!
//! See <https://developers.google.com/workspace/gmail/api/guides/performance#partial>.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A parsed mask; an empty one keeps everything below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mask(BTreeMap<String, Self>);

impl Mask {
    /// Reads `fields=`; `None` where Google answers 400.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mask = selection(&mut rest)?;
        rest.is_empty().then_some(mask)
    }

    /// `value` without what the mask does not name.
    pub fn apply(&self, value: Value) -> Value {
        if self.0.is_empty() || self.0.contains_key("*") && self.0.len() == 1 && self.0["*"].0.is_empty() {
            return value;
        }
        match value {
            Value::Object(object) => Value::Object(self.pick(object)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.apply(item)).collect()),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
        }
    }

    /// Every path the mask names, such as `payload/headers/name`.
    pub fn paths(&self) -> Vec<String> {
        let below = |(name, mask): (&String, &Self)| -> Vec<String> {
            let deeper = mask.paths();
            if deeper.is_empty() {
                return vec![name.clone()];
            }
            deeper.iter().map(|path| format!("{name}/{path}")).collect()
        };
        self.0.iter().flat_map(below).collect()
    }

    fn pick(&self, object: Map<String, Value>) -> Map<String, Value> {
        let mask_of = |name: &String| self.0.get(name).or_else(|| self.0.get("*"));
        object.into_iter().filter_map(|(name, value)| mask_of(&name).map(|mask| (name, mask.apply(value)))).collect()
    }
}

/// `path,path,…` up to the end or a closing parenthesis.
fn selection(rest: &mut &str) -> Option<Mask> {
    let mut mask = Mask::default();
    loop {
        path(rest, &mut mask)?;
        match rest.strip_prefix(',') {
            Some(more) => *rest = more,
            None => return Some(mask),
        }
    }
}

/// `name`, `name/path` or `name(selection)`.
fn path(rest: &mut &str, mask: &mut Mask) -> Option<()> {
    let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    *rest = after;
    if name.is_empty() {
        return None;
    }
    let is_new = !mask.0.contains_key(name);
    let below = mask.0.entry(name.to_owned()).or_default();
    if let Some(after) = rest.strip_prefix('/') {
        *rest = after;
        return path(rest, below);
    }
    if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let selected = selection(rest)?;
        *rest = rest.strip_prefix(')')?;
        if is_new {
            *below = selected;
        } else {
            below.0.extend(selected.0);
        }
        return Some(());
    }
    // A name of its own keeps everything below it.
    below.0.clear();
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mask_keeps_what_it_names_and_nothing_else() {
        let whole = json!({
            "messages": [{ "id": "1", "threadId": "1", "payload": { "headers": [{ "name": "From", "value": "x" }] } }],
            "nextPageToken": "n", "resultSizeEstimate": 1,
        });
        for (fields, kept) in [
            ("nextPageToken", json!({ "nextPageToken": "n" })),
            ("messages/id", json!({ "messages": [{ "id": "1" }] })),
            ("messages(id,threadId)", json!({ "messages": [{ "id": "1", "threadId": "1" }] })),
            (
                "messages(payload/headers/name)",
                json!({ "messages": [{ "payload": { "headers": [{ "name": "From" }] } }] }),
            ),
            (
                "messages/payload(headers(value))",
                json!({ "messages": [{ "payload": { "headers": [{ "value": "x" }] } }] }),
            ),
            ("*", whole.clone()),
            ("absent", json!({})),
        ] {
            assert_eq!(Mask::parse(fields).expect("well-formed").apply(whole.clone()), kept, "{fields}");
        }
    }

    #[test]
    fn a_malformed_mask_is_refused() {
        for fields in ["", "a(", "a()", "a)", "a,,b", "a/", "(a)", "a(b)c"] {
            assert_eq!(Mask::parse(fields), None, "{fields}");
        }
    }
}
