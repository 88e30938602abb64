//! Stripe: who pays for what. <https://docs.stripe.com/api>
//!
//! Answers and events are read leniently, only the fields we use, so that a new version of the API never turns a
//! genuine event into an error.

mod checkout;
mod event;
mod signature;
mod word;

use std::fmt::Debug;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::Error;
use super::wire::{self, is_a_code};
use crate::config::{ConfigError, Env};
use crate::domain::subscription::Tier;

pub use checkout::{Session, TIER};
pub use event::{Event, Kind};
pub use signature::{Signatures, TOLERANCE, Unverified};
pub use word::Word;

/// The version of the API that our calls name. <https://docs.stripe.com/api/versioning>
const API_VERSION: &str = "2026-10-28.endive";
const VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY: HeaderName = HeaderName::from_static("idempotency-key");

const TIMEOUT: Duration = Duration::from_secs(8);

/// A page of 100 subscriptions is about 400 KB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Stripe's API, opened with the account's secret key.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: SecretString,
    prices: Prices,
}

/// What each tier costs, as Stripe knows it.
#[derive(Clone, Debug)]
struct Prices {
    basic: String,
    plus: String,
}

/// An object that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its identifier.
    pub id: String,
    /// The page where a person goes on, for objects that have one.
    pub url: Option<String>,
}

impl Client {
    /// Stripe's API at `STRIPE_API_URL` (its own unless set), with `STRIPE_SECRET_KEY`, `STRIPE_PRICE_BASIC` and
    /// `STRIPE_PRICE_PLUS`; `None` while one of the three is not set.
    ///
    /// # Errors
    /// [`ConfigError`] when the address is none.
    pub fn from_env(env: &Env, http: reqwest::Client) -> Result<Option<Self>, ConfigError> {
        let base = wire::base(env, "STRIPE_API_URL", "https://api.stripe.com")?;
        let key = env.optional_secret("STRIPE_SECRET_KEY");
        let (basic, plus) = (env.optional("STRIPE_PRICE_BASIC"), env.optional("STRIPE_PRICE_PLUS"));
        let (Some(key), Some(basic), Some(plus)) = (key, basic, plus) else { return Ok(None) };
        let prices = Prices { basic: basic.to_owned(), plus: plus.to_owned() };
        Ok(Some(Self { http, base, key, prices }))
    }

    /// The price of a tier.
    pub fn price(&self, tier: Tier) -> &str {
        match tier {
            Tier::Basic => &self.prices.basic,
            Tier::Plus => &self.prices.plus,
        }
    }

    /// Makes an object: `path` is below `/v1`, `form` its parameters as Stripe encodes them. The same key with the same
    /// parameters makes one object, within a day.
    ///
    /// # Errors
    /// After a retryable one it is unknown whether it was made: ask again with the same key.
    pub async fn create(&self, path: &str, form: String, idempotency_key: &str) -> Result<Created, Error> {
        let request = self.http.post(self.url(path)).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.send(request.header(IDEMPOTENCY, idempotency_key).body(form)).await?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let id = text("id").ok_or_else(|| Error::Malformed { reason: "an object without an id".to_owned() })?;
        Ok(Created { id, url: text("url") })
    }

    async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        match self.send(self.http.get(url)).await?["data"].take() {
            Value::Array(data) => Ok(data),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(Error::Malformed { reason: "not a list".to_owned() })
            }
        }
    }

    fn url(&self, path: &str) -> Url {
        let segments: Vec<&str> = std::iter::once("v1").chain(path.trim_matches('/').split('/')).collect();
        wire::url(&self.base, &segments)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Error> {
        let request = request.bearer_auth(self.key.expose_secret()).header(VERSION, API_VERSION).timeout(TIMEOUT);
        let answer = wire::receive(request, MAX_ANSWER_BYTES).await?;
        match answer.status {
            status if status.is_success() => serde_json::from_slice(&answer.body)
                .map_err(|_| Error::Malformed { reason: "not an answer of the API".to_owned() }),
            StatusCode::UNAUTHORIZED => Err(Error::Unauthorized),
            StatusCode::NOT_FOUND => Err(Error::NotFound),
            status => Err(Error::Refused { status: status.as_u16(), reason: reason(&answer.body) }),
        }
    }
}

impl Prices {
    fn tier(&self, price: &str) -> Option<Tier> {
        if price == self.basic {
            Some(Tier::Basic)
        } else if price == self.plus {
            Some(Tier::Plus)
        } else {
            None
        }
    }
}

/// The machine-readable code of an error, or its type; never its message, which quotes what was sent.
/// <https://docs.stripe.com/api/errors>
fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().or_else(|| error["type"].as_str());
    code.filter(|code| is_a_code(code)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_a_code_and_never_a_sentence() {
        assert_eq!(
            reason(br#"{"error":{"code":"resource_missing","message":"No such customer"}}"#),
            "resource_missing"
        );
        assert_eq!(reason(br#"{"error":{"type":"idempotency_error"}}"#), "idempotency_error");
        assert_eq!(reason(br#"{"error":{"code":"No such customer: 'cus_1'"}}"#), "");
        assert_eq!(reason(b"<html>"), "");
    }
}
