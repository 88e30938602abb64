//! How Stripe writes nested parameters in a form or a query: `line_items[0][price]=…`, `expand[]=…`.
//!
//! See <https://docs.stripe.com/api/expanding_objects> and the examples of every call that takes a list.

use serde_json::{Map, Value};

/// The parameters as JSON, every value a string; `None` when a name cannot be read.
pub(super) fn decode(text: &str) -> Option<Value> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text).ok()?;
    let mut params = Map::new();
    for (name, value) in pairs {
        insert(&mut params, &segments(&name)?, value)?;
    }
    Some(Value::Object(params.into_iter().map(|(name, value)| (name, lists(value))).collect()))
}

/// `a[b][0]` as `["a", "b", "0"]`.
fn segments(name: &str) -> Option<Vec<&str>> {
    let Some((head, rest)) = name.split_once('[') else { return Some(vec![name]) };
    let rest = rest.strip_suffix(']')?;
    Some(std::iter::once(head).chain(rest.split("][")).collect())
}

fn insert(into: &mut Map<String, Value>, path: &[&str], value: String) -> Option<()> {
    let (name, rest) = path.split_first()?;
    let name = if name.is_empty() { into.len().to_string() } else { (*name).to_owned() };
    if rest.is_empty() {
        into.insert(name, Value::String(value));
        return Some(());
    }
    insert(into.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()?, rest, value)
}

/// An object whose names are 0, 1, 2 … is a list.
fn lists(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let mut fields: Vec<(String, Value)> = fields.into_iter().map(|(name, value)| (name, lists(value))).collect();
    let place = |(name, _): &(String, Value)| name.parse::<usize>();
    if fields.is_empty() || fields.iter().any(|field| place(field).is_err()) {
        return Value::Object(fields.into_iter().collect());
    }
    fields.sort_by_key(|field| place(field).unwrap_or(usize::MAX));
    Value::Array(fields.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_names_and_lists_are_read() {
        let read = decode("a=1&b%5Bc%5D%5Bd%5D=x+y&l[0][p]=q&l[1][p]=r&expand[]=m&expand[]=n");
        let expected = json!({
            "a": "1", "b": { "c": { "d": "x y" } }, "l": [{ "p": "q" }, { "p": "r" }], "expand": ["m", "n"],
        });
        assert_eq!(read, Some(expected));
        assert_eq!(decode("a[b=1"), None);
        assert_eq!(decode("a=1&a[b]=2"), None);
    }
}
