//! Holds what a vault was asked and what it answered to Microsoft's own description of the secrets API, version 7.6.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::journal::Entry;

/// The vendor's description, ready to be held against journal entries.
#[derive(Debug)]
pub struct Contract {
    document: Value,
}

impl Contract {
    /// Reads the description below the folder of contracts.
    ///
    /// # Errors
    /// When it is absent or not JSON.
    pub fn read(contracts: &Path) -> anyhow::Result<Self> {
        let path = contracts.join("azure/keyvault_secrets_7.6.condensed.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("`{}` is unreadable", path.display()))?;
        let mut document: Value = serde_json::from_str(&text)?;
        // What the description does not name is an error: an invented field helps nobody.
        for definition in document["definitions"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            if definition.get("properties").is_some() {
                definition["additionalProperties"] = json!(false);
            }
        }
        Ok(Self { document })
    }

    /// Everything in which the entry departs from the description; empty when it keeps to it.
    pub fn departures(&self, entry: &Entry) -> Vec<String> {
        let Some(operation) = self.operation(entry) else {
            return vec![format!("`{} {}` is no operation of the vault", entry.method, entry.path_only())];
        };
        let mut departures = Vec::new();
        // The first request of a client is bare on purpose: it only asks for the challenge.
        let is_bare = entry.status == Some(401);
        if let (Some(body), false) = (operation["body"].as_str(), is_bare) {
            departures.extend(self.check(body, &entry.request).map(|why| format!("request: {why}")));
        }
        if let Some(status) = entry.status {
            let responses = &operation["responses"];
            let described =
                responses.get(status.to_string()).or_else(|| responses.get("default").filter(|_| status >= 400));
            match described {
                None => departures.push(format!("answer: status {status} is not described")),
                Some(response) => match response["schema"]["$ref"].as_str().and_then(|at| at.rsplit('/').next()) {
                    Some(schema) => {
                        departures.extend(self.check(schema, &entry.answer).map(|why| format!("answer: {why}")))
                    }
                    None if entry.answer.is_empty() => {}
                    None => departures.push("answer: a body where none is described".to_owned()),
                },
            }
        }
        departures
    }

    fn operation(&self, entry: &Entry) -> Option<&Value> {
        let path: Vec<&str> = entry.path_only().trim_end_matches('/').split('/').collect();
        let mut best: Option<(usize, &Value)> = None;
        for (template, methods) in self.document["paths"].as_object()? {
            let Some(operation) = methods.get(entry.method.to_lowercase()) else { continue };
            let mut segments: Vec<&str> = template.split('/').collect();
            // The version may be left out: the latest is meant.
            if segments.last() == Some(&"{secret-version}") && path.len() + 1 == segments.len() {
                segments.pop();
            }
            let literal = segments.iter().filter(|segment| !segment.starts_with('{')).count();
            let fits = segments.len() == path.len()
                && segments.iter().zip(&path).all(|(segment, given)| segment.starts_with('{') || segment == given);
            if fits && best.is_none_or(|(most, _)| literal > most) {
                best = Some((literal, operation));
            }
        }
        best.map(|(_, operation)| operation)
    }

    fn check(&self, schema: &str, body: &[u8]) -> Option<String> {
        let schema = json!({
            "$ref": format!("#/definitions/{schema}"),
            "definitions": self.document["definitions"],
        });
        let Ok(validator) = jsonschema::draft4::new(&schema) else {
            return Some("the description is unusable".to_owned());
        };
        match serde_json::from_slice::<Value>(body) {
            Err(_) => Some("not JSON".to_owned()),
            // The value of a secret is not shown: only where it departs.
            Ok(value) => {
                validator.iter_errors(&value).next().map(|error| format!("departs at `{}`", error.schema_path()))
            }
        }
    }
}
