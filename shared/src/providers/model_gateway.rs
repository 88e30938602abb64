//! The hosted model gateway, OpenRouter: the keys with which tenants' assistants call models.
//! <https://openrouter.ai/docs/guides/overview/auth/management-api-keys>
//!
//! The management key that is used here creates, changes and deletes keys, and cannot call a model itself. The gateway
//! has no idempotency keys: the name of a key has the tenant and the generation, and is looked up before a key is
//! created. A key is returned once, so one whose answer was lost is deleted and created again.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use super::http::{self, Answer};
use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A page of 100 keys is about 80 KB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How often a list is read from its start because keys were deleted while it was read.
const MAX_READS: u32 = 3;

/// The period of limits; it starts on the first of a month, UTC.
const MONTHLY: &str = "monthly";

/// The client of the gateway's key management.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    management_key: SecretString,
}

/// A key that [`Client::create_key`] made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The credential for calling models. No later answer has it.
    pub key: SecretString,
    /// The gateway's id of the key.
    pub hash: String,
}

/// A key, without its credential.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Key {
    /// The gateway's id of the key, from which the credential cannot be derived.
    pub hash: String,
    /// The name that it was created with.
    pub name: String,
    /// Whether the gateway refuses calls with it.
    pub disabled: bool,
    /// The limit of its costs in a period, in USD cents; `None` means no limit.
    #[serde(rename = "limit", deserialize_with = "deserialize_cents")]
    pub limit_cents: Option<u32>,
    /// The period of the limit, such as `monthly`; `None` means that the limit is for all time.
    pub limit_reset: Option<String>,
    /// Its costs since the first of this month (UTC), in USD cents, rounded.
    #[serde(rename = "usage_monthly", deserialize_with = "deserialize_cents")]
    pub used_cents: Option<u32>,
    /// When it was created, RFC 3339.
    pub created_at: String,
}

/// A change to a key; a field that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Whether the gateway refuses calls with it.
    pub disabled: Option<bool>,
    /// The limit of its monthly costs, in USD cents.
    pub limit_cents: Option<u32>,
}

/// The body of a request, as the gateway spells its fields; `limit` is in USD.
#[derive(Debug, Default, Serialize)]
struct KeyRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_reset: Option<&'static str>,
}

#[derive(Deserialize)]
struct Created {
    key: String,
    data: Key,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

impl Client {
    /// A client for `MODEL_GATEWAY_URL` (OpenRouter's own unless set) with `MODEL_GATEWAY_MANAGEMENT_KEY`.
    ///
    /// # Errors
    /// [`ConfigError`] when the key is not set or the address is not one.
    pub fn from_env(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        let base = http::base_url(env, "MODEL_GATEWAY_URL", "https://openrouter.ai/api/v1")?;
        let management_key =
            env.secret("MODEL_GATEWAY_MANAGEMENT_KEY", "a management key of the model gateway's account")?;
        Ok(Self { http, base, management_key })
    }

    /// Creates a key with a monthly limit of `limit_cents` (USD).
    ///
    /// # Errors
    /// After a retryable one it is unknown whether a key was created: look for it with [`Self::find_keys_since`], and
    /// delete it.
    pub async fn create_key(&self, name: &str, limit_cents: u32) -> Result<NewKey, Error> {
        let body = KeyRequest { name: Some(name), ..KeyRequest::with_limit(limit_cents) };
        let Created { key, data } = parse(self.send(self.http.post(self.url(&[])), Some(&body)).await?)?;
        Ok(NewKey { key: key.into(), hash: data.hash })
    }

    /// Finds all keys whose name `is_wanted`, also disabled ones, that were created at `since` or later.
    ///
    /// The gateway cannot search: this reads its list, 100 keys a request, the newest first, back to `since`.
    ///
    /// # Errors
    /// The list could not be read back to `since`.
    pub async fn find_keys_since(&self, is_wanted: impl Fn(&str) -> bool, since: Timestamp) -> Result<Vec<Key>, Error> {
        for _ in 0..MAX_READS {
            if let Some(keys) = self.read_list(&is_wanted, since).await? {
                return Ok(keys);
            }
        }
        Err(Error::malformed("the list of keys changed while it was read"))
    }

    /// Lists at most 100 keys after the first `offset` ones, also disabled ones, the newest first; none after the end.
    /// A key that is made meanwhile moves the others down, and one that is deleted moves those after it up.
    ///
    /// # Errors
    /// The gateway cannot serve now, or refuses our management key.
    pub async fn list_keys(&self, offset: usize) -> Result<Vec<Key>, Error> {
        let mut url = self.url(&[]);
        url.query_pairs_mut()
            .append_pair("include_disabled", "true")
            .append_pair("include_expired", "true")
            .append_pair("offset", &offset.to_string());
        Ok(parse::<Data<Vec<Key>>>(self.send(self.http.get(url), None).await?)?.data)
    }

    /// Fetches a key.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub async fn get_key(&self, hash: &str) -> Result<Key, Error> {
        parse_key(self.send(self.http.get(self.url(&[hash])), None).await?)
    }

    /// Changes a key and returns it. The call is idempotent.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub async fn update_key(&self, hash: &str, change: KeyChange) -> Result<Key, Error> {
        let limits = change.limit_cents.map(KeyRequest::with_limit).unwrap_or_default();
        let body = KeyRequest { disabled: change.disabled, ..limits };
        parse_key(self.send(self.http.patch(self.url(&[hash])), Some(&body)).await?)
    }

    /// Deletes a key; returns whether there was one. A gateway whose view is behind knows no key that is new.
    ///
    /// # Errors
    /// The gateway cannot serve now, or refuses our management key.
    pub async fn delete_key(&self, hash: &str) -> Result<bool, Error> {
        match self.send(self.http.delete(self.url(&[hash])), None).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the list once; `None` when keys were deleted meanwhile, so that one may have been missed.
    ///
    /// Each page starts with the last key of the page before. If it starts with a key not yet seen, the list moved up.
    async fn read_list(&self, is_wanted: impl Fn(&str) -> bool, since: Timestamp) -> Result<Option<Vec<Key>>, Error> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let page = self.list_keys(seen.len().saturating_sub(1)).await?;
            if !seen.is_empty() && page.first().is_none_or(|first| !seen.contains(&first.hash)) {
                return Ok(None);
            }
            let is_older = |key: &Key| Timestamp::parse_rfc3339(&key.created_at).is_some_and(|made| made < since);
            let reaches_back = page.last().is_some_and(is_older);
            let new: Vec<Key> = page.into_iter().filter(|key| seen.insert(key.hash.clone())).collect();
            // A page without a new key is the end. Keys seen twice moved down because one was added, and none was
            // missed.
            let is_end = new.is_empty() || reaches_back;
            found.extend(new.into_iter().filter(|key| is_wanted(&key.name)));
            if is_end {
                return Ok(Some(found));
            }
        }
    }

    fn url(&self, below: &[&str]) -> Url {
        http::join(&self.base, &[&["keys"], below].concat())
    }

    async fn send(&self, request: RequestBuilder, body: Option<&KeyRequest<'_>>) -> Result<Answer, Error> {
        let mut request = request.bearer_auth(self.management_key.expose_secret()).timeout(TIMEOUT);
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|_| Error::malformed("not a request"))?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        http::receive(request, MAX_ANSWER_BYTES).await?.into_success(parse_error_type)
    }
}

impl KeyRequest<'_> {
    fn with_limit(cents: u32) -> Self {
        Self { limit: Some(f64::from(cents) / 100.0), limit_reset: Some(MONTHLY), ..Self::default() }
    }
}

fn parse_key(answer: Answer) -> Result<Key, Error> {
    parse::<Data<Key>>(answer).map(|Data { data }| data)
}

fn parse<T: DeserializeOwned>(answer: Answer) -> Result<T, Error> {
    // The parser's own message would quote the answer, which may hold a key.
    serde_json::from_slice(&answer.body).map_err(|_| Error::malformed("not an answer about keys"))
}

/// The gateway's stable name of an error. <https://openrouter.ai/docs/api_reference/errors>
fn parse_error_type(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    http::loggable_code(body["error"]["metadata"]["error_type"].as_str())
}

/// An amount of USD as cents; an amount beyond any limit of ours counts as the largest.
fn deserialize_cents<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and NaN becomes 0")]
    let cents = |usd: f64| (usd * 100.0).round() as u32;
    Ok(Option::<f64>::deserialize(deserializer)?.map(cents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_survive_being_dollars() {
        for cents in [0, 1, 29, 1_999, 2_000, 123_456_789] {
            let limit = serde_json::to_value(KeyRequest::with_limit(cents)).expect("JSON")["limit"].clone();
            assert_eq!(deserialize_cents(limit).expect("a number"), Some(cents));
        }
        assert_eq!(deserialize_cents(Value::Null).expect("no limit"), None);
    }

    #[test]
    fn what_is_not_changed_is_not_sent() {
        let disabled = KeyRequest { disabled: Some(true), ..KeyRequest::default() };
        assert_eq!(serde_json::to_string(&disabled).expect("JSON"), r#"{"disabled":true}"#);
    }
}
