//! The gateway's HTTP face: who may call, which operation is meant, and how it shall fail.
//! <https://openrouter.ai/docs/api_reference/errors>

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::keys::Parameters;
use super::{Failure, Inner, Operation, chat};
use crate::faults::broken_answer;

const PAGE: usize = 100;

pub(super) type Gateway = State<Arc<Inner>>;
type Answer = Result<Json<Value>, Refusal>;

/// Status, the stable name of the error, and a sentence.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error_type: &'static str,
    pub(super) message: String,
    /// Whose limit is spent, of a 402.
    pub(super) limit_source: Option<&'static str>,
}

pub(super) fn router(inner: Arc<Inner>) -> Router {
    let keys = Router::new()
        .route("/api/v1/keys", get(list).post(create))
        .route("/api/v1/keys/{hash}", get(read).patch(update).delete(end))
        .layer(from_fn_with_state(Arc::clone(&inner), require_management_key));
    let chat = Router::new().route("/api/v1/chat/completions", post(chat::complete));
    keys.merge(chat)
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "not_found", "Not Found"))
        .layer(from_fn_with_state(Arc::clone(&inner), inject_failure))
        .with_state(inner)
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error_type: &'static str, message: impl Into<String>) -> Self {
        Self { status, error_type, message: message.into(), limit_source: None }
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "API key not found")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut metadata = json!({"error_type": self.error_type});
        if let Some(source) = self.limit_source {
            metadata["limit_source"] = source.into();
        }
        let error = json!({"code": self.status.as_u16(), "message": self.message, "metadata": metadata});
        (self.status, Json(json!({"error": error}))).into_response()
    }
}

/// The credential a request came with.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn require_management_key(State(inner): Gateway, request: Request, next: Next) -> Response {
    match credential(request.headers()) {
        Some(key) if key == inner.management_key => next.run(request).await,
        Some(_) => Refusal::unauthorized("Invalid management key").into_response(),
        None => Refusal::unauthorized("Missing Authentication header").into_response(),
    }
}

async fn inject_failure(State(inner): Gateway, request: Request, next: Next) -> Response {
    let failure = operation(request.method().as_str(), request.uri().path()).and_then(|asked| inner.faults.take(asked));
    match failure {
        None => next.run(request).await,
        Some(Failure::Throttled(seconds)) => {
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", "Rate limit exceeded");
            let mut response = refusal.into_response();
            if let Some(seconds) = seconds {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Some(Failure::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Refusal::new(status, "server", "Internal Server Error").into_response()
        }
        Some(Failure::AnswerLost) => {
            next.run(request).await;
            broken_answer()
        }
        Some(Failure::ConnectionLost) => broken_answer(),
        Some(Failure::NotJson) => "<html>not the gateway</html>".into_response(),
        Some(Failure::Echo) => echo(request).await,
    }
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let repeated = format!("cannot handle {} {:?} {}", head.uri, head.headers, String::from_utf8_lossy(&body));
    let error = json!({"code": 400, "message": repeated, "metadata": {"error_type": repeated}});
    (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
}

fn operation(method: &str, path: &str) -> Option<Operation> {
    let below = path.strip_prefix("/api/v1/")?;
    Some(match (method, below.split_once('/')) {
        ("GET", None) => Operation::List,
        ("POST", None) => Operation::Create,
        ("POST", Some(("chat", _))) => Operation::Chat,
        ("GET", Some(_)) => Operation::Get,
        ("PATCH", Some(_)) => Operation::Update,
        ("DELETE", Some(_)) => Operation::Delete,
        _ => return None,
    })
}

async fn list(State(inner): Gateway, Query(query): Query<HashMap<String, String>>) -> Answer {
    let offset = query.get("offset").map_or(Ok(0), |text| text.parse());
    let offset = offset.map_err(|_| Refusal::invalid("offset: Invalid input: expected number"))?;
    let with_disabled = query.get("include_disabled").is_some_and(|value| value == "true");
    let mut state = inner.lock();
    let seen_until = state.lag.map(|lag| inner.now() - lag);
    let page = state.keys.page(offset, PAGE, with_disabled, seen_until, inner.now());
    let lost_after_page = std::mem::take(&mut state.lost_after_page);
    state.keys.lose_youngest(lost_after_page);
    Ok(Json(json!({"data": page})))
}

async fn create(State(inner): Gateway, body: Bytes) -> Result<impl IntoResponse, Refusal> {
    let given = parameters(&body)?;
    if given.name.is_none() {
        return Err(Refusal::invalid("name: Invalid input: expected string, received undefined"));
    }
    let now = inner.now();
    let mut state = inner.lock();
    let (hash, credential) = state.keys.create(given, now);
    let shown = state.keys.get_mut(&hash).map(|key| key.to_json(now));
    Ok((StatusCode::CREATED, Json(json!({"data": shown, "key": credential}))))
}

async fn read(State(inner): Gateway, Path(hash): Path<String>) -> Answer {
    let now = inner.now();
    let shown = inner.lock().keys.get_mut(&hash).map(|key| key.to_json(now));
    shown.map(|key| Json(json!({"data": key}))).ok_or_else(Refusal::no_such_key)
}

async fn update(State(inner): Gateway, Path(hash): Path<String>, body: Bytes) -> Answer {
    let (given, now) = (parameters(&body)?, inner.now());
    let mut state = inner.lock();
    let key = state.keys.get_mut(&hash).ok_or_else(Refusal::no_such_key)?;
    key.update(given, now);
    Ok(Json(json!({"data": key.to_json(now)})))
}

async fn end(State(inner): Gateway, Path(hash): Path<String>) -> Answer {
    let mut state = inner.lock();
    let seen_until = state.lag.map(|lag| inner.now() - lag);
    if state.keys.is_seen(&hash, seen_until) && state.keys.delete(&hash) {
        Ok(Json(json!({"deleted": true})))
    } else {
        Err(Refusal::no_such_key())
    }
}

fn parameters(body: &[u8]) -> Result<Parameters, Refusal> {
    let given: Parameters =
        serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("Invalid input: {error}")))?;
    given.find_fault().map_or(Ok(given), |fault| Err(Refusal::invalid(fault)))
}
