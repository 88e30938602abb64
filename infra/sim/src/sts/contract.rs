//! Holds what STS was asked and what it answered to AWS's own description of its API.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::contracts;
use crate::journal::Entry;

/// The vendor's description, ready to be held against journal entries.
#[derive(Debug)]
pub struct Contract {
    document: Value,
}

impl Contract {
    /// The description; `None` where it is absent and not required.
    ///
    /// # Panics
    /// When it cannot be read, or is absent and `NBHD_REQUIRE_SHARED=1`.
    pub fn load() -> Option<Self> {
        let document = contracts::read_json(&contracts::dir()?.join("aws/sts-2011-06-15.service-2.json"));
        Some(Self { document })
    }

    /// Everything in which the entry departs from the description; empty when it keeps to it.
    pub fn violations(&self, entry: &Entry) -> Vec<String> {
        let form: BTreeMap<String, String> = serde_urlencoded::from_bytes(&entry.request).unwrap_or_default();
        let name = form.get("Action").cloned().unwrap_or_default();
        let operation = &self.document["operations"][&name];
        let http = &operation["http"];
        if (http["method"].as_str(), http["requestUri"].as_str()) != (Some(&entry.method), Some(&entry.path)) {
            return vec![format!("`{} {}` with the action `{name}` is no operation", entry.method, entry.path)];
        }
        let mut violations = self.request(&operation["input"], &form);
        violations.extend(match entry.status {
            Some(200) => self.answer(operation, &String::from_utf8_lossy(&entry.answer)),
            _ => None,
        });
        violations
    }

    fn request(&self, shape: &Value, form: &BTreeMap<String, String>) -> Vec<String> {
        let input = self.shape(shape);
        let required = input["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let given = |name: &str| form.keys().any(|key| key.split('.').next() == Some(name));
        let mut violations: Vec<String> =
            required.filter(|name| !given(name)).map(|name| format!("request: `{name}` is missing")).collect();
        for (key, value) in form.iter().filter(|(key, _)| !matches!(key.as_str(), "Action" | "Version")) {
            let member = &input["members"][key.split('.').next().unwrap_or_default()];
            let shape = self.shape(member);
            // A list is `Name.member.1`, `Name.member.2`, and so on.
            let shape = if shape["type"] == "list" { self.shape(&shape["member"]) } else { shape };
            if member.is_null() || !is_within(shape, value) {
                violations.push(format!("request: `{key}` departs from its shape"));
            }
        }
        violations
    }

    fn answer(&self, operation: &Value, body: &str) -> Option<String> {
        let wrapper = operation["output"]["resultWrapper"].as_str()?;
        let output = self.shape(&operation["output"]);
        let Some(result) = between(body, wrapper) else { return Some(format!("answer: no `{wrapper}`")) };
        let members = output["members"].as_object()?;
        let absent = members
            .iter()
            .find(|(name, member)| between(result, name).is_none_or(|value| !is_within(self.shape(member), value)));
        absent.map(|(name, _)| format!("answer: `{name}` is missing or departs from its shape"))
    }

    fn shape<'c>(&'c self, reference: &Value) -> &'c Value {
        &self.document["shapes"][reference["shape"].as_str().unwrap_or_default()]
    }
}

fn is_within(shape: &Value, value: &str) -> bool {
    let bound = |name: &str, default: i64| shape[name].as_i64().unwrap_or(default);
    let bounds = bound("min", i64::MIN)..=bound("max", i64::MAX);
    match shape["type"].as_str() {
        Some("string") => i64::try_from(value.chars().count()).is_ok_and(|length| bounds.contains(&length)),
        Some("integer") => value.parse().is_ok_and(|number| bounds.contains(&number)),
        Some("timestamp") => nbhd::clock::Timestamp::parse_rfc3339(value).is_some(),
        _ => false,
    }
}

fn between<'t>(text: &'t str, element: &str) -> Option<&'t str> {
    text.split_once(&format!("<{element}>"))?.1.split_once(&format!("</{element}>")).map(|(inside, _)| inside)
}
