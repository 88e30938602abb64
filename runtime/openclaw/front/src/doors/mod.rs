//! The ways out of `OpenClaw`: to the Telegram relay, the runtime endpoints and the model gateway, and to nothing else.
//!
//! Each door opens with a token of its own that is made at each boot, passes what is on its list, and puts the real
//! secret in. What is not on a list and what has no token get the same answer. Of a request's headers only those that
//! say what its body is go on, of an answer's only those that say what its body is and when to ask again.

mod model;
mod relay;
mod runtime;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    RETRY_AFTER,
};
use hyper::{Method, Request, StatusCode};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::secrets::{LocalSecrets, Secrets};
use crate::server::{BodyError, Response, Unread, read_body, respond, status};
use crate::settings::Settings;

pub use relay::METHODS as BOT_METHODS;

/// The most bytes of an answer; the relay's and the endpoints' are smaller, a model's stream is as well.
const MAX_ANSWER_BYTES: usize = 64 << 20;
const PASSED_IN: [HeaderName; 2] = [ACCEPT, CONTENT_TYPE];
const PASSED_BACK: [HeaderName; 6] =
    [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER];

/// The three doors.
pub struct Doors {
    http: reqwest::Client,
    secrets: Secrets,
    local: LocalSecrets,
    tenant: String,
    relay_url: String,
    api_url: String,
    models_url: String,
}

/// A request that passed its door, as it goes on. Its address and headers may have secrets.
struct Passage {
    method: Method,
    url: Url,
    /// What replaces `OpenClaw`'s credentials.
    credentials: Vec<(&'static str, SecretString)>,
    max_body_bytes: usize,
    timeout: Duration,
    /// The answer when the request surely did not arrive.
    when_unreachable: fn() -> Response,
    /// For the log.
    door: &'static str,
}

impl Doors {
    /// Doors to where `settings` say, which open with `local`.
    pub fn new(settings: &Settings, local: LocalSecrets, http: reqwest::Client) -> Self {
        let tenant = settings.tenant.to_string();
        Self {
            http,
            secrets: settings.secrets.clone(),
            local,
            relay_url: format!("{}/telegram/relay/{tenant}", settings.api_base_url),
            api_url: format!("{}/api/v1/integrations/runtime/{tenant}", settings.api_base_url),
            models_url: settings.models_url.clone(),
            tenant,
        }
    }

    /// Answers a request of `OpenClaw`'s.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        let (path, query) = (head.uri.path(), head.uri.query());
        let passage = relay::open(&self, &head.method, path, query)
            .or_else(|| runtime::open(&self, &head.method, (path, query), &head.headers))
            .or_else(|| model::open(&self, &head.method, (path, query), &head.headers));
        match passage {
            Some(passage) => self.pass(passage, &head.headers, body).await,
            None => {
                tracing::info!(method = head.method.as_str(), "a request at the doors is on no list; it got 404");
                status(StatusCode::NOT_FOUND)
            }
        }
    }

    async fn pass(&self, passage: Passage, headers: &HeaderMap, body: Incoming) -> Response {
        let Passage { method, url, credentials, max_body_bytes, timeout, when_unreachable, door } = passage;
        let body = match read_body(body, max_body_bytes).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return status(StatusCode::PAYLOAD_TOO_LARGE),
            Err(Unread::Broken) => return status(StatusCode::REQUEST_TIMEOUT),
        };
        let mut request = self.http.request(method, url).timeout(timeout);
        for name in PASSED_IN {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        for (name, secret) in credentials {
            let Ok(mut value) = HeaderValue::from_str(secret.expose_secret()) else {
                return status(StatusCode::BAD_GATEWAY);
            };
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        match request.send().await {
            Ok(answer) => pass_back(answer),
            Err(error) => {
                let did_connect = !error.is_connect();
                tracing::warn!(code = "door_unanswered", door, did_connect, "nobody answered behind a door");
                if did_connect { status(StatusCode::BAD_GATEWAY) } else { when_unreachable() }
            }
        }
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Streams an answer back. A redirect leads past the lists, so that it is a failure.
fn pass_back(answer: reqwest::Response) -> Response {
    if answer.status().is_redirection() {
        return status(StatusCode::BAD_GATEWAY);
    }
    let answer = hyper::Response::<reqwest::Body>::from(answer);
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).map_err(|_| BodyError::from("the answer broke off"));
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = head.status;
    for name in PASSED_BACK {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn bad_gateway() -> Response {
    status(StatusCode::BAD_GATEWAY)
}

/// An answer in JSON.
fn json_answer(code: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = respond(code, body.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The address that `base`, a path of ours and a query make; `None` when the path does not stay what it is.
fn address(base: &str, path: &str, query: Option<&str>) -> Option<Url> {
    let text = format!("{base}/{path}");
    let mut url = Url::parse(&text).ok()?;
    // A path with dots, backslashes or anything else that is read in another way would lead elsewhere.
    (url.as_str() == text).then(|| {
        url.set_query(query);
        url
    })
}

/// The one value of a header; `None` when it is there more than once.
fn single_header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
