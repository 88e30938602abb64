//! Holds every call to Stripe, every answer of the simulator and every event it sent to Stripe's own descriptions.
//!
//! Requests are held to the parameters of Stripe's Python client, objects to its fields (unknown ones refused, required
//! ones present, statuses among those it names) and to the JSON types of Stripe's example objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{API, EVENTS, form};
use crate::contracts::{self, CheckReport};
use crate::journal::{Entry, Journal};

/// Stripe's descriptions, ready to be held against journal entries.
#[derive(Debug)]
pub struct Contract {
    requests: Value,
    fields: Map<String, Value>,
    examples: Value,
}

impl Contract {
    /// The descriptions; `None` where they are absent and not required.
    ///
    /// # Panics
    /// When a document cannot be read, or is absent and `NBHD_REQUIRE_SHARED=1`.
    pub fn load() -> Option<Self> {
        let folder = contracts::dir()?.join("stripe");
        let read = |name: &str| contracts::read_json(&folder.join(name));
        let fields = read("response_fields.json")["resources"].as_object().cloned().unwrap_or_default();
        let examples = read("fixtures3.json")["resources"].take();
        Some(Self { requests: read("request_params.schema.json"), fields, examples })
    }

    /// Checks every call of the API, every answer and every event.
    pub fn check(&self, journal: &Journal) -> CheckReport {
        let mut report = CheckReport::default();
        for entry in journal.entries_of(API).iter().filter(|entry| entry.path.starts_with("/v1/")) {
            if let Some(schema) = self.endpoint(entry) {
                report.requests += 1;
                report.add(entry, self.check_request(entry, schema));
            }
            if entry.status == Some(200) {
                self.check_body(entry, &entry.answer, &mut report);
            }
        }
        for entry in journal.entries_of(EVENTS) {
            self.check_body(&entry, &entry.request, &mut report);
        }
        report
    }

    fn check_body(&self, entry: &Entry, body: &[u8], report: &mut CheckReport) {
        if let Ok(object) = serde_json::from_slice(body) {
            let mut found = Vec::new();
            report.objects += self.check_object(&object, &mut found);
            report.add(entry, found);
        }
    }

    /// The schema of a call's parameters, if one describes it.
    fn endpoint(&self, entry: &Entry) -> Option<&Value> {
        let fits = |name: &str| {
            let described = name.split_once(' ').filter(|(method, _)| *method == entry.method);
            described.is_some_and(|(_, template)| contracts::match_path(template, entry.path_only()).is_some())
        };
        self.requests["endpoints"].as_object()?.iter().find(|(name, _)| fits(name)).map(|(_, schema)| schema)
    }

    fn check_request(&self, entry: &Entry, schema: &Value) -> Vec<String> {
        let query = entry.path.split_once('?').map_or("", |(_, query)| query);
        let body = String::from_utf8_lossy(&entry.request);
        let text = if entry.method == "POST" { body.as_ref() } else { query };
        let Some(params) = form::decode(text) else { return vec!["the parameters cannot be read".to_owned()] };
        let params = self.typed(&params, schema);
        let mut root = schema.clone();
        root["$defs"] = self.requests["$defs"].clone();
        contracts::find_departures(jsonschema::draft202012::options().build(&root), &params)
    }

    /// A form knows only texts: those that a schema takes for numbers or flags become such.
    fn typed(&self, value: &Value, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return self.typed(value, &self.requests["$defs"][name]);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let fits = |choice: &&Value| choice.get("enum").is_none();
            return choices.iter().find(fits).map_or_else(|| value.clone(), |choice| self.typed(value, choice));
        }
        match value {
            Value::Object(fields) => {
                let of = |name: &str| schema["properties"].get(name).unwrap_or_else(|| &schema["additionalProperties"]);
                Value::Object(fields.iter().map(|(name, value)| (name.clone(), self.typed(value, of(name)))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.typed(item, &schema["items"])).collect()),
            Value::String(text) => match schema["type"].as_str() {
                Some("integer") => text.parse::<i64>().map_or_else(|_| value.clone(), Value::from),
                Some("boolean") => text.parse::<bool>().map_or_else(|_| value.clone(), Value::from),
                _ => value.clone(),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Holds an object, and every object inside it, to the fields of its kind; returns how many it held.
    fn check_object(&self, value: &Value, violations: &mut Vec<String>) -> usize {
        match value {
            Value::Array(items) => items.iter().map(|item| self.check_object(item, violations)).sum(),
            Value::Object(fields) => {
                let kind = fields.get("object").and_then(Value::as_str).unwrap_or_default();
                // What is left of a deleted object has its id and nothing else of its kind.
                let is_deleted = fields.get("deleted") == Some(&Value::Bool(true));
                let known = self.fields.get(kind).and_then(Value::as_object).filter(|_| !is_deleted);
                if let Some(known) = known {
                    let found = check_fields(fields, known).into_iter().chain(self.compare_with_example(fields, kind));
                    violations.extend(found.map(|violation| format!("{kind}: {violation}")));
                }
                let below: usize = fields.values().map(|value| self.check_object(value, violations)).sum();
                below + usize::from(known.is_some())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    /// Fields whose JSON type is not that of the example, where both have one.
    fn compare_with_example(&self, fields: &Map<String, Value>, kind: &str) -> Vec<String> {
        let example = &self.examples[kind];
        let differs = |(name, value): &(&String, &Value)| {
            let example = &example[name.as_str()];
            // An expanded object stands where the example has its id.
            let is_expanded = example.is_string() && value.is_object();
            !value.is_null() && !example.is_null() && type_of(value) != type_of(example) && !is_expanded
        };
        fields.iter().filter(differs).map(|(name, _)| format!("`{name}` is of another type")).collect()
    }
}

/// Fields that are unknown, absent, null against their type, or no value that is named.
fn check_fields(fields: &Map<String, Value>, known: &Map<String, Value>) -> Vec<String> {
    let known: BTreeMap<&str, &str> = known
        .iter()
        .filter_map(|(name, of)| Some((name.as_str(), of.as_str()?)))
        .filter(|(name, _)| is_field(name))
        .collect();
    let unknown = fields.keys().filter(|name| !known.contains_key(name.as_str()));
    let unknown = unknown.map(|name| format!("`{name}` is unknown"));
    // A long list of names is cut off in the document, and with it whether there may be none.
    let is_cut = |of: &str| of.contains("Literal[") && !of.ends_with(']');
    let optional = |of: &str| of.contains("Optional") || of.contains("NoneType") || is_cut(of);
    let absent = known.iter().filter(|(name, of)| !optional(of) && fields.get(**name).is_none_or(Value::is_null));
    let absent = absent.map(|(name, _)| format!("`{name}` is absent"));
    let unnamed = fields.iter().filter_map(|(name, value)| {
        let names = known.get(name.as_str()).filter(|of| of.contains("Literal["))?;
        let text = value.as_str()?;
        (!is_cut(names) && !names.contains(&format!("'{text}'"))).then(|| format!("`{name}` cannot be `{text}`"))
    });
    unknown.chain(absent).chain(unnamed).collect()
}

/// The document also names what belongs to the class, not to the object.
fn is_field(name: &str) -> bool {
    name.chars().any(|character| character.is_ascii_lowercase())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
