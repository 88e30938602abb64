//! Drift: the differences between the resource that Azure has and the one that was asked for.

use serde_json::Value;

/// The paths at which `observed` lacks or changes a value of `intended`.
///
/// An object may hold more than was asked for: Azure fills in defaults. A list may not. Lists of named things are
/// compared by name, since Azure orders them as it likes, and so are full resource names, whose case it changes.
pub(super) fn find_drift(intended: &Value, observed: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", intended, observed, &mut found);
    found
}

fn compare(path: &str, intended: &Value, observed: &Value, found: &mut Vec<String>) {
    let differs = match (intended, observed) {
        (Value::Object(intended), Value::Object(observed)) => {
            for (key, value) in intended {
                let actual = observed.iter().find(|(known, _)| is_same_text(key, known)).map(|(_, value)| value);
                compare(&format!("{path}/{}", label(key)), value, actual.unwrap_or(&Value::Null), found);
            }
            false
        }
        // Azure leaves out what is empty.
        (Value::Array(intended), Value::Null) => !intended.is_empty(),
        (Value::Object(intended), Value::Null) => !intended.is_empty(),
        (Value::Array(intended), Value::Array(observed)) => {
            for (index, value) in intended.iter().enumerate() {
                let actual = match element_name(value) {
                    Some(named) => observed
                        .iter()
                        .find(|other| element_name(other).is_some_and(|other| is_same_text(named, other))),
                    None => observed.get(index),
                };
                let label = element_name(value).map_or_else(|| index.to_string(), |name| label(name).to_owned());
                compare(&format!("{path}/{label}"), value, actual.unwrap_or(&Value::Null), found);
            }
            intended.len() != observed.len()
        }
        (Value::Number(intended), Value::Number(observed)) => intended.as_f64() != observed.as_f64(),
        (Value::String(intended), Value::String(observed)) => !is_same_text(intended, observed),
        (intended, observed) => intended != observed,
    };
    if differs {
        found.push(path.to_owned());
    }
}

/// The field by which an element of a list is known among the others.
fn element_name(value: &Value) -> Option<&str> {
    ["name", "type", "server", "identity", "volumeName"].iter().find_map(|key| value[key].as_str())
}

/// Whether two texts are equal, or name the same resource in different cases.
fn is_same_text(intended: &str, observed: &str) -> bool {
    const BEGINNING: &str = "/subscriptions/";
    let is_resource_id = intended.get(..BEGINNING.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(BEGINNING));
    intended == observed || (is_resource_id && intended.eq_ignore_ascii_case(observed))
}

/// A key for a path: of a resource id, which is too long for one, the last segment.
fn label(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_azure_adds_or_respells_is_no_drift() {
        let intended = json!({"cpu": 1.0, "list": [{"name": "a", "value": "1"}, {"name": "b"}], "empty": [],
            "ids": {"/subscriptions/S/x/A": {}}, "id": "/Subscriptions/S/x/B"});
        let observed = json!({"cpu": 1, "more": true, "list": [{"name": "b", "x": 1}, {"name": "a", "value": "1"}],
            "ids": {"/subscriptions/s/x/a": {"clientId": "c"}}, "id": "/subscriptions/s/X/b"});
        assert_eq!(find_drift(&intended, &observed), Vec::<String>::new());
    }

    #[test]
    fn each_edit_is_named_by_its_path() {
        let intended = json!({"image": "i", "env": [{"name": "A", "value": "1"}], "tags": {"t": "x"}});
        let edited = |key: &str, value: Value| {
            let mut observed = intended.clone();
            observed[key] = value;
            find_drift(&intended, &observed)
        };
        assert_eq!(edited("image", json!("I")), ["/image"]);
        assert_eq!(edited("env", json!([{"name": "A", "value": "2"}])), ["/env/A/value"]);
        assert_eq!(edited("env", json!([{"name": "A", "value": "1"}, {"name": "B"}])), ["/env"]);
        assert_eq!(edited("env", json!([])), ["/env/A", "/env"]);
        assert_eq!(edited("tags", Value::Null), ["/tags"]);
    }
}
