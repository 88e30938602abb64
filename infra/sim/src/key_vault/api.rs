//! The vault's HTTP face: who may call, which operation is meant, and how it shall fail.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::state::{Parameters, Refusal, bad_parameter};
use super::{Failure, Inner, Operation};
use crate::rights;

/// The resource that a token must have been issued for.
const RESOURCE: &str = "https://vault.azure.net";
const PAGE: usize = 25;

type Vault = State<Arc<Inner>>;

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/secrets", get(list))
        .route("/secrets/{name}", put(set).delete(delete).get(get_latest).patch(update_latest))
        .route("/secrets/{name}/", get(get_latest).patch(update_latest))
        .route("/secrets/{name}/versions", get(list_versions))
        .route("/secrets/{name}/{version}", get(get_version).patch(update_version))
        .route("/deletedsecrets", get(list_deleted))
        .route("/deletedsecrets/{name}", get(get_deleted).delete(purge))
        .route("/deletedsecrets/{name}/recover", post(recover))
        .layer(from_fn_with_state(Arc::clone(&inner), inject_failure))
        .layer(from_fn_with_state(Arc::clone(&inner), authorize))
        .with_state(inner)
}

/// Refuses a caller without a valid token, with the address where it gets one.
async fn authorize(State(inner): Vault, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    let Some(function) = token.and_then(|token| inner.entra.function_of(token, RESOURCE)) else {
        let refusal = Refusal {
            status: StatusCode::UNAUTHORIZED,
            code: "Unauthorized",
            inner: None,
            message: "AKV10000: Request is missing a Bearer or PoP token.",
        };
        return ([(header::WWW_AUTHENTICATE, inner.entra.challenge(RESOURCE))], refusal).into_response();
    };
    let query = request.uri().query().unwrap_or_default();
    if !query.split('&').any(|pair| pair == "api-version=7.6") {
        return bad_parameter("The api-version is missing or not one this vault speaks.").into_response();
    }
    let operation = operation(request.method().as_str(), request.uri().path());
    rights::record_vault_call(&function, &format!("{operation:?}"));
    next.run(request).await
}

async fn inject_failure(State(inner): Vault, request: Request, next: Next) -> Response {
    let operation = operation(request.method().as_str(), request.uri().path());
    match inner.faults.take(operation) {
        None => next.run(request).await,
        Some(Failure::Throttled(seconds)) => {
            let refusal = Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "Throttled",
                inner: None,
                message: "Request was not processed because too many requests were received.",
            };
            ([(header::RETRY_AFTER, seconds.to_string())], refusal).into_response()
        }
        Some(Failure::Status(status)) => failed(status),
        Some(Failure::AnswerLost) => {
            next.run(request).await;
            failed(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Some(Failure::NotJson) => "<html>not the vault</html>".into_response(),
        Some(Failure::FalseSuccess) => StatusCode::NO_CONTENT.into_response(),
    }
}

fn failed(status: StatusCode) -> Response {
    Refusal { status, code: "InternalServerError", inner: None, message: "The vault failed." }.into_response()
}

fn operation(method: &str, path: &str) -> Operation {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (method, segments.as_slice()) {
        ("PUT", _) => Operation::Set,
        ("PATCH", _) => Operation::Update,
        ("POST", _) => Operation::Recover,
        ("DELETE", ["deletedsecrets", ..]) => Operation::Purge,
        ("DELETE", _) => Operation::Delete,
        (_, ["secrets", _] | ["secrets", _, _]) if segments.last() != Some(&"versions") => Operation::Get,
        _ => Operation::List,
    }
}

async fn get_latest(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    inner.lock().secrets.get(&base(&headers), &name, None).map(Json)
}

async fn get_version(State(inner): Vault, Path((name, version)): Path<(String, String)>, headers: HeaderMap) -> Answer {
    inner.lock().secrets.get(&base(&headers), &name, Some(&version)).map(Json)
}

async fn set(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.len() > 127 || !name.bytes().all(is_valid) {
        return Err(bad_parameter("The request URI contains an invalid name."));
    }
    let given = parameters(&body)?;
    inner.lock().secrets.set(&base(&headers), &name, given, inner.clock.now()).map(Json)
}

async fn update_latest(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    let given = parameters(&body)?;
    inner.lock().secrets.update(&base(&headers), &name, None, given, inner.clock.now()).map(Json)
}

async fn update_version(
    State(inner): Vault,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let given = parameters(&body)?;
    inner.lock().secrets.update(&base(&headers), &name, Some(&version), given, inner.clock.now()).map(Json)
}

async fn delete(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    inner.lock().secrets.delete(&base(&headers), &name, inner.clock.now()).map(Json)
}

async fn get_deleted(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    inner.lock().secrets.get_deleted(&base(&headers), &name).map(Json)
}

async fn purge(State(inner): Vault, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    inner.lock().secrets.purge(&name).map(|()| StatusCode::NO_CONTENT)
}

async fn recover(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    inner.lock().secrets.recover(&base(&headers), &name).map(Json)
}

async fn list(State(inner): Vault, headers: HeaderMap, query: Paging) -> Answer {
    let base = base(&headers);
    page(inner.lock().secrets.list(&base), &format!("{base}/secrets"), &query)
}

async fn list_versions(State(inner): Vault, Path(name): Path<String>, headers: HeaderMap, query: Paging) -> Answer {
    let base = base(&headers);
    page(inner.lock().secrets.list_versions(&base, &name), &format!("{base}/secrets/{name}/versions"), &query)
}

async fn list_deleted(State(inner): Vault, headers: HeaderMap, query: Paging) -> Answer {
    let base = base(&headers);
    page(inner.lock().secrets.list_deleted(&base), &format!("{base}/deletedsecrets"), &query)
}

type Answer = Result<Json<Value>, Refusal>;
type Paging = Query<HashMap<String, String>>;

fn page(items: Vec<Value>, url: &str, query: &Paging) -> Answer {
    let number = |key: &str, default: usize| query.get(key).map_or(Some(default), |text| text.parse().ok());
    let size = number("maxresults", PAGE).filter(|size| (1..=PAGE).contains(size));
    let (Some(size), Some(skip)) = (size, number("$skiptoken", 0)) else {
        return Err(bad_parameter("A paging parameter is out of form."));
    };
    let rest = items.len().saturating_sub(skip + size);
    let mut answer = json!({"value": items.into_iter().skip(skip).take(size).collect::<Vec<_>>()});
    if rest > 0 {
        let next = format!("{url}?api-version=7.6&$skiptoken={}&maxresults={size}", skip + size);
        answer["nextLink"] = json!(next);
    }
    Ok(Json(answer))
}

fn parameters(body: &[u8]) -> Result<Parameters, Refusal> {
    serde_json::from_slice(body).map_err(|_| bad_parameter("The body is not of the documented form."))
}

fn base(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("https://{host}")
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(inner) = self.inner {
            error["innererror"] = json!({"code": inner});
        }
        (self.status, Json(json!({"error": error}))).into_response()
    }
}
