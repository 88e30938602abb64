//! The settings of a function, and the only place that reads the environment.
//!
//! A value `ssm:/name` stands for an SSM parameter; [`Env::load`] in `parameters.rs` replaces it with the parameter's
//! value when the function starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use url::Url;

use crate::domain::key_list::SecretKeys;
use crate::domain::secrets::{IdentityKey, WebhookSecrets};

/// Why the settings cannot be used. The message names the variable and what it should hold.
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
    /// A variable holds a value that cannot be used. The value is not shown: it may be a secret.
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
        /// The variables whose values are SSM parameters.
        names: String,
        /// The parameter store's error code.
        reason: String,
    },
}

impl ConfigError {
    /// That the setting `name` holds something that cannot be used; `hint` says what it should hold.
    pub fn invalid(name: &str, hint: &'static str) -> Self {
        Self::Invalid { name: name.to_owned(), hint }
    }
}

/// The settings of a function by name.
#[derive(Clone)]
pub struct Env {
    values: BTreeMap<String, SecretString>,
    names_read: Option<Arc<Mutex<BTreeSet<String>>>>,
}

impl Env {
    /// The settings of the process environment, with `ssm:` values as they are; [`Env::load`] replaces those.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_process() -> Self {
        Self::from_pairs(std::env::vars())
    }

    /// Settings from pairs of name and value, for tests and the local world.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), SecretString::from(value.into()))).collect();
        Self { values, names_read: None }
    }

    /// Records the names of the settings that are read from now on; a test compares them with the template.
    #[must_use]
    pub fn record_reads(mut self) -> Self {
        self.names_read = Some(Arc::default());
        self
    }

    /// The names of the settings that were read since [`Env::record_reads`].
    pub fn names_read(&self) -> BTreeSet<String> {
        let names = |read: &Arc<Mutex<BTreeSet<String>>>| read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.names_read.as_ref().map(names).unwrap_or_default()
    }

    /// Sets one of the settings.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.insert(name.to_owned(), SecretString::from(value.into()));
        self
    }

    /// Removes one of the settings.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.values.remove(name);
        self
    }

    /// Settings from a file of `NAME=value` lines, for tools. Lines without `=` and lines that begin with `#` are
    /// ignored.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_file(path: &std::path::Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let pairs = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.starts_with('#'));
        Ok(Self::from_pairs(pairs.map(|(name, value)| (name.trim(), value))))
    }

    /// The settings whose value begins with `prefix`: each one's name, and what follows the prefix.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        let suffix = |name: &String| Some((name.clone(), self.optional(name)?.strip_prefix(prefix)?.to_owned()));
        self.values.keys().filter_map(suffix).collect()
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
        if let Some(names_read) = &self.names_read {
            names_read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
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

    /// A key of at least 32 bytes that ids and names are derived from.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not set, or shorter.
    pub fn identity_key(&self, name: &str) -> Result<IdentityKey, ConfigError> {
        const HINT: &str = "at least 32 bytes of a key made from random bits";
        let key = self.secret(name, HINT)?;
        IdentityKey::new(&key).map_err(|_| ConfigError::invalid(name, HINT))
    }

    /// A list of keys with their ids, the newest first.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not set, or says what is wrong with it.
    pub fn secret_keys(&self, name: &str) -> Result<SecretKeys, ConfigError> {
        let list =
            self.secret(name, "`id:key,id:key`, the newest first, each key of at least 32 random bytes as text")?;
        SecretKeys::parse(&list).map_err(|error| ConfigError::invalid(name, error.hint()))
    }

    /// The secrets with which Telegram may call the webhook; `None` when there are none yet.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when one of them is no such secret.
    pub fn webhook_secrets(&self, name: &str) -> Result<Option<WebhookSecrets>, ConfigError> {
        let read = |list| WebhookSecrets::parse(&list).ok_or_else(|| ConfigError::invalid(name, WebhookSecrets::HINT));
        self.optional_secret(name).map(read).transpose()
    }

    /// The address of a service without a trailing slash: the setting, or else `default`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when the setting is not an absolute http(s) address.
    pub fn url(&self, name: &str, default: &str) -> Result<String, ConfigError> {
        parse_address(self.optional(name).unwrap_or(default))
            .ok_or_else(|| ConfigError::invalid(name, "an address such as https://api.example.com"))
    }

    /// The addresses of several services, separated by commas, each without a trailing slash; at least one.
    ///
    /// # Errors
    /// [`ConfigError`] when there is none, or one is not an absolute http(s) address.
    pub fn urls(&self, name: &str, hint: &'static str) -> Result<Vec<String>, ConfigError> {
        let addresses = self.required(name, hint)?.split(',').map(|text| parse_address(text.trim()));
        addresses.collect::<Option<_>>().ok_or_else(|| ConfigError::invalid(name, hint))
    }

    /// A whole number with a default and bounds (inclusive).
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when the setting is not a number within the bounds.
    pub fn number(&self, name: &str, default: u32, bounds: std::ops::RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        text.parse()
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| ConfigError::invalid(name, "a whole number within the bounds README gives"))
    }
}

/// An absolute http(s) address, without a trailing slash.
fn parse_address(text: &str) -> Option<String> {
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
    fn what_is_wrong_with_a_list_of_keys_is_said_without_any_of_it() {
        let key = "secret-".repeat(5);
        let wrong = [format!("k1:{key},k1:{key}"), key.clone(), "k1:secret-".to_owned(), vec![key; 6].join(",")];
        for list in wrong {
            let error = Env::from_pairs([("KEYS", &list)]).secret_keys("KEYS").expect_err("refused").to_string();
            assert!(error.starts_with("`KEYS` cannot be used: ") && !error.contains("secret-"), "{error}");
        }
        let unset = Env::from_pairs([("KEYS", " ")]);
        assert!(
            unset.secret_keys("KEYS").err().is_some_and(|error| error.to_string().starts_with("`KEYS` is not set"))
        );
        let env = Env::from_pairs([("SECRETS", "new,old"), ("WRONG", "secret-,two words")]);
        assert!(env.webhook_secrets("SECRETS").expect("a list").is_some_and(|secrets| secrets.accept("old")));
        assert!(env.webhook_secrets("UNSET").expect("none yet").is_none());
        let error = env.webhook_secrets("WRONG").expect_err("refused").to_string();
        assert!(error.starts_with("`WRONG` cannot be used: ") && !error.contains("secret-"), "{error}");
    }

    #[test]
    fn a_number_keeps_its_bounds() {
        let env = Env::from_pairs([("A", "0"), ("B", "30")]);
        assert!(env.number("A", 1, 1..=100).is_err());
        assert_eq!(env.number("B", 1, 1..=100).expect("in bounds"), 30);
        assert_eq!(env.number("C", 7, 1..=100).expect("default"), 7);
    }
}
