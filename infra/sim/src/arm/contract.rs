//! Holds what the resource manager was asked and what it answered to Microsoft's own descriptions.
//!
//! Bodies of requests are held to the ARM schemas and, like answers, to the Bicep types, which know the read-only half;
//! statuses to what the Python SDKs accept and to the description of long-running operations.

use serde_json::{Value, json};

use super::target::Target;
use super::{ARM, Operation};
use crate::contracts::{self, CheckReport};
use crate::journal::{Entry, Journal};

/// Read-only and write-only properties, as the Bicep types flag them.
const REQUIRED: u64 = 1;
const READ_ONLY: u64 = 2;
const WRITE_ONLY: u64 = 4;

/// Microsoft's descriptions, ready to be held against journal entries.
#[derive(Debug)]
pub struct Contract {
    providers: Vec<Provider>,
    operations: Value,
    container_apps: Value,
}

/// One resource provider's descriptions.
#[derive(Debug)]
struct Provider {
    name: &'static str,
    version: &'static str,
    schema: Value,
    types: Vec<Value>,
}

impl Contract {
    /// The descriptions; `None` where they are absent and not required.
    ///
    /// # Panics
    /// When one cannot be read, or is absent and `NBHD_REQUIRE_SHARED=1`.
    pub fn load() -> Option<Self> {
        let folder = contracts::dir()?.join("azure");
        let read = |path: &str| contracts::read_json(&folder.join(path));
        let providers = [
            ("Microsoft.ManagedIdentity", "2024-11-30"),
            ("Microsoft.Authorization", "2022-04-01"),
            ("Microsoft.Storage", "2025-06-01"),
            ("Microsoft.App", "2026-01-01"),
        ];
        let providers = providers.map(|(name, version)| {
            let mut schema = read(&format!("arm-schemas/{version}_{name}.json"));
            strict(&mut schema);
            // It says whole cores, where Azure takes quarters.
            if schema["definitions"]["ContainerResources"].is_object() {
                schema["definitions"]["ContainerResources"]["properties"]["cpu"] = json!({"type": "number"});
            }
            let types = read(&format!("bicep-types/{}_{version}_types.json", name.to_lowercase()));
            let types = types.as_array().cloned().unwrap_or_default();
            Provider { name, version, schema, types }
        });
        Some(Self {
            providers: providers.into(),
            operations: read("sdk_operations.json"),
            container_apps: read("containerapps_lro_2026-01-01.condensed.json"),
        })
    }

    /// Checks every request to the resource manager and its answer.
    pub fn check(&self, journal: &Journal) -> CheckReport {
        CheckReport::from_entries(&journal.entries_of(ARM), |entry| self.violations(entry))
    }

    /// Everything in which the entry departs from the descriptions; empty when it keeps to them.
    pub fn violations(&self, entry: &Entry) -> Vec<String> {
        let target = Target::of(entry.path_only());
        let Some(operation) = target.operation(&entry.method) else {
            return vec![format!("`{} {}` is no operation of Azure", entry.method, entry.path_only())];
        };
        let mut violations = Vec::new();
        let provider = target.kind().and_then(|kind| self.providers.iter().find(|one| kind.starts_with(one.name)));
        if let (Some(kind), Some(provider)) = (target.kind(), provider) {
            if !entry.path.contains(&format!("api-version={}", provider.version)) {
                violations.push(format!("request: not version {}", provider.version));
            }
            let request = serde_json::from_slice::<Value>(&entry.request);
            if let ("PUT", Ok(body)) = (entry.method.as_str(), &request) {
                violations.extend(provider.refuses(kind, entry.path_only(), body));
                provider.check(kind, body, READ_ONLY, &mut violations);
            }
            let answer = serde_json::from_slice::<Value>(&entry.answer);
            if let (Some(200 | 201), Ok(body)) = (entry.status, &answer) {
                provider.check(kind, body, WRITE_ONLY, &mut violations);
                let states = self.container_apps["provisioningState"].as_array();
                let state = &body["properties"]["provisioningState"];
                if target == Target::App && !states.is_some_and(|states| states.contains(state)) {
                    violations.push("answer: not a `provisioningState`".to_owned());
                }
            }
        }
        if let Some(status @ ..=399) = entry.status {
            violations.extend(self.status(target, operation, status, entry));
        } else if entry.status.is_some() {
            let body = serde_json::from_slice::<Value>(&entry.answer).unwrap_or_default();
            if !body["error"]["code"].is_string() || !body["error"]["message"].is_string() {
                violations.push("answer: an error without code and message".to_owned());
            }
        }
        violations
    }

    /// Whether a status of success is one that is described for the operation, with the headers it needs.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most operations have no description of their own")]
    fn status(&self, target: Target<'_>, operation: Operation, status: u16, entry: &Entry) -> Option<String> {
        let has = |name: &str| entry.answer_headers.iter().any(|(known, _)| known == name);
        let described = match operation {
            Operation::PutApp => Some("PUT"),
            Operation::DeleteApp => Some("DELETE"),
            Operation::StartApp => Some("POST /start"),
            Operation::StopApp => Some("POST /stop"),
            _ => None,
        };
        if let Some(described) = described {
            let described = &self.container_apps["operations"][described];
            if described[status.to_string()].is_null() {
                return Some(format!("answer: status {status} is not described"));
            }
            return match status {
                201 if !has("azure-asyncoperation") && in_progress(entry) => {
                    Some("answer: nothing to follow".to_owned())
                }
                202 if !has("location") => Some("answer: 202 without `Location`".to_owned()),
                _ => None,
            };
        }
        let name = match (operation, target) {
            (Operation::PutIdentity, _) => "msi/create_or_update",
            (Operation::DeleteIdentity, _) => "msi/delete",
            (Operation::PutShare, _) => "storage/file_shares_create",
            (Operation::DeleteShare, _) => "storage/file_shares_delete",
            (Operation::PutStorage, _) => "appcontainers/managed_environments_storages_create_or_update",
            (Operation::DeleteStorage, _) => "appcontainers/managed_environments_storages_delete",
            (Operation::Get, Target::App) => "appcontainers/container_apps_get",
            (Operation::Get, Target::Identity) => "msi/get",
            (Operation::Get, Target::Share) => "storage/file_shares_get",
            (Operation::Get, Target::Storage) => "appcontainers/managed_environments_storages_get",
            (Operation::List, Target::Revisions { .. }) => "appcontainers/container_apps_revisions_list_revisions",
            _ => return None,
        };
        let (sdk, name) = name.split_once('/')?;
        let sdks = self.operations.as_object()?;
        let known = sdks.iter().find(|(title, _)| title.starts_with(sdk)).and_then(|(_, all)| all.get(name));
        let Some(known) = known else { return Some(format!("`{name}` is not described")) };
        let accepted = known["success"].as_array().is_some_and(|all| all.iter().any(|one| *one == json!(status)));
        (!accepted).then(|| format!("answer: the SDK does not accept {status} of `{name}`"))
    }
}

impl Provider {
    /// Where a request's body departs from the ARM schema.
    fn refuses(&self, kind: &str, path: &str, body: &Value) -> Vec<String> {
        let name = kind.split_once('/').map(|(_, rest)| rest.replace('/', "_")).unwrap_or_default();
        let lists = ["resourceDefinitions", "subscription_resourceDefinitions"];
        let definition = lists.iter().map(|list| &self.schema[list][&name]).find(|found| found.is_object());
        let Some(definition) = definition else { return vec![format!("`{name}` is not described")] };
        let mut schema = definition.clone();
        schema["definitions"] = self.schema["definitions"].clone();
        let mut whole = body.clone();
        whole["name"] = json!(path.rsplit('/').next());
        whole["type"] = json!(kind);
        whole["apiVersion"] = json!(self.version);
        let found = contracts::find_departures(jsonschema::draft4::new(&schema), &whole);
        found.into_iter().map(|found| format!("request: {found}")).collect()
    }

    /// Where a body departs from the Bicep type of its kind; properties with the flag must not be there.
    fn check(&self, kind: &str, body: &Value, absent: u64, violations: &mut Vec<String>) {
        let named = |one: &&Value| {
            let name = one["name"].as_str().unwrap_or_default();
            one["$type"] == "ResourceType" && name == format!("{kind}@{}", self.version)
        };
        match self.types.iter().find(named) {
            Some(resource) => self.compare("", self.of(&resource["body"]), body, absent, violations),
            None => violations.push(format!("`{kind}` has no type")),
        }
    }

    fn of(&self, reference: &Value) -> &Value {
        let place = reference["$ref"].as_str().and_then(|text| text.strip_prefix("#/")).and_then(|n| n.parse().ok());
        place.and_then(|place: usize| self.types.get(place)).unwrap_or(&Value::Null)
    }

    fn compare(&self, path: &str, kind: &Value, value: &Value, absent: u64, violations: &mut Vec<String>) {
        let fits = match kind["$type"].as_str() {
            Some("ObjectType") => {
                let given = value.as_object();
                for (name, known) in kind["properties"].as_object().into_iter().flatten() {
                    let flags = known["flags"].as_u64().unwrap_or_default();
                    let below = format!("{path}/{name}");
                    match given.and_then(|given| given.get(name)) {
                        // What a path says already is allowed in an answer, and never part of a request's body.
                        Some(_) if flags & absent != 0 => violations.push(format!("`{below}` does not belong here")),
                        Some(value) => self.compare(&below, self.of(&known["type"]), value, absent, violations),
                        None if flags & REQUIRED != 0 && name != "name" => violations.push(format!("no `{below}`")),
                        None => {}
                    }
                }
                for (name, value) in given.into_iter().flatten() {
                    match (kind["properties"].get(name), kind.get("additionalProperties")) {
                        (Some(_), _) => {}
                        (None, Some(more)) => {
                            self.compare(&format!("{path}/*"), self.of(more), value, absent, violations)
                        }
                        (None, None) => violations.push(format!("`{path}/{name}` is unknown")),
                    }
                }
                given.is_some()
            }
            Some("ArrayType") => {
                for value in value.as_array().into_iter().flatten() {
                    self.compare(&format!("{path}[]"), self.of(&kind["itemType"]), value, absent, violations);
                }
                value.is_array()
            }
            Some("UnionType") => kind["elements"].as_array().is_some_and(|all| {
                all.iter().any(|one| {
                    let mut found = Vec::new();
                    self.compare(path, self.of(one), value, absent, &mut found);
                    found.is_empty()
                })
            }),
            Some("StringLiteralType") => kind["value"] == *value,
            Some("StringType") => value.is_string(),
            // Cores are described as integers, and are not.
            Some("IntegerType") => value.is_i64() || value.is_u64() || (path.ends_with("/cpu") && value.is_number()),
            Some("BooleanType") => value.is_boolean(),
            _ => true,
        };
        if !fits {
            violations.push(format!("`{path}` is not of its type"));
        }
    }
}

fn in_progress(entry: &Entry) -> bool {
    let body = serde_json::from_slice::<Value>(&entry.answer).unwrap_or_default();
    body["properties"]["provisioningState"] == "InProgress"
}

/// What a schema does not name is an error, and so is a template's expression in place of a value.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("$ref").and_then(Value::as_str).is_some_and(|at| at.starts_with("https://")) {
                fields.clear();
                fields.insert("not".to_owned(), json!({}));
                return;
            }
            let named = fields.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
            if named && fields.get("type") == Some(&json!("object")) && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(strict);
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
