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
use super::http::{self, Answer};
use crate::config::{ConfigError, Env};
use crate::domain::subscription::Tier;
use crate::telemetry;

pub use checkout::{Session, TIER, TRIAL_DAYS};
pub use event::{Event, EventKind};
pub use signature::{SignatureError, SigningSecrets, TOLERANCE};
pub use subscription::CustomerSnapshot;

/// The version of the API that our calls name. <https://docs.stripe.com/api/versioning>
const API_VERSION: &str = "2026-10-28.endive";
const VERSION: HeaderName = HeaderName::from_static("stripe-version");
const IDEMPOTENCY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The most failures of Stripe's own, stored under a key, that are stepped over in one call.
const MAX_STORED_FAILURES: u32 = 4;

const TIMEOUT: Duration = Duration::from_secs(8);

/// The largest page of a list. <https://docs.stripe.com/api/pagination>
const PAGE: &str = "100";

/// The code of a refusal because an object does not exist.
pub const MISSING: &str = "resource_missing";

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
    /// Stripe keeps the first answer to a key for a day, a failure of its own included, and refuses the key with other
    /// parameters. So what is sent as key names the parameters too, and a failure that is only repeated is stepped
    /// over: whoever calls at the same time takes the same steps. <https://docs.stripe.com/api/idempotent_requests>
    ///
    /// # Errors
    /// After a retryable one it is unknown whether the object was created: repeat the call with the same key.
    pub async fn create(&self, path: &str, form: String, idempotency_key: &str) -> Result<CreatedObject, Error> {
        let digest = short_digest(&form);
        for step in 0..=MAX_STORED_FAILURES {
            let request = self.http.post(self.url(path)).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            let request = request.header(IDEMPOTENCY, format!("{idempotency_key}-{digest}-{step}")).body(form.clone());
            let response = self.prepare(request).send().await?;
            if response.status().is_server_error() && response.headers().get(REPLAYED).is_some_and(|it| it == "true") {
                continue;
            }
            let answer = http::read_answer(response, MAX_ANSWER_BYTES).await?;
            let answer = parse(&answer.into_success(parse_code)?)?;
            let text = |name: &str| answer[name].as_str().map(str::to_owned);
            let id = text("id").ok_or_else(|| Error::malformed("an object without an id"))?;
            return Ok(CreatedObject { id, url: text("url") });
        }
        Err(Error::Failed { status: 500 })
    }

    /// Whether `customer` was deleted, or is not known to the account that sells our prices.
    ///
    /// # Errors
    /// Stripe could not be asked, or our key is another account's: neither says anything about the customer.
    pub async fn is_customer_deleted(&self, customer: &str) -> Result<bool, Error> {
        let answer = self.receive(self.http.get(self.url(&format!("customers/{customer}")))).await?;
        if is_customer_missing(&answer) {
            return self.require_own_account().await.map(|()| true);
        }
        let answer = parse(&answer.into_success(parse_code)?)?;
        Ok(answer["deleted"] == true)
    }

    /// With the key of another account, or of its other mode, Stripe knows none of our customers, and none of our
    /// prices either.
    async fn require_own_account(&self) -> Result<(), Error> {
        let price = self.price(Tier::Basic);
        let answer = self.send(self.http.get(self.url(&format!("prices/{price}")))).await?;
        if answer["id"] == price { Ok(()) } else { Err(Error::malformed("not the price that was asked for")) }
    }

    async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
        read_list(self.receive(self.http.get(self.list_url(path, query))).await?)
    }

    /// A list of what `customer` has; `None` when our account has no such customer.
    async fn list_of_customer(&self, path: &str, customer: &str) -> Result<Option<Vec<Value>>, Error> {
        let query = [("customer", customer), ("status", "all"), ("limit", PAGE)];
        let answer = self.receive(self.http.get(self.list_url(path, &query))).await?;
        if is_customer_missing(&answer) {
            return self.require_own_account().await.map(|()| None);
        }
        read_list(answer).map(Some)
    }

    fn list_url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        url
    }

    fn url(&self, path: &str) -> Url {
        let segments: Vec<&str> = std::iter::once("v1").chain(path.trim_matches('/').split('/')).collect();
        http::join(&self.base, &segments)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Error> {
        parse(&self.receive(request).await?.into_success(parse_code)?)
    }

    async fn receive(&self, request: RequestBuilder) -> Result<Answer, Error> {
        http::receive(self.prepare(request), MAX_ANSWER_BYTES).await
    }

    fn prepare(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.key.expose_secret()).header(VERSION, API_VERSION).timeout(TIMEOUT)
    }
}

/// The first 64 bits of a text's SHA-256, in hexadecimal digits.
fn short_digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn parse(answer: &Answer) -> Result<Value, Error> {
    serde_json::from_slice(&answer.body).map_err(|_| Error::malformed("not an answer of the API"))
}

fn read_list(answer: Answer) -> Result<Vec<Value>, Error> {
    match parse(&answer.into_success(parse_code)?)?["data"].take() {
        Value::Array(data) => Ok(data),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(Error::malformed("not a list"))
        }
    }
}

/// Whether Stripe says that the customer of the request does not exist: with 404 where the address names it, with 400
/// where a parameter does. <https://docs.stripe.com/error-codes#resource-missing>
fn is_customer_missing(answer: &Answer) -> bool {
    let error = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()["error"].take();
    let is_about_customer = match error["param"].as_str() {
        None => true,
        Some(param) => ["customer", "id"].contains(&param),
    };
    matches!(answer.status.as_u16(), 400 | 404) && error["code"] == MISSING && is_about_customer
}

/// Tells an operator that a customer was deleted, which ends whatever they paid for.
pub fn report_deleted_customer(customer: &str) {
    telemetry::metric("StripeCustomersDeleted", 1);
    tracing::error!(
        code = "stripe_customer_deleted",
        customer,
        "a customer was deleted at Stripe; their subscription counts as ended from now on"
    );
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
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn only_a_missing_customer_is_one() {
        let refused = |status: u16, body: &str| {
            let status = reqwest::StatusCode::from_u16(status).expect("a status");
            is_customer_missing(&Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() })
        };
        let missing = |param: &str| format!(r#"{{"error":{{"code":"resource_missing","param":{param}}}}}"#);
        for param in ["\"customer\"", "\"id\"", "null"] {
            assert!(refused(400, &missing(param)) && refused(404, &missing(param)), "{param}");
            assert!(!refused(401, &missing(param)) && !refused(402, &missing(param)), "{param}");
        }
        assert!(!refused(400, &missing("\"starting_after\"")) && !refused(404, &missing("\"price\"")));
        assert!(!refused(404, r#"{"error":{"type":"invalid_request_error"}}"#) && !refused(404, "<html>"));
    }

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
