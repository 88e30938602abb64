//! Where what Azure has departs from what was asked for.

use serde_json::Value;

/// The paths at which `observed` lacks or changes what `intended` says.
///
/// An object may hold more than was asked for: Azure fills in defaults. A list may not. Lists of named things are
/// compared by name, since Azure orders them as it likes, and so are full resource names, whose case it changes.
pub(super) fn departures(intended: &Value, observed: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", intended, observed, &mut found);
    found
}

fn compare(path: &str, intended: &Value, observed: &Value, found: &mut Vec<String>) {
    let departs = match (intended, observed) {
        (Value::Object(intended), Value::Object(observed)) => {
            for (key, value) in intended {
                let there = observed.iter().find(|(known, _)| same_text(key, known)).map(|(_, value)| value);
                compare(&format!("{path}/{}", label(key)), value, there.unwrap_or(&Value::Null), found);
            }
            false
        }
        // Azure leaves out what is empty.
        (Value::Array(intended), Value::Null) => !intended.is_empty(),
        (Value::Object(intended), Value::Null) => !intended.is_empty(),
        (Value::Array(intended), Value::Array(observed)) => {
            for (place, value) in intended.iter().enumerate() {
                let there = match name(value) {
                    Some(named) => {
                        observed.iter().find(|other| name(other).is_some_and(|other| same_text(named, other)))
                    }
                    None => observed.get(place),
                };
                let label = name(value).map_or_else(|| place.to_string(), |name| label(name).to_owned());
                compare(&format!("{path}/{label}"), value, there.unwrap_or(&Value::Null), found);
            }
            intended.len() != observed.len()
        }
        (Value::Number(intended), Value::Number(observed)) => intended.as_f64() != observed.as_f64(),
        (Value::String(intended), Value::String(observed)) => !same_text(intended, observed),
        (intended, observed) => intended != observed,
    };
    if departs {
        found.push(path.to_owned());
    }
}

/// What names an element of a list among its like.
fn name(value: &Value) -> Option<&str> {
    ["name", "type", "server", "identity", "volumeName"].iter().find_map(|key| value[key].as_str())
}

/// Equal; or the same resource, spelt otherwise.
fn same_text(intended: &str, observed: &str) -> bool {
    intended == observed || (intended.starts_with("/subscriptions/") && intended.eq_ignore_ascii_case(observed))
}

/// A full resource name is too long for a path: its last part.
fn label(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_azure_adds_or_respells_is_no_departure() {
        let intended = json!({"cpu": 1.0, "list": [{"name": "a", "value": "1"}, {"name": "b"}], "empty": [],
            "ids": {"/subscriptions/S/x/A": {}}});
        let observed = json!({"cpu": 1, "more": true, "list": [{"name": "b", "x": 1}, {"name": "a", "value": "1"}],
            "ids": {"/subscriptions/s/x/a": {"clientId": "c"}}});
        assert_eq!(departures(&intended, &observed), Vec::<String>::new());
    }

    #[test]
    fn each_edit_is_named_by_its_path() {
        let intended = json!({"image": "i", "env": [{"name": "A", "value": "1"}], "tags": {"t": "x"}});
        let edited = |key: &str, value: Value| {
            let mut observed = intended.clone();
            observed[key] = value;
            departures(&intended, &observed)
        };
        assert_eq!(edited("image", json!("I")), ["/image"]);
        assert_eq!(edited("env", json!([{"name": "A", "value": "2"}])), ["/env/A/value"]);
        assert_eq!(edited("env", json!([{"name": "A", "value": "1"}, {"name": "B"}])), ["/env"]);
        assert_eq!(edited("env", json!([])), ["/env/A", "/env"]);
        assert_eq!(edited("tags", Value::Null), ["/tags"]);
    }
}
