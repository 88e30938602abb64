//! The hosted model gateway, OpenRouter: the keys with which tenants' assistants call models.
//! <https://openrouter.ai/docs/guides/overview/auth/management-api-keys>
//!
//! The management key used here makes, changes and ends keys, and cannot call a model itself. There is no idempotency
//! key: a name says whose key it is and of which generation, and whoever makes one looks for its name before. A key
//! is told once, so one whose answer was lost is deleted and made anew.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use super::wire::{self, Answer, is_a_code};
use crate::clock::Timestamp;
use crate::config::{ConfigError, Env};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A page of 100 keys is about 80 KB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How often a list that changes while it is read is begun again.
const READINGS: u32 = 3;

/// Limits are counted from the first of a month, UTC.
const MONTHLY: &str = "monthly";

/// The gateway's key management.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    management_key: SecretString,
}

/// A key just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The credential for calling models. No later answer repeats it.
    pub key: SecretString,
    /// Its identifier.
    pub hash: String,
}

/// What the gateway tells of a key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Key {
    /// Its identifier: cannot be turned back into the credential.
    pub hash: String,
    /// As given when it was made.
    pub name: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// What it may cost in a period, in USD cents; `None` is no limit at all.
    #[serde(rename = "limit", deserialize_with = "cents")]
    pub limit_cents: Option<u32>,
    /// How often the limit begins anew, such as `monthly`; `None` is never.
    pub limit_reset: Option<String>,
    /// What it cost since the first of this month (UTC), in USD cents, rounded.
    #[serde(rename = "usage_monthly", deserialize_with = "cents")]
    pub used_cents: Option<u32>,
    /// RFC 3339.
    pub created_at: String,
}

/// What to change of a key; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether it is switched off.
    pub disabled: Option<bool>,
    /// What it may cost a month, in USD cents.
    pub limit_cents: Option<u32>,
}

/// The fields of a request, as the gateway spells them; `limit` is in USD.
#[derive(Debug, Default, Serialize)]
struct Wire<'a> {
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
    /// The key management at `MODEL_GATEWAY_URL` (OpenRouter's own unless set), opened with
    /// `MODEL_GATEWAY_MANAGEMENT_KEY`.
    ///
    /// # Errors
    /// [`ConfigError`] when the key is not set or the address is none.
    pub fn from_env(env: &Env, http: reqwest::Client) -> Result<Self, ConfigError> {
        let base = wire::base(env, "MODEL_GATEWAY_URL", "https://openrouter.ai/api/v1")?;
        let management_key =
            env.secret("MODEL_GATEWAY_MANAGEMENT_KEY", "a management key of the model gateway's account")?;
        Ok(Self { http, base, management_key })
    }

    /// Makes a key that may cost `limit_cents` (USD) a month.
    ///
    /// # Errors
    /// After a retryable one it is unknown whether a key was made: look with [`Self::find_since`], and delete what is
    /// there.
    pub async fn create(&self, name: &str, limit_cents: u32) -> Result<NewKey, Error> {
        let body = Wire { name: Some(name), ..Wire::limited_to(limit_cents) };
        let Created { key, data } = read(self.send(self.http.post(self.url(&[])), Some(&body)).await?)?;
        Ok(NewKey { key: key.into(), hash: data.hash })
    }

    /// All keys whose name `is_wanted`, disabled ones included, made at `since` or later.
    ///
    /// The gateway cannot search: this reads its list, 100 keys a request, the youngest first, as far back as that.
    ///
    /// # Errors
    /// The list could not be read so far: nothing is known then.
    pub async fn find_since(&self, is_wanted: impl Fn(&str) -> bool, since: Timestamp) -> Result<Vec<Key>, Error> {
        for _ in 0..READINGS {
            if let Some(keys) = self.read_list(&is_wanted, since).await? {
                return Ok(keys);
            }
        }
        Err(Error::Malformed { reason: "the list of keys changed while it was read".to_owned() })
    }

    /// What the gateway holds of a key.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub async fn get(&self, hash: &str) -> Result<Key, Error> {
        one(self.send(self.http.get(self.url(&[hash])), None).await?)
    }

    /// Changes a key and returns what it became. Repeating it is harmless.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub async fn update(&self, hash: &str, change: Change) -> Result<Key, Error> {
        let limits = change.limit_cents.map(Wire::limited_to).unwrap_or_default();
        let body = Wire { disabled: change.disabled, ..limits };
        one(self.send(self.http.patch(self.url(&[hash])), Some(&body)).await?)
    }

    /// Ends a key for good; done as well when there is none.
    ///
    /// # Errors
    /// The gateway cannot serve now, or refuses us.
    pub async fn delete(&self, hash: &str) -> Result<(), Error> {
        match self.send(self.http.delete(self.url(&[hash])), None).await {
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One reading of the list; `None` when keys left it meanwhile, so that one may have slipped past unseen.
    ///
    /// Each page begins with the last key of the page before. If it begins with a key not yet seen, the list moved up.
    async fn read_list(&self, is_wanted: impl Fn(&str) -> bool, since: Timestamp) -> Result<Option<Vec<Key>>, Error> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let mut url = self.url(&[]);
            url.query_pairs_mut()
                .append_pair("include_disabled", "true")
                .append_pair("include_expired", "true")
                .append_pair("offset", &seen.len().saturating_sub(1).to_string());
            let Data { data: page } = read::<Data<Vec<Key>>>(self.send(self.http.get(url), None).await?)?;
            if !seen.is_empty() && page.first().is_none_or(|first| !seen.contains(&first.hash)) {
                return Ok(None);
            }
            let is_older = |key: &Key| Timestamp::parse_rfc3339(&key.created_at).is_some_and(|made| made < since);
            let reaches_back = page.last().is_some_and(is_older);
            let fresh: Vec<Key> = page.into_iter().filter(|key| seen.insert(key.hash.clone())).collect();
            // What we see twice has moved down: something was added, and nothing was missed.
            let is_end = fresh.is_empty() || reaches_back;
            found.extend(fresh.into_iter().filter(|key| is_wanted(&key.name)));
            if is_end {
                return Ok(Some(found));
            }
        }
    }

    fn url(&self, below: &[&str]) -> Url {
        wire::url(&self.base, &[&["keys"], below].concat())
    }

    async fn send(&self, request: RequestBuilder, body: Option<&Wire<'_>>) -> Result<Answer, Error> {
        let mut request = request.bearer_auth(self.management_key.expose_secret()).timeout(TIMEOUT);
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|_| malformed("not a request"))?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let answer = wire::receive(request, MAX_ANSWER_BYTES).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => Err(Error::Unauthorized),
            StatusCode::NOT_FOUND => Err(Error::NotFound),
            status => Err(Error::Refused { status: status.as_u16(), reason: reason(&answer.body) }),
        }
    }
}

impl Wire<'_> {
    fn limited_to(cents: u32) -> Self {
        Self { limit: Some(f64::from(cents) / 100.0), limit_reset: Some(MONTHLY), ..Self::default() }
    }
}

fn one(answer: Answer) -> Result<Key, Error> {
    read::<Data<Key>>(answer).map(|Data { data }| data)
}

fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, Error> {
    // The parser's own message would quote the answer, which may hold a key.
    serde_json::from_slice(&answer.body).map_err(|_| malformed("not an answer about keys"))
}

fn malformed(reason: &str) -> Error {
    Error::Malformed { reason: reason.to_owned() }
}

/// The gateway's stable name of an error. <https://openrouter.ai/docs/api_reference/errors>
fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = body["error"]["metadata"]["error_type"].as_str();
    code.filter(|code| is_a_code(code)).unwrap_or_default().to_owned()
}

/// An amount of USD as cents; an amount beyond any limit of ours counts as the largest.
fn cents<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
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
            let limit = serde_json::to_value(Wire::limited_to(cents)).expect("JSON")["limit"].clone();
            assert_eq!(super::cents(limit).expect("a number"), Some(cents));
        }
        assert_eq!(super::cents(Value::Null).expect("no limit"), None);
    }

    #[test]
    fn what_is_not_changed_is_not_sent() {
        let disabled = Wire { disabled: Some(true), ..Wire::default() };
        assert_eq!(serde_json::to_string(&disabled).expect("JSON"), r#"{"disabled":true}"#);
    }
}
