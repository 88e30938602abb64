//! Holds requests, answers and updates to Telegram's machine-readable contract (`telegram/api.json`).

use futures::FutureExt as _;
use serde_json::{Map, Value};

use super::params::{ParamValue, Params};
use super::{BOT_API, WEBHOOK};
use crate::contracts::{self, CheckReport};
use crate::journal::{Entry, Journal};

/// The Bot API's methods and types.
#[derive(Clone, Debug)]
pub struct Contract {
    api: Value,
}

/// How a value came, which decides how strictly its type is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// JSON: types are exact.
    Typed,
    /// Query, form or multipart: numbers and objects are text.
    Text,
}

impl Contract {
    /// The contract; `None` where it is absent and not required.
    ///
    /// # Panics
    /// When it cannot be read, or is absent and `NBHD_REQUIRE_SHARED=1`.
    pub fn load() -> Option<Self> {
        Some(Self { api: contracts::read_json(&contracts::dir()?.join("telegram/api.json")) })
    }

    /// The fields of the type `name` as `(name, types, required)`.
    pub fn fields(&self, name: &str) -> Vec<(&str, Vec<&str>, bool)> {
        fields(&self.api["types"][name]).map(|field| (name_of(field), types_of(field), is_required(field))).collect()
    }

    /// Checks every call of the Bot API, every delivery to the webhook, and every answer.
    pub fn check(&self, journal: &Journal) -> CheckReport {
        let mut entries = journal.entries();
        entries.retain(|entry| [BOT_API, WEBHOOK].contains(&entry.simulator));
        CheckReport::from_entries(&entries, |entry| {
            if entry.simulator == BOT_API { self.check_call(entry) } else { self.check_delivery(entry) }
        })
    }

    /// Every way in which `params` break the contract of `method`: missing, unknown, or of another type.
    pub fn check_request(&self, method: &str, params: &Params) -> Vec<String> {
        let known = &self.api["methods"][method];
        if known.is_null() {
            return vec![format!("`{method}` is no method")];
        }
        let mut found = Vec::new();
        for field in fields(known).filter(|field| is_required(field)) {
            let name = name_of(field);
            if !params.values.contains_key(name) && !params.uploads.contains_key(name) {
                found.push(format!("{method}: `{name}` is missing"));
            }
        }
        for (name, given) in &params.values {
            let Some(field) = fields(known).find(|field| name_of(field) == name) else {
                found.push(format!("{method}: `{name}` is unknown"));
                continue;
            };
            let place = format!("{method}.{name}");
            found.extend(match given {
                ParamValue::Typed(value) => self.check_types(value, &types_of(field), Form::Typed, &place),
                ParamValue::Text(text) => {
                    self.check_types(&Value::from(text.as_str()), &types_of(field), Form::Text, &place)
                }
            });
        }
        // Other parts are attached by name (`attach://…`) to a parameter that describes them.
        let attached = |part: &str| {
            params
                .values
                .keys()
                .any(|name| params.text(name).is_some_and(|text| text.contains(&format!("attach://{part}"))))
        };
        for part in params.uploads.keys() {
            let takes_a_file =
                fields(known).any(|field| name_of(field) == part && types_of(field).contains(&"InputFile"));
            if !takes_a_file && !attached(part) {
                found.push(format!("{method}: the file `{part}` is unknown"));
            }
        }
        found
    }

    /// Every way in which `answer` breaks what `method` returns, or the shape of an error.
    pub fn check_answer(&self, method: &str, status: u16, answer: &[u8]) -> Vec<String> {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
            return vec![format!("{method}: the answer is no JSON")];
        };
        if answer["ok"] == true {
            let types = strings(&self.api["methods"][method]["returns"]);
            return self.check_types(&answer["result"], &types, Form::Typed, &format!("{method} → result"));
        }
        let as_said = answer["error_code"] == status && answer["description"].is_string() && answer["ok"] == false;
        let mut found =
            if as_said { Vec::new() } else { vec![format!("{method}: {status} in another shape: {answer}")] };
        if let Some(parameters) = answer.get("parameters") {
            found.extend(self.check_types(
                parameters,
                &["ResponseParameters"],
                Form::Typed,
                &format!("{method} → parameters"),
            ));
        }
        found
    }

    /// Every way in which `update` breaks the contract.
    pub fn check_update(&self, update: &Value) -> Vec<String> {
        self.check_types(update, &["Update"], Form::Typed, "update")
    }

    fn check_call(&self, entry: &Entry) -> Vec<String> {
        let Some((_, method)) = entry.path_only().trim_start_matches('/').split_once('/') else { return Vec::new() };
        if entry.path.starts_with("/file/") {
            return Vec::new();
        }
        let query = entry.path.split_once('?').map_or("", |(_, query)| query);
        let content_type = entry.header("content-type").unwrap_or_default();
        // A body in memory is read at once.
        let params = Params::read(query, content_type, &entry.request).now_or_never().expect("nothing to wait for");
        let mut found = match params {
            Ok(params) => self.check_request(method, &params),
            Err(refusal) => vec![format!("{method}: {refusal:?}")],
        };
        if let Some(status) = entry.status {
            found.extend(self.check_answer(method, status, &entry.answer));
        }
        found
    }

    fn check_delivery(&self, entry: &Entry) -> Vec<String> {
        let mut found = match serde_json::from_slice(&entry.request) {
            Ok(update) => self.check_update(&update),
            Err(_) => vec!["an update is no JSON".to_owned()],
        };
        if let Ok(Value::Object(mut call)) = serde_json::from_slice(&entry.answer)
            && let Some(Value::String(method)) = call.remove("method")
        {
            found.extend(self.check_request(&method, &Params::from_object(call)));
        }
        found
    }

    /// No violation when `value` is of one of `types`; else those against the closest of them.
    fn check_types(&self, value: &Value, types: &[&str], form: Form, place: &str) -> Vec<String> {
        let attempts = types.iter().map(|name| self.check_type(value, name, form, place));
        attempts.min_by_key(Vec::len).unwrap_or_else(|| vec![format!("{place}: the contract names no type")])
    }

    fn check_type(&self, value: &Value, name: &str, form: Form, place: &str) -> Vec<String> {
        let wrong = || vec![format!("{place}: {value} is no {name}")];
        let text = value.as_str().filter(|_| form == Form::Text);
        let fits = match name {
            "String" | "InputFile" => return if value.is_string() { Vec::new() } else { wrong() },
            "Integer" => value.is_i64() || text.is_some_and(|text| text.parse::<i64>().is_ok()),
            "Float" => value.is_number() || text.is_some_and(|text| text.parse::<f64>().is_ok()),
            "Boolean" => value.is_boolean() || text.is_some_and(|text| ["true", "false"].contains(&text)),
            _ => return self.check_structure(value, name, form, place),
        };
        if fits { Vec::new() } else { wrong() }
    }

    fn check_structure(&self, value: &Value, name: &str, form: Form, place: &str) -> Vec<String> {
        if form == Form::Text {
            let parsed = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            return match parsed {
                Some(value) => self.check_structure(&value, name, Form::Typed, place),
                None => vec![format!("{place}: {value} is no {name} in JSON")],
            };
        }
        if let Some(item_type) = name.strip_prefix("Array of ") {
            let Some(items) = value.as_array() else { return vec![format!("{place}: {value} is no {name}")] };
            let each = |(at, item)| self.check_type(item, item_type, form, &format!("{place}[{at}]"));
            return items.iter().enumerate().flat_map(each).collect();
        }
        let known = &self.api["types"][name];
        let subtypes = strings(&known["subtypes"]);
        if !subtypes.is_empty() {
            return self.check_types(value, &subtypes, form, place);
        }
        match value.as_object() {
            Some(object) if !known.is_null() => self.check_object(object, known, place),
            _ => vec![format!("{place}: {value} is no {name}")],
        }
    }

    fn check_object(&self, object: &Map<String, Value>, known: &Value, place: &str) -> Vec<String> {
        let missing = fields(known)
            .filter(|field| is_required(field) && !object.contains_key(name_of(field)))
            .map(|field| format!("{place}: `{}` is missing", name_of(field)));
        let given = object.iter().flat_map(|(name, value)| {
            let Some(field) = fields(known).find(|field| name_of(field) == name) else {
                return vec![format!("{place}: `{name}` is unknown")];
            };
            self.check_types(value, &types_of(field), Form::Typed, &format!("{place}.{name}"))
        });
        missing.chain(given).collect()
    }
}

fn fields(of: &Value) -> impl Iterator<Item = &Value> {
    of["fields"].as_array().into_iter().flatten()
}

fn name_of(field: &Value) -> &str {
    field["name"].as_str().unwrap_or_default()
}

fn types_of(field: &Value) -> Vec<&str> {
    strings(&field["types"])
}

fn is_required(field: &Value) -> bool {
    field["required"] == true
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
