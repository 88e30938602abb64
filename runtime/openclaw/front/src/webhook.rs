//! Takes updates: keeps each on the share before it says that it is kept.
//!
//! It answers as `OpenClaw`'s own webhook was observed to (401 on a wrong secret, 429 over 120 of them a minute, 404
//! elsewhere), with a mark of its own, by which the control plane tells its answers from the platform's. Every 503 says
//! that the front is starting: what it needs is not up, which says nothing about the update.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use nbhd::clock::{Clock, Timestamp};
use nbhd::domain::lenient_json::{Fields, replace_lone_surrogates};
use serde_json::json;

use crate::journal::{self, Appended, MAX_BODY_BYTES};
use crate::readiness::{self, Readiness};
use crate::secrets::Secrets;
use crate::server::{Response, Unread, read_body, respond, status};
use crate::share::{Effect, Effects};

const PATH: &str = "/telegram-webhook";
const HEALTH_PATH: &str = "/healthz";
const READINESS_PATH: &str = "/readyz";
const SECRET: &str = "x-telegram-bot-api-secret-token";
/// As `OpenClaw` names and fills it.
const ACCEPTED: &str = "x-openclaw-delivery-accepted";
const FRONT: &str = "x-nbhd-front";

const MINUTE: Duration = Duration::from_secs(60);
/// So many requests without a valid secret are answered 401 within a minute.
const MOST_STRANGERS: u32 = 120;
/// What an update that was not kept now is to wait, in seconds.
const RETRY_SECONDS: u16 = 2;

/// What answers on the container's port.
#[derive(Debug)]
pub struct Webhook {
    secrets: Secrets,
    journal: journal::Handle,
    readiness: Arc<Readiness>,
    clock: Clock,
    effects: Effects,
    strangers: Mutex<(Timestamp, u32)>,
}

impl Webhook {
    /// A webhook that keeps updates in `journal` from the time on that `readiness` allows it.
    pub fn new(
        secrets: Secrets,
        journal: journal::Handle,
        readiness: Arc<Readiness>,
        clock: Clock,
        effects: Effects,
    ) -> Self {
        Self { secrets, journal, readiness, clock, effects, strangers: Mutex::default() }
    }

    /// Answers a request; every answer has the front's mark.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let mut response = self.dispatch(request).await;
        let is_ready = self.readiness.is_validated() && response.status() != StatusCode::SERVICE_UNAVAILABLE;
        let mark = HeaderValue::from_static(if is_ready { "ready" } else { "starting" });
        response.headers_mut().insert(FRONT, mark);
        response
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::GET, HEALTH_PATH) => self.answer_health().await,
            (&Method::GET, READINESS_PATH) if self.is_authorized(&head.headers) => self.answer_readiness().await,
            (&Method::POST, PATH) if self.is_authorized(&head.headers) => self.take_update(body).await,
            (&Method::POST, PATH) => status(self.count_stranger()),
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn take_update(&self, body: Incoming) -> Response {
        if !self.readiness.is_validated() {
            return wait_and_retry();
        }
        let body = match read_body(body, MAX_BODY_BYTES).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return status(StatusCode::PAYLOAD_TOO_LARGE),
            Err(Unread::Broken) => return status(StatusCode::REQUEST_TIMEOUT),
        };
        let Some(id) = update_id(&body) else { return status(StatusCode::BAD_REQUEST) };
        match self.journal.append(id, body).await {
            Ok(appended) => {
                let is_repeat = appended == Appended::Repeat;
                tracing::info!(update_id = id, is_repeat, "the update is kept on the share");
            }
            Err(error) => {
                tracing::error!(
                    code = "update_not_kept",
                    %error,
                    update_id = id,
                    "the share does not keep the update; it comes again"
                );
                return wait_and_retry();
            }
        }
        if self.effects.check(Effect::Answer).is_err() {
            return wait_and_retry();
        }
        let mut response = status(StatusCode::OK);
        response.headers_mut().insert(ACCEPTED, HeaderValue::from_static("durable"));
        response
    }

    /// What the platform's probes ask: whether updates can be kept.
    async fn answer_health(&self) -> Response {
        match self.journal.check().await {
            Ok(()) => status(StatusCode::OK),
            Err(error) => {
                tracing::error!(code = "share_not_writable", %error, "the share takes nothing; updates wait outside");
                status(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    /// Why `OpenClaw` can or cannot take a turn, as a code, and how many updates wait for it.
    async fn answer_readiness(&self) -> Response {
        let reason = match self.journal.check().await {
            Ok(()) => self.readiness.reason().await,
            Err(_) => readiness::SHARE_NOT_WRITABLE,
        };
        let waiting = self.journal.count_waiting().await.ok();
        let is_ready = reason == readiness::READY;
        let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({ "ready": is_ready, "reason": reason, "waiting": waiting }).to_string();
        let mut response = respond(code, body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// Compares before anything is read.
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        headers.get(SECRET).is_some_and(|given| self.secrets.accept_webhook(given.as_bytes()))
    }

    fn count_stranger(&self) -> StatusCode {
        let now = self.clock.now();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(strangers.0) >= MINUTE {
            *strangers = (now, 0);
        }
        strangers.1 = strangers.1.saturating_add(1);
        if strangers.1 > MOST_STRANGERS { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::UNAUTHORIZED }
    }
}

fn wait_and_retry() -> Response {
    let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    response
}

/// The update's number, read as leniently as the control plane reads it.
fn update_id(body: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(body);
    let text = replace_lone_surrogates(text.trim_start_matches('\u{feff}'));
    Fields::parse(&text)?.integer("update_id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_updates_number_is_read_whatever_stands_beside_it() {
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        for text in [
            r#"{"update_id":7}"#.to_owned(),
            "\u{feff} {\"update_id\":7}".to_owned(),
            r#"{"update_id":1,"message":{"text":"cut \ud83d"},"update_id":7}"#.to_owned(),
            format!(r#"{{"a":1e999,"b":{deep},"update_id":7}}"#),
        ] {
            assert_eq!(update_id(text.as_bytes()), Some(7), "{text:.60}");
        }
        assert_eq!(update_id(b"{\"update_id\":7,\"text\":\"\xFF\"}"), Some(7));
        for text in ["", "7", "[]", "{}", r#"{"update_id":"7"}"#, r#"{"update_id":7.5}"#, r#"{"update_id":7"#] {
            assert_eq!(update_id(text.as_bytes()), None, "{text}");
        }
    }
}
