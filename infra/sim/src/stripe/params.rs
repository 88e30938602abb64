//! The parameters of a call, and what Stripe says when they are not as they should be.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::api::Refused;
use super::form;
use super::state::Metadata;

/// The parameters of one call.
#[derive(Debug)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    /// Reads a form or a query that may hold `known` and nothing else.
    pub(super) fn read(text: &str, known: &[&str]) -> Result<Self, Refused> {
        let Some(Value::Object(params)) = form::decode(text) else {
            return Err(Refused::invalid("Invalid request: the parameters cannot be read", None));
        };
        match params.keys().find(|name| *name != "expand" && !known.contains(&name.as_str())) {
            Some(unknown) => {
                let refused = Refused::invalid(format!("Received unknown parameter: {unknown}"), Some(unknown));
                Err(refused.with_code("parameter_unknown"))
            }
            None => Ok(Self(params)),
        }
    }

    /// A text, or what is at a path such as `consent_collection/terms_of_service`.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        let mut steps = path.split('/');
        let mut value = self.0.get(steps.next()?)?;
        for step in steps {
            value = value.get(step)?;
        }
        value.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Refused> {
        self.text(name).ok_or_else(|| {
            let refused = Refused::invalid(format!("Missing required param: {name}."), Some(name));
            refused.with_code("parameter_missing")
        })
    }

    /// One of `choices`.
    pub(super) fn choice(&self, path: &str, choices: &[&str]) -> Result<Option<&str>, Refused> {
        match self.text(path) {
            Some(text) if !choices.contains(&text) => {
                let message = format!("Invalid {path}: must be one of {}", choices.join(", "));
                Err(Refused::invalid(message, Some(path)))
            }
            known => Ok(known),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        Ok(self.choice(name, &["true", "false"])?.map(|text| text == "true"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refused> {
        let invalid = |_| Refused::invalid(format!("Invalid integer: {name}"), Some(name));
        self.text(name).map(|text| text.parse().map_err(invalid)).transpose()
    }

    pub(super) fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The metadata at `path`, if it is there. <https://docs.stripe.com/api/metadata>
    pub(super) fn metadata(&self, path: &[&str]) -> Result<Option<Metadata>, Refused> {
        let mut value = self.0.get(path[0]);
        for step in &path[1..] {
            value = value.and_then(|value| value.get(step));
        }
        let Some(fields) = value.and_then(Value::as_object) else { return Ok(None) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        if metadata.len() > 50 || metadata.iter().any(|(name, value)| name.len() > 40 || value.len() > 500) {
            return Err(Refused::invalid("Metadata has at most 50 keys of 40, with values of 500 characters", None));
        }
        Ok(Some(metadata))
    }

    pub(super) fn expand(&self) -> Vec<String> {
        self.list("expand").iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}
