//! The settings of a function: the only place that reads the environment.
//!
//! A value `ssm:/name` stands for the SSM parameter of that name; all of them are read in one batched call at init, so
//! a secret never lies in a function's plain configuration. A setting whose parameter does not exist is not set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::aws::Service;
use crate::domain::secrets::MasterKey;

/// The one call of SSM there is. Its crate of the SDK describes each of the service's hundred and forty errors in
/// statics, which the loader relocates at every start of every function: a third of all there is to relocate.
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetParameters<'a> {
    names: &'a [String],
    with_decryption: bool,
}

/// What SSM knows of the names; those it does not know are absent.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameters {
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

/// `GetParameters` takes at most ten names a call.
const PARAMETERS_PER_CALL: usize = 10;
const SSM_PREFIX: &str = "ssm:";

/// Why the settings cannot be used; the message names the variable and what it should hold.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable without a default is not set.
    #[error("`{name}` is not set: {hint}")]
    Missing {
        /// The variable.
        name: String,
        /// What it should hold.
        hint: &'static str,
    },
    /// A variable holds something that cannot be used. The value is not shown: it may be a secret.
    #[error("`{name}` cannot be used: {hint}")]
    Invalid {
        /// The variable.
        name: String,
        /// What it should hold.
        hint: &'static str,
    },
    /// The parameter store did not answer, or refused.
    #[error("the SSM parameters behind {names} could not be read: {reason}")]
    Parameters {
        /// The variables concerned.
        names: String,
        /// The parameter store's error code.
        reason: String,
    },
}

/// The settings a function was started with, with every `ssm:` value resolved.
#[derive(Clone)]
pub struct Env {
    values: BTreeMap<String, SecretString>,
    asked: Option<Arc<Mutex<BTreeSet<String>>>>,
}

impl Env {
    /// Reads the process environment and resolves all `ssm:` values in one call for every ten of them.
    ///
    /// # Errors
    /// [`ConfigError::Parameters`] when the parameter store fails.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub async fn load() -> Result<Self, ConfigError> {
        Self::from_pairs(std::env::vars()).resolve().await
    }

    /// Settings from pairs instead of the process environment, for tests and the local world.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), SecretString::from(value.into()))).collect();
        Self { values, asked: None }
    }

    /// These settings, keeping the names of those that are asked for: a test compares them with the template.
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.asked = Some(Arc::default());
        self
    }

    /// The names asked for since [`Env::recording`].
    pub fn asked(&self) -> BTreeSet<String> {
        let names = |asked: &Arc<Mutex<BTreeSet<String>>>| asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.asked.as_ref().map(names).unwrap_or_default()
    }

    /// These settings with one of them set anew.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.insert(name.to_owned(), SecretString::from(value.into()));
        self
    }

    /// These settings without one of them.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.values.remove(name);
        self
    }

    /// Settings out of a file of `NAME=value` lines, for tools; lines without a name are passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_file(path: &std::path::Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let pairs = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.starts_with('#'));
        Ok(Self::from_pairs(pairs.map(|(name, value)| (name.trim(), value))))
    }

    /// A setting without a default.
    ///
    /// # Errors
    /// [`ConfigError::Missing`], whose message carries `hint`: what the setting should hold.
    pub fn required(&self, name: &str, hint: &'static str) -> Result<&str, ConfigError> {
        self.optional(name).ok_or_else(|| ConfigError::Missing { name: name.to_owned(), hint })
    }

    /// A setting that may be absent; an empty value counts as absent.
    pub fn optional(&self, name: &str) -> Option<&str> {
        use secrecy::ExposeSecret as _;
        if let Some(asked) = &self.asked {
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        }
        self.values.get(name).map(SecretString::expose_secret).map(str::trim).filter(|value| !value.is_empty())
    }

    /// A secret without a default.
    ///
    /// # Errors
    /// [`ConfigError::Missing`], whose message carries `hint`: what the setting should hold.
    pub fn secret(&self, name: &str, hint: &'static str) -> Result<SecretString, ConfigError> {
        self.required(name, hint).map(SecretString::from)
    }

    /// A secret that may be absent.
    pub fn optional_secret(&self, name: &str) -> Option<SecretString> {
        self.optional(name).map(SecretString::from)
    }

    /// A key of at least 32 bytes that other secrets are derived from.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not set, or shorter.
    pub fn master_key(&self, name: &str) -> Result<MasterKey, ConfigError> {
        const HINT: &str = "at least 32 bytes of a key made from random bits";
        let key = self.secret(name, HINT)?;
        MasterKey::new(&key).map_err(|_| ConfigError::Invalid { name: name.to_owned(), hint: HINT })
    }

    /// The address of a service, without a trailing slash: the setting, or the vendor's own.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when the setting is not an absolute http(s) address.
    pub fn url(&self, name: &str, default: &str) -> Result<String, ConfigError> {
        address(self.optional(name).unwrap_or(default)).ok_or_else(|| ConfigError::Invalid {
            name: name.to_owned(),
            hint: "an address such as https://api.example.com",
        })
    }

    /// The addresses of several services, separated by commas, each without a trailing slash; at least one.
    ///
    /// # Errors
    /// [`ConfigError`] when there is none, or one is not an absolute http(s) address.
    pub fn urls(&self, name: &str, hint: &'static str) -> Result<Vec<String>, ConfigError> {
        let addresses = self.required(name, hint)?.split(',').map(|text| address(text.trim()));
        addresses.collect::<Option<_>>().ok_or_else(|| ConfigError::Invalid { name: name.to_owned(), hint })
    }

    /// A whole number with a default and bounds (inclusive).
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when the setting is not a number within the bounds.
    pub fn number(&self, name: &str, default: u32, bounds: std::ops::RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| ConfigError::Invalid {
            name: name.to_owned(),
            hint: "a whole number within the bounds README gives",
        })
    }

    /// These settings with every `ssm:` value resolved, in one call for every ten of them.
    ///
    /// Whoever cannot do without one whose parameter does not exist fails by its name; whoever can has an answer for
    /// when it is not set.
    ///
    /// # Errors
    /// [`ConfigError::Parameters`] when the parameter store fails.
    pub async fn resolve(mut self) -> Result<Self, ConfigError> {
        let wanted: Vec<(String, String)> = self
            .values
            .keys()
            .filter_map(|name| Some((name.clone(), self.optional(name)?.strip_prefix(SSM_PREFIX)?.to_owned())))
            .collect();
        if wanted.is_empty() {
            return Ok(self);
        }
        let found = self.parameters(&wanted).await?;
        for (name, parameter) in wanted {
            if let Some(value) = found.get(&parameter) {
                self.values.insert(name, value.clone());
            } else {
                tracing::error!(code = "parameter_missing", setting = name, "counts as not set");
                self.values.remove(&name);
            }
        }
        Ok(self)
    }

    async fn parameters(&self, wanted: &[(String, String)]) -> Result<BTreeMap<String, SecretString>, ConfigError> {
        let names = || wanted.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let failed = |reason: String| ConfigError::Parameters { names: names(), reason };
        let service = Service::new(self, "ssm")?;
        let mut parameters: Vec<String> = wanted.iter().map(|(_, parameter)| parameter.clone()).collect();
        parameters.sort();
        parameters.dedup();
        let mut found = BTreeMap::new();
        for batch in parameters.chunks(PARAMETERS_PER_CALL) {
            let request = GetParameters { names: batch, with_decryption: true };
            let answer: Parameters = service.call("AmazonSSM.GetParameters", &request).await.map_err(failed)?;
            let known = answer.parameters.into_iter().map(|known| (known.name, SecretString::from(known.value)));
            found.extend(known);
        }
        Ok(found)
    }
}

/// An absolute http(s) address, without a trailing slash.
fn address(text: &str) -> Option<String> {
    let text = text.trim_end_matches('/');
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_setting_is_named_with_what_it_should_hold() {
        let env = Env::from_pairs([("A", " "), ("B", "x")]);
        let error = env.required("A", "the name of the table").expect_err("blank counts as absent");
        assert_eq!(error.to_string(), "`A` is not set: the name of the table");
        assert_eq!(env.required("B", "").expect("set"), "x");
    }

    #[test]
    fn an_address_is_absolute_and_loses_its_trailing_slash() {
        let env = Env::from_pairs([("A", "https://example.com/"), ("B", "example.com"), ("C", "ftp://example.com")]);
        assert_eq!(env.url("A", "").expect("valid"), "https://example.com");
        assert_eq!(env.url("Z", "https://vendor.example").expect("default"), "https://vendor.example");
        assert!(env.url("B", "").is_err() && env.url("C", "").is_err());
        let env = Env::from_pairs([("D", "https://a.example/, https://b.example"), ("E", "https://a.example,")]);
        assert_eq!(env.urls("D", "").expect("valid"), ["https://a.example", "https://b.example"]);
        assert!(env.urls("E", "").is_err() && env.urls("Z", "").is_err());
    }

    #[test]
    fn a_number_keeps_its_bounds() {
        let env = Env::from_pairs([("A", "0"), ("B", "30")]);
        assert!(env.number("A", 1, 1..=100).is_err());
        assert_eq!(env.number("B", 1, 1..=100).expect("in bounds"), 30);
        assert_eq!(env.number("C", 7, 1..=100).expect("default"), 7);
    }
}
