//! The resource manager's HTTP face: who may call, what is meant, and how it shall fail.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use nbhd::clock::Timestamp;
use serde_json::{Value, json};

use super::apps::{ChangeKind, Progress};
use super::state::{Refusal, RuleResult, invalid};
use super::target::Target;
use super::{Failure, Inner, LOCATION, Operation, OperationUrl, StateSpelling};
use crate::faults::broken_answer;

/// The resource that a token must have been issued for.
const RESOURCE: &str = "https://management.azure.com";
const ASYNC_OPERATION: &str = "azure-asyncoperation";
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
const PAGE: usize = 20;
const FAILED: &str = "ContainerAppOperationError";

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new().fallback(answer).with_state(inner)
}

/// A request whose address and body were read.
struct ParsedRequest<'a> {
    /// `https://host:port`.
    base: String,
    path: &'a str,
    query: HashMap<String, String>,
    target: Target<'a>,
    body: Value,
    /// The error code with which the change it begins shall fail.
    fails: Option<&'static str>,
    now: Timestamp,
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    if let Some(refusal) = unauthorized(&inner, request.headers()) {
        return refusal;
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_end_matches('/');
    let target = Target::of(path);
    let Some(operation) = target.operation(head.method.as_str()) else {
        return Refusal(StatusCode::NOT_FOUND, "InvalidResourceType", "No such type or method.").into_response();
    };
    let failure = inner.faults.take(operation);
    match failure {
        Some(Failure::Throttled(seconds)) => return throttled(seconds),
        Some(Failure::Status(status)) => {
            return Refusal(status, "ServerError", "Azure failed, as it was told to.").into_response();
        }
        Some(Failure::Refused(status, code)) => return Refusal(status, code, "Azure refuses it.").into_response(),
        Some(Failure::ConnectionLost) => return broken_answer(),
        Some(Failure::NotJson) => return "<html>not Azure</html>".into_response(),
        Some(Failure::AnswerLost | Failure::Provisioning) | None => {}
    }
    if let Some(scope) = inner.lock().locked_scope(head.method.as_str(), path) {
        return locked(path, scope);
    }
    let answer = match parse_request(&inner, &head, body, target, failure).await {
        Ok(asked) => {
            let answer = asked.answer(&inner, operation);
            inner.settles().await;
            answer.unwrap_or_else(IntoResponse::into_response)
        }
        Err(refusal) => refusal.into_response(),
    };
    if failure == Some(Failure::AnswerLost) { broken_answer() } else { answer }
}

/// Refuses a caller without a valid token, with the address where it gets one.
fn unauthorized(inner: &Inner, headers: &HeaderMap) -> Option<Response> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| inner.entra.is_valid_token(token, RESOURCE)) {
        return None;
    }
    let code = if token.is_some() { "InvalidAuthenticationToken" } else { "AuthenticationFailed" };
    let refusal = Refusal(StatusCode::UNAUTHORIZED, code, "Authentication failed.");
    Some(([(header::WWW_AUTHENTICATE, inner.entra.challenge(RESOURCE))], refusal).into_response())
}

async fn parse_request<'a>(
    inner: &Inner,
    head: &'a axum::http::request::Parts,
    body: Body,
    target: Target<'a>,
    failure: Option<Failure>,
) -> RuleResult<ParsedRequest<'a>> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(&head.uri).unwrap_or_default();
    let version = query.get("api-version").map(String::as_str).unwrap_or_default();
    let is_date = version.len() == 10 && version.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if !is_date {
        return Err(invalid("MissingApiVersionParameter", "The api-version query parameter is required."));
    }
    let path = head.uri.path().trim_end_matches('/');
    inner.lock().check_path(path)?;
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let body = match (head.method.as_str(), bytes.is_empty()) {
        ("PUT", _) => serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object),
        _ => Some(Value::Null),
    };
    let body = body.ok_or(invalid("InvalidRequestContent", "The request content was invalid."))?;
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let fails = (failure == Some(Failure::Provisioning)).then_some(FAILED);
    let base = format!("https://{host}");
    Ok(ParsedRequest { base, path, query, target, body, fails, now: inner.clock.now() })
}

impl ParsedRequest<'_> {
    fn answer(self, inner: &Inner, operation: Operation) -> RuleResult<Response> {
        match operation {
            Operation::PutIdentity | Operation::PutRole | Operation::PutShare | Operation::PutStorage => {
                let (status, body) = inner.lock().put(self.path, self.target, self.body, self.now)?;
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                Ok((status, Json(body)).into_response())
            }
            Operation::DeleteIdentity | Operation::DeleteShare | Operation::DeleteStorage => {
                let mut state = inner.lock();
                let there = state.is_deletable(self.path) && state.remove(self.path);
                Ok(if there { StatusCode::OK } else { StatusCode::NO_CONTENT }.into_response())
            }
            Operation::DeleteRole => {
                let mut state = inner.lock();
                let shown = state.get(self.path).filter(|_| state.is_deletable(self.path));
                if shown.is_some() {
                    state.remove(self.path);
                }
                Ok(shown.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |shown| Json(shown).into_response()))
            }
            Operation::PutApp => self.begin_change(inner, ChangeKind::Put),
            Operation::DeleteApp => self.begin_change(inner, ChangeKind::Delete),
            Operation::StartApp => self.begin_change(inner, ChangeKind::Start),
            Operation::StopApp => self.begin_change(inner, ChangeKind::Stop),
            Operation::Poll => self.poll(inner),
            Operation::Get => {
                let mut state = inner.lock();
                state.count_poll(&self.path.to_ascii_lowercase(), self.now);
                let shown = state.get(self.path).ok_or_else(|| self.not_found())?;
                Ok(Json(shown).into_response())
            }
            Operation::List => self.list(inner),
        }
    }

    fn begin_change(self, inner: &Inner, kind: ChangeKind) -> RuleResult<Response> {
        let app = if let Target::Action { app, .. } = self.target { app } else { self.path }.to_owned();
        let mut state = inner.lock();
        let there = state.find(&app).is_some() && (kind != ChangeKind::Delete || state.is_deletable(&app));
        let (operation, is_new) = match kind {
            ChangeKind::Put => state.put_app(&app, self.body.clone(), self.fails, self.now)?,
            ChangeKind::Delete if !there => return Ok(StatusCode::NO_CONTENT.into_response()),
            ChangeKind::Start | ChangeKind::Stop if !there => return Err(self.not_found()),
            ChangeKind::Delete | ChangeKind::Start | ChangeKind::Stop => {
                state.begin((kind, &app), None, self.fails, self.now)?
            }
        };
        let shown = state.get(&app).unwrap_or_default();
        let shown_state = shown["properties"]["provisioningState"].as_str().unwrap_or_default();
        let in_progress = ["InProgress", "Deleting"].iter().any(|state| state.eq_ignore_ascii_case(shown_state));
        if !in_progress {
            let status = if kind == ChangeKind::Put && is_new { StatusCode::CREATED } else { StatusCode::OK };
            return Ok(if kind == ChangeKind::Delete {
                status.into_response()
            } else {
                (status, Json(shown)).into_response()
            });
        }
        let mut answer = match kind {
            ChangeKind::Put => (StatusCode::CREATED, Json(shown)).into_response(),
            ChangeKind::Delete | ChangeKind::Start | ChangeKind::Stop => StatusCode::ACCEPTED.into_response(),
        };
        let way =
            if kind == ChangeKind::Put { "containerappOperationStatuses" } else { "containerappOperationResults" };
        let name = if kind == ChangeKind::Put { ASYNC_OPERATION } else { header::LOCATION.as_str() };
        let host = match state.operation_url {
            OperationUrl::Documented => Some(self.base.as_str()),
            OperationUrl::Absent => None,
            OperationUrl::OtherHost => Some("https://elsewhere.test"),
        };
        if let Some(host) = host {
            let subscription = self.path.split('/').nth(2).unwrap_or_default();
            let locations = format!("/subscriptions/{subscription}/providers/Microsoft.App/locations/{LOCATION}");
            let version = self.query.get("api-version").map(String::as_str).unwrap_or_default();
            let url = format!("{host}{locations}/{way}/{operation}?api-version={version}&t=638&c=MII&s=sig&h=hash");
            put_header(&mut answer, name, &url);
        }
        put_header(&mut answer, header::RETRY_AFTER.as_str(), &state.retry_after.to_string());
        Ok(answer)
    }

    fn poll(&self, inner: &Inner) -> RuleResult<Response> {
        let (Target::Status { operation } | Target::Result { operation }) = self.target else {
            return Err(self.not_found());
        };
        let mut state = inner.lock();
        let progress = state.progress(operation, self.now).ok_or_else(|| self.not_found())?;
        let by_status = matches!(self.target, Target::Status { .. });
        let (status, error) = match &progress {
            Progress::Running => ("InProgress", Value::Null),
            Progress::Succeeded(..) => ("Succeeded", Value::Null),
            Progress::Failed(code) => ("Failed", json!({"code": code, "message": "The operation failed."})),
        };
        let mut body = json!({"id": self.path, "name": operation, "status": status});
        if state.state_spelling == StateSpelling::LowerCase {
            body["status"] = status.to_ascii_lowercase().into();
        }
        if !error.is_null() {
            body["error"] = error.clone();
        }
        let mut answer = match progress {
            _ if by_status => Json(body).into_response(),
            Progress::Running => {
                let mut answer = StatusCode::ACCEPTED.into_response();
                let url = format!("{}{}?{}", self.base, self.path, plain_query(&self.query));
                put_header(&mut answer, header::LOCATION.as_str(), &url);
                answer
            }
            Progress::Succeeded(ChangeKind::Delete, _) => StatusCode::NO_CONTENT.into_response(),
            Progress::Succeeded(_, app) => Json(state.get(&app).unwrap_or_default()).into_response(),
            Progress::Failed(_) => (StatusCode::CONFLICT, Json(json!({"error": error}))).into_response(),
        };
        if status == "InProgress" {
            put_header(&mut answer, header::RETRY_AFTER.as_str(), &state.retry_after.to_string());
        }
        Ok(answer)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is no list is not found")]
    fn list(&self, inner: &Inner) -> RuleResult<Response> {
        let state = inner.lock();
        let below = |kind: &str| state.list_below(&format!("{}/", self.path), kind);
        let all = match self.target {
            Target::Roles { scope } => state.list_assignments(scope),
            Target::Identities => below("Microsoft.ManagedIdentity/userAssignedIdentities"),
            Target::Apps => below("Microsoft.App/containerApps"),
            Target::Shares => below("Microsoft.Storage/storageAccounts/fileServices/shares"),
            Target::Storages => below("Microsoft.App/managedEnvironments/storages"),
            Target::Resources => {
                let group = self.path.rsplit_once('/').map_or(self.path, |(group, _)| group);
                let tag = self.query.get("$filter").and_then(|filter| filter.strip_prefix("tagName eq '"));
                state.list_tagged(group, tag.and_then(|tag| tag.strip_suffix('\'')))
            }
            Target::Revisions { app } => {
                let (name, replicas) = self.revision(state.apps.replicas(&app.to_ascii_lowercase()))?;
                let id = format!("{app}/revisions/{name}");
                let properties = json!({"active": true, "replicas": replicas, "trafficWeight": 100});
                let kind = "Microsoft.App/containerapps/revisions";
                vec![json!({"id": id, "name": name, "type": kind, "properties": properties})]
            }
            Target::Replicas { app } => {
                let (name, replicas) = self.revision(state.apps.replicas(&app.to_ascii_lowercase()))?;
                let ids = (0..replicas).map(|n| format!("{name}-{n}"));
                let properties = json!({"runningState": "Running"});
                ids.map(|name| json!({"name": name, "properties": properties})).collect()
            }
            _ => return Err(self.not_found()),
        };
        let skip = self.query.get("$skiptoken").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
        let rest = all.len().saturating_sub(skip + PAGE);
        let mut page = json!({"value": all.into_iter().skip(skip).take(PAGE).collect::<Vec<_>>()});
        if rest > 0 {
            let mut query = self.query.clone();
            query.insert("$skiptoken".to_owned(), (skip + PAGE).to_string());
            page["nextLink"] = json!(format!("{}{}?{}", self.base, self.path, plain_query(&query)));
        }
        Ok(Json(page).into_response())
    }

    fn revision<T>(&self, found: Option<T>) -> RuleResult<T> {
        found.ok_or_else(|| self.not_found())
    }

    fn not_found(&self) -> Refusal {
        let code = if self.target == Target::Share {
            "ShareNotFound"
        } else if self.target == Target::Storage {
            "ManagedEnvironmentStorageNotFound"
        } else if matches!(self.target, Target::Role { .. }) {
            "RoleAssignmentNotFound"
        } else {
            "ResourceNotFound"
        };
        Refusal(StatusCode::NOT_FOUND, code, "The resource was not found.")
    }
}

fn plain_query(query: &HashMap<String, String>) -> String {
    serde_urlencoded::to_string(query).unwrap_or_default()
}

fn put_header(answer: &mut Response, name: &str, value: &str) {
    let name = header::HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        answer.headers_mut().insert(name, value);
    }
}

/// <https://github.com/Azure/azure-cli/issues/20232>
fn locked(path: &str, scope: &str) -> Response {
    let message = format!(
        "The scope '{path}' cannot perform the operation because following scope(s) are locked: '{scope}'. Please \
         remove the lock and try again."
    );
    (StatusCode::CONFLICT, Json(json!({"error": {"code": "ScopeLocked", "message": message}}))).into_response()
}

fn throttled(seconds: u32) -> Response {
    let refusal = Refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "The request is being throttled.");
    ([(header::RETRY_AFTER, seconds.to_string())], refusal).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        (status, Json(json!({"error": {"code": code, "message": message}}))).into_response()
    }
}
