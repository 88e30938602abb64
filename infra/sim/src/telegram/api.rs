//! The Bot API over HTTP: token, parameters, ordered failures, the answer's shape.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use serde_json::{Value, json};

use super::params::Params;
use super::{Failure, Inner, Refusal, methods};
use crate::faults::broken_answer;

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/{bot}/{method}", any(call))
        .route("/file/{bot}/{*path}", any(download))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "Not Found").into_response() })
        // Bots upload up to 50 MB: <https://core.telegram.org/bots/api#sending-files>.
        .layer(DefaultBodyLimit::max(50 * 1024 * 1024))
        .with_state(inner)
}

async fn call(
    State(inner): State<Arc<Inner>>,
    Path((bot, method)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refusal) = inner.check_token(&bot) {
        return refusal.into_response();
    }
    match inner.faults.take(method.as_str()) {
        None => {}
        Some(Failure::AnswerLost) => {
            let _ = perform(&inner, &method, &uri, &headers, &body).await;
            return broken_answer();
        }
        Some(Failure::Hang) => std::future::pending().await,
        Some(Failure::NotJson) => return (StatusCode::OK, "<html>maintenance</html>").into_response(),
        Some(Failure::Status(status)) => return Refusal::new(status, &status.to_string()).into_response(),
        Some(Failure::Throttled(seconds)) => return Refusal::too_many_requests(seconds).into_response(),
    }
    match perform(&inner, &method, &uri, &headers, &body).await {
        Ok(result) => axum::Json(json!({"ok": true, "result": result})).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn perform(inner: &Inner, method: &str, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Value, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let params = Params::read(uri.query().unwrap_or_default(), content_type, body).await?;
    methods::perform(inner, method, params)
}

async fn download(State(inner): State<Arc<Inner>>, Path((bot, path)): Path<(String, String)>) -> Response {
    if let Err(refusal) = inner.check_token(&bot) {
        return refusal.into_response();
    }
    if let Some(Failure::Status(status)) = inner.faults.take("download") {
        return Refusal::new(status, &status.to_string()).into_response();
    }
    let bytes = inner.state().files.values().find(|file| file.path == path).map(|file| file.bytes.clone());
    match bytes {
        Some(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        None => Refusal::new(StatusCode::NOT_FOUND, "Not Found").into_response(),
    }
}

impl Inner {
    /// A token of another form is no path at all; one of the right form that is not ours is unauthorised.
    fn check_token(&self, bot: &str) -> Result<(), Refusal> {
        let not_found = || Refusal::new(StatusCode::NOT_FOUND, "Not Found");
        let token = bot.strip_prefix("bot").ok_or_else(not_found)?;
        let (digits, secret) = token.split_once(':').ok_or_else(not_found)?;
        if secret.is_empty() || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not_found());
        }
        if token == self.token { Ok(()) } else { Err(Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized")) }
    }
}

impl Refusal {
    fn too_many_requests(seconds: u32) -> Self {
        let description = format!("Too Many Requests: retry after {seconds}");
        Self { status: StatusCode::TOO_MANY_REQUESTS, description, retry_after: Some(seconds) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"ok": false, "error_code": self.status.as_u16(), "description": self.description});
        if let Some(seconds) = self.retry_after {
            body["parameters"] = json!({"retry_after": seconds});
        }
        (self.status, axum::Json(body)).into_response()
    }
}
