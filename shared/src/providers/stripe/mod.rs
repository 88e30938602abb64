//! Stripe: who pays for what. <https://docs.stripe.com/api>
//!
//! Only the fields we use are read, and each may be absent, so that a new version of the API never turns a genuine
//! event into an error.

mod checkout;
mod event;
mod signature;
mod subscription;

use std::fmt::Debug;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::Error;
use super::http;
use crate::config::{ConfigError, Env};
use crate::domain::subscription::Tier;

pub use checkout::{Session, TIER};
pub use event::{Event, EventKind};
pub use signature::{SignatureError, SigningSecrets, TOLERANCE};
pub use subscription::CustomerSnapshot;

/// The version of the API that our calls name. <https://docs.stripe.com/api/versioning>
const API_VERSION: &str = "2026-10-28.endive";
const VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY: HeaderName = HeaderName::from_static("idempotency-key");

const TIMEOUT: Duration = Duration::from_secs(8);

/// A page of 100 subscriptions is about 400 KB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The client of Stripe's API, with the account's secret key.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: SecretString,
    prices: Prices,
}

/// The ids of each tier's price, `price_…`.
#[derive(Clone, Debug)]
struct Prices {
    basic: String,
    plus: String,
}

/// An object that [`Client::create`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedObject {
    /// Stripe's id, such as `cus_…` or `cs_…`.
    pub id: String,
    /// The page where the person continues, for objects that have one.
    pub url: Option<String>,
}

impl Client {
    /// Stripe's API at `STRIPE_API_URL` (its own unless set), with `STRIPE_SECRET_KEY`, `STRIPE_PRICE_BASIC` and
    /// `STRIPE_PRICE_PLUS`; `None` while one of the three is not set.
    ///
    /// # Errors
    /// [`ConfigError`] when the address is not one.
    pub fn from_env(env: &Env, http: reqwest::Client) -> Result<Option<Self>, ConfigError> {
        let base = http::base_url(env, "STRIPE_API_URL", "https://api.stripe.com")?;
        let key = env.optional_secret("STRIPE_SECRET_KEY");
        let (basic, plus) = (env.optional("STRIPE_PRICE_BASIC"), env.optional("STRIPE_PRICE_PLUS"));
        let (Some(key), Some(basic), Some(plus)) = (key, basic, plus) else { return Ok(None) };
        let prices = Prices { basic: basic.to_owned(), plus: plus.to_owned() };
        Ok(Some(Self { http, base, key, prices }))
    }

    /// The id of a tier's price, `price_…`.
    pub fn price(&self, tier: Tier) -> &str {
        match tier {
            Tier::Basic => &self.prices.basic,
            Tier::Plus => &self.prices.plus,
        }
    }

    /// Creates an object: `path` is below `/v1`, `form` has its parameters as Stripe encodes them. Within a day, the
    /// same key with the same parameters creates one object.
    ///
    /// # Errors
    /// After a retryable one it is unknown whether the object was created: repeat the call with the same key.
    pub async fn create(&self, path: &str, form: String, idempotency_key: &str) -> Result<CreatedObject, Error> {
        let request = self.http.post(self.url(path)).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.send(request.header(IDEMPOTENCY, idempotency_key).body(form)).await?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let id = text("id").ok_or_else(|| Error::malformed("an object without an id"))?;
        Ok(CreatedObject { id, url: text("url") })
    }

    async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        match self.send(self.http.get(url)).await?["data"].take() {
            Value::Array(data) => Ok(data),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                Err(Error::malformed("not a list"))
            }
        }
    }

    fn url(&self, path: &str) -> Url {
        let segments: Vec<&str> = std::iter::once("v1").chain(path.trim_matches('/').split('/')).collect();
        http::join(&self.base, &segments)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Error> {
        let request = request.bearer_auth(self.key.expose_secret()).header(VERSION, API_VERSION).timeout(TIMEOUT);
        let answer = http::receive(request, MAX_ANSWER_BYTES).await?.into_success(parse_code)?;
        serde_json::from_slice(&answer.body).map_err(|_| Error::malformed("not an answer of the API"))
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

/// The machine-readable code of an error, or else its type. Its message is never used: it quotes what was sent.
/// <https://docs.stripe.com/api/errors>
fn parse_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().or_else(|| error["type"].as_str());
    http::loggable_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_named_by_its_code_and_never_by_a_sentence() {
        assert_eq!(
            parse_code(br#"{"error":{"code":"resource_missing","message":"No such customer"}}"#),
            "resource_missing"
        );
        assert_eq!(parse_code(br#"{"error":{"type":"idempotency_error"}}"#), "idempotency_error");
        assert_eq!(parse_code(br#"{"error":{"code":"No such customer: 'cus_1'"}}"#), "");
        assert_eq!(parse_code(b"<html>"), "");
    }
}
