//! Holds what a vault was asked and what it answered to Microsoft's own description of the secrets API, version 7.6.

use serde_json::{Value, json};

use super::KEY_VAULT;
use crate::contracts::{self, CheckReport};
use crate::journal::{Entry, Journal};

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
        let mut document = contracts::read_json(&contracts::dir()?.join("azure/keyvault_secrets_7.6.condensed.json"));
        // What the description does not name is an error: an invented field helps nobody.
        for definition in document["definitions"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            if definition.get("properties").is_some() {
                definition["additionalProperties"] = json!(false);
            }
        }
        Some(Self { document })
    }

    /// Checks every request to the vault and its answer.
    pub fn check(&self, journal: &Journal) -> CheckReport {
        CheckReport::from_entries(&journal.entries_of(KEY_VAULT), |entry| self.violations(entry))
    }

    /// Everything in which the entry departs from the description; empty when it keeps to it.
    pub fn violations(&self, entry: &Entry) -> Vec<String> {
        let Some(operation) = self.operation(entry) else {
            return vec![format!("`{} {}` is no operation of the vault", entry.method, entry.path_only())];
        };
        let mut violations = Vec::new();
        // The first request of a client is bare on purpose: it only asks for the challenge.
        let is_bare = entry.status == Some(401);
        if let (Some(body), false) = (operation["body"].as_str(), is_bare) {
            let found = self.check_body(body, &entry.request);
            violations.extend(found.into_iter().map(|found| format!("request: {found}")));
        }
        if let Some(status) = entry.status {
            let responses = &operation["responses"];
            let described =
                responses.get(status.to_string()).or_else(|| responses.get("default").filter(|_| status >= 400));
            match described {
                None => violations.push(format!("answer: status {status} is not described")),
                Some(response) => match response["schema"]["$ref"].as_str().and_then(|at| at.rsplit('/').next()) {
                    Some(schema) => {
                        let found = self.check_body(schema, &entry.answer);
                        violations.extend(found.into_iter().map(|found| format!("answer: {found}")));
                    }
                    None if entry.answer.is_empty() => {}
                    None => violations.push("answer: a body where none is described".to_owned()),
                },
            }
        }
        violations
    }

    fn operation(&self, entry: &Entry) -> Option<&Value> {
        let (path, method) = (entry.path_only().trim_end_matches('/'), entry.method.to_lowercase());
        let named = |template: &str| contracts::match_path(template, path).map(|values| values.len());
        // The version may be left out: the latest is meant.
        let unversioned = |template: &str| template.strip_suffix("/{secret-version}").and_then(named);
        let fitting = self.document["paths"].as_object()?.iter().filter_map(|(template, methods)| {
            Some((named(template).or_else(|| unversioned(template))?, methods.get(&method)?))
        });
        // Of several, the one with the fewest names in place of texts is meant.
        fitting.min_by_key(|(named, _)| *named).map(|(_, operation)| operation)
    }

    fn check_body(&self, schema: &str, body: &[u8]) -> Vec<String> {
        let schema = json!({
            "$ref": format!("#/definitions/{schema}"),
            "definitions": self.document["definitions"],
        });
        serde_json::from_slice(body).map_or_else(
            |_| vec!["not JSON".to_owned()],
            |body| contracts::find_departures(jsonschema::draft4::new(&schema), &body),
        )
    }
}
