//! What can be called at Google, and how each call can fail.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::World;
use super::api::Refused;

/// The header of an answer that was a [`Failure`], so that checks can tell it from what the simulator means.
pub(super) const INJECTED: &str = "x-simulated-failure";

/// The address before the name of a detail's type.
const TYPES: &str = "type.googleapis.com";

/// A kind of request to Google.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The consent page.
    Authorize,
    /// `POST /token`, both grants.
    Token,
    /// `POST /revoke`.
    Revoke,
    /// Either user info address.
    UserInfo,
    /// Gmail `users.messages.list`.
    MessagesList,
    /// Gmail `users.messages.get`.
    MessagesGet,
    /// Gmail `users.threads.get`.
    ThreadsGet,
    /// Calendar `calendars.get`.
    CalendarGet,
    /// Calendar `events.list`.
    EventsList,
    /// Calendar `freebusy.query`.
    FreeBusy,
}

/// How a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 429 `rateLimitExceeded`, with `Retry-After` in seconds if given.
    Throttled(Option<u32>),
    /// 429 with the wait, in seconds, in a `RetryInfo` alone.
    /// <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>
    ThrottledInBody(u32),
    /// 403 `userRateLimitExceeded`, Google's other way to say so.
    UsageLimit,
    /// The account has no mailbox: 400 `failedPrecondition`, which only its message tells from other causes.
    /// <https://github.com/FlowCrypt/flowcrypt-browser/issues/4838>
    NoMailbox,
    /// 400 `failedPrecondition` for any other cause, such as a service account that acts for nobody.
    Precondition,
    /// 403 with this reason in `errors[]`, such as `notACalendarUser` or `domainPolicy`.
    /// <https://developers.google.com/workspace/calendar/api/guides/errors>
    /// <https://developers.google.com/workspace/gmail/api/guides/handle-errors>
    Forbidden(&'static str),
    /// 403 with this reason in an `ErrorInfo` of `details[]` alone, such as `ACCESS_TOKEN_SCOPE_INSUFFICIENT`.
    /// <https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto>
    ForbiddenInDetails(&'static str),
    /// The API is not enabled in our project: 403 with both forms of the reason.
    /// <https://docs.cloud.google.com/service-usage/docs/enable-disable>
    ApiDisabled,
    /// An API key that is not valid, which comes as 400 `INVALID_ARGUMENT`.
    KeyInvalid,
    /// 401 as for a token that ended early.
    Unauthorized,
    /// 404, as for a resource that was deleted meanwhile.
    NotFound,
    /// A server error of this status, with an HTML page as from a front end.
    Status(u16),
    /// 200 with a body that is no JSON.
    NotJson,
    /// No answer, until the caller goes away.
    Hang,
    /// The call takes effect, and its answer is lost: 502.
    AnswerLost,
    /// 400 with this `error`, in the token endpoint's shape, such as `invalid_grant`.
    OAuth(&'static str),
    /// 400 that repeats the whole request in every field, credentials included, as careless services do.
    Echo,
}

impl Endpoint {
    fn from_request(method: &Method, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        Some(match (method.as_str(), parts.as_slice()) {
            (_, ["o", "oauth2", "v2", "auth"]) => Self::Authorize,
            ("POST", ["token"]) => Self::Token,
            ("POST", ["revoke"]) => Self::Revoke,
            ("GET", ["oauth2", "v2", "userinfo"] | ["v1", "userinfo"]) => Self::UserInfo,
            ("GET", ["gmail", "v1", "users", _, "messages"]) => Self::MessagesList,
            ("GET", ["gmail", "v1", "users", _, "messages", _]) => Self::MessagesGet,
            ("GET", ["gmail", "v1", "users", _, "threads", _]) => Self::ThreadsGet,
            ("GET", ["calendar", "v3", "calendars", _]) => Self::CalendarGet,
            ("GET", ["calendar", "v3", "calendars", _, "events"]) => Self::EventsList,
            ("POST", ["calendar", "v3", "freeBusy"]) => Self::FreeBusy,
            _ => return None,
        })
    }
}

/// Delays a call and fails it, as [`World::faults`] asks for.
pub(super) async fn inject_failure(State(world): State<World>, request: Request, next: Next) -> Response {
    let Some(endpoint) = Endpoint::from_request(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let failure = world.faults.take(endpoint);
    world.faults.wait(endpoint).await;
    let Some(failure) = failure else { return next.run(request).await };
    let mut response = match failure {
        Failure::Hang => std::future::pending().await,
        Failure::AnswerLost => {
            next.run(request).await;
            front_end_page(StatusCode::BAD_GATEWAY)
        }
        Failure::Throttled(seconds) => rate_limited(seconds),
        Failure::ThrottledInBody(seconds) => {
            let info = json!({ "@type": format!("{TYPES}/google.rpc.RetryInfo"), "retryDelay": format!("{seconds}s") });
            error(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "Quota exceeded.", &[], &[info])
        }
        Failure::NoMailbox => precondition("Mail service not enabled"),
        Failure::Precondition => precondition("Precondition check failed."),
        Failure::Forbidden(reason) => error(StatusCode::FORBIDDEN, "PERMISSION_DENIED", "Forbidden", &[reason], &[]),
        Failure::ForbiddenInDetails(reason) => {
            error(StatusCode::FORBIDDEN, "PERMISSION_DENIED", "Forbidden", &[], &[info(reason)])
        }
        Failure::ApiDisabled => {
            let (reasons, details) = (["accessNotConfigured"], [info("SERVICE_DISABLED")]);
            let message = "Gmail API has not been used in project 1043 before or it is disabled.";
            error(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message, &reasons, &details)
        }
        Failure::KeyInvalid => {
            let message = "API key not valid. Please pass a valid API key.";
            let details = [info("API_KEY_INVALID")];
            error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message, &["badRequest"], &details)
        }
        Failure::UsageLimit => {
            let refused = Refused::new(StatusCode::FORBIDDEN, "userRateLimitExceeded", "User Rate Limit Exceeded.");
            refused.in_domain("usageLimits").into_response()
        }
        Failure::Unauthorized => Refused::invalid_credentials().into_response(),
        Failure::Status(status) => {
            front_end_page(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Failure::NotJson => ([(header::CONTENT_TYPE, "application/json")], "{\"id\": ").into_response(),
        Failure::OAuth(error) => super::token::refusal(StatusCode::BAD_REQUEST, error, "Bad Request"),
        Failure::NotFound => Refused::not_found().into_response(),
        Failure::Echo => echo(request).await,
    };
    response.headers_mut().insert(INJECTED, HeaderValue::from_static("1"));
    response
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let repeated = format!("cannot handle {} {:?} {}", head.uri, head.headers, String::from_utf8_lossy(&body));
    let body = if head.uri.path().starts_with("/token") || head.uri.path().starts_with("/revoke") {
        json!({ "error": repeated, "error_description": repeated })
    } else {
        let detail = json!({ "reason": repeated, "message": repeated, "domain": "global" });
        json!({ "error": { "code": 400, "message": repeated, "errors": [detail], "status": repeated } })
    };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn precondition(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "FAILED_PRECONDITION", message, &["failedPrecondition"], &[])
}

/// An `ErrorInfo`.
fn info(reason: &str) -> Value {
    json!({ "@type": format!("{TYPES}/google.rpc.ErrorInfo"), "reason": reason, "domain": "googleapis.com" })
}

/// An error with any of the [forms](https://cloud.google.com/apis/design/errors) of a reason.
fn error(status: StatusCode, code: &str, message: &str, reasons: &[&str], details: &[Value]) -> Response {
    let mut error = json!({ "code": status.as_u16(), "message": message, "status": code });
    if !reasons.is_empty() {
        let old = |reason: &&str| json!({ "message": message, "domain": "global", "reason": reason });
        error["errors"] = reasons.iter().map(old).collect();
    }
    if !details.is_empty() {
        error["details"] = details.into();
    }
    (status, Json(json!({ "error": error }))).into_response()
}

fn rate_limited(seconds: Option<u32>) -> Response {
    let refused =
        Refused::new(StatusCode::TOO_MANY_REQUESTS, "rateLimitExceeded", "Too many concurrent requests for user.");
    let mut response = refused.in_domain("usageLimits").into_response();
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// What Google's front end says when a service behind it is down: a page, never JSON.
fn front_end_page(status: StatusCode) -> Response {
    let title = format!("Error {} (Server Error)!!1", status.as_u16());
    let page =
        format!("<!DOCTYPE html><html lang=en><title>{title}</title><p>The server encountered an error.</p></html>");
    (status, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response()
}
