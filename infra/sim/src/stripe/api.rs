//! The API: keys, idempotency, errors, and the calls by their paths. <https://docs.stripe.com/api>

use axum::extract::State as Extracted;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::faults::StoredFailure;
use super::idempotency::Known;
use super::{World, calls, form, objects, state::State};

/// The longest idempotency key. <https://docs.stripe.com/api/idempotent_requests>
const LONGEST_KEY: usize = 255;

/// A refusal in the shape of <https://docs.stripe.com/api/errors>.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>, param: Option<&str>) -> Self {
        let refused = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        Self { param: param.map(str::to_owned), ..refused }
    }

    pub(super) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// No such object: 404 when the address names it, 400 when a parameter does.
    pub(super) fn missing(what: &str, id: &str, param: Option<&str>) -> Self {
        let refused = Self::invalid(format!("No such {what}: '{id}'"), param.or(Some("id")));
        let status = if param.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
        Self { status, ..refused.with_code("resource_missing") }
    }

    pub(super) fn rate_limited() -> Self {
        let message = "Request rate limit exceeded. Learn more about rate limits here \
                       https://docs.stripe.com/rate-limits.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "invalid_request_error", message).with_code("rate_limit")
    }

    pub(super) fn down(status: StatusCode) -> Self {
        Self::new(status, "api_error", "An unknown error occurred")
    }

    fn to_json(&self) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = code.into();
        }
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.to_json())).into_response()
    }
}

pub(super) async fn call(
    Extracted(world): Extracted<World>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    stored_failure: Option<Extension<StoredFailure>>,
    body: String,
) -> Response {
    let now = world.clock.now();
    let mut state = world.lock_current();
    if let Err(refused) = authorized(&world, &headers) {
        return refused.into_response();
    }
    let text = if method == Method::POST { body.as_str() } else { uri.query().unwrap_or_default() };
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|_| method == Method::POST);
    // What counts are the parameters, not their order: <https://docs.stripe.com/api/idempotent_requests>.
    let request = format!("{} {}", uri.path(), form::decode(text).unwrap_or_default());
    match key.map(|key| state.answers.find(key, &request, now)) {
        Some(_) if key.is_some_and(|key| key.len() > LONGEST_KEY) => {
            return Refused::invalid("Idempotency keys have at most 255 characters", None).into_response();
        }
        Some(Known::Answer(status, answer)) => {
            let mut response = (status, Json(answer)).into_response();
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            return response;
        }
        Some(Known::Mismatch) => {
            let message = "Keys for idempotent requests can only be used with the same parameters they were first used \
                           with. Try using a key other than the one you meant to use.";
            return Refused::new(StatusCode::BAD_REQUEST, "idempotency_error", message).into_response();
        }
        Some(Known::No) | None => {}
    }
    if let Some(StoredFailure) = stored_failure.map(|Extension(failure)| failure) {
        let refused = Refused::down(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(key) = key {
            state.answers.store(key, request, (refused.status, &refused.to_json()), now);
        }
        return refused.into_response();
    }
    match perform(&mut state, &method, uri.path(), text, now) {
        Ok(answer) => {
            if let Some(key) = key {
                state.answers.store(key, request, (StatusCode::OK, &answer), now);
            }
            Json(answer).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

fn perform(
    state: &mut State,
    method: &Method,
    path: &str,
    text: &str,
    now: nbhd::clock::Timestamp,
) -> Result<Value, Refused> {
    let path: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    let (mut answer, expand) = match (method.as_str(), path.as_slice()) {
        ("POST", ["customers"]) => calls::create_customer(state, text, now),
        ("GET", ["customers"]) => calls::list_customers(state, text),
        ("GET", ["customers", id]) => calls::customer(state, id, text),
        ("POST", ["customers", id]) => calls::update_customer(state, id, text),
        ("GET", ["prices"]) => calls::list_prices(state, text),
        ("GET", ["prices", id]) => calls::price(state, id, text),
        ("POST", ["checkout", "sessions"]) => calls::create_checkout(state, text, now),
        ("GET", ["checkout", "sessions"]) => calls::list_checkouts(state, text),
        ("GET", ["checkout", "sessions", id]) => calls::checkout(state, id, text),
        ("POST", ["checkout", "sessions", id, "expire"]) => calls::expire_checkout(state, id, text, now),
        ("POST", ["billing_portal", "sessions"]) => calls::create_portal(state, text, now),
        ("GET", ["subscriptions"]) => calls::list_subscriptions(state, text),
        ("GET", ["subscriptions", id]) => calls::subscription(state, id, text),
        ("POST", ["subscriptions", id]) => calls::update_subscription(state, id, text, now),
        ("DELETE", ["subscriptions", id]) => calls::cancel_subscription(state, id, text, now),
        ("GET", ["invoices"]) => calls::list_invoices(state, text),
        ("GET", ["invoices", id]) => calls::invoice(state, id, text),
        (method, path) => {
            let message = format!("Unrecognized request URL ({method}: /v1/{}).", path.join("/"));
            Err(Refused { status: StatusCode::NOT_FOUND, ..Refused::invalid(message, None) })
        }
    }?;
    for wanted in expand {
        expanded(state, &mut answer, &wanted.split('.').collect::<Vec<_>>())
            .ok_or_else(|| Refused::invalid(format!("This property cannot be expanded ({wanted})."), Some("expand")))?;
    }
    Ok(answer)
}

/// Puts the object in the place of its id. <https://docs.stripe.com/api/expanding_objects>
fn expanded(state: &State, at: &mut Value, path: &[&str]) -> Option<()> {
    let Some((name, rest)) = path.split_first() else { return Some(()) };
    if let Value::Array(items) = at {
        return items.iter_mut().try_for_each(|item| expanded(state, item, path));
    }
    let inner = at.get_mut(*name)?;
    if let Some(id) = inner.as_str().map(str::to_owned) {
        *inner = match id.split('_').next() {
            Some("cus") => objects::customer(state, &id),
            Some("sub") => objects::subscription(state, &id),
            Some("in") => objects::invoice(state, &id),
            _ => return None,
        };
    }
    if inner.is_null() { Some(()) } else { expanded(state, inner, rest) }
}

/// The secret key, as a bearer or as the user name of basic authentication.
fn authorized(world: &World, headers: &HeaderMap) -> Result<(), Refused> {
    let unauthorized = |message: &str| Refused::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.ok_or_else(|| unauthorized("You did not provide an API key."))?;
    let basic = |text: &str| {
        let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        Some(text.split(':').next()?.to_owned())
    };
    let key = match given.split_once(' ') {
        Some(("Bearer", key)) => Some(key.to_owned()),
        Some(("Basic", text)) => basic(text),
        _ => None,
    };
    if key.as_deref() == Some(world.key.as_str()) { Ok(()) } else { Err(unauthorized("Invalid API Key provided.")) }
}
