//! What can be called at Google, and how each call can fail.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::World;
use super::api::Refused;

/// The header of an answer that was a [`Failure`], so that checks can tell it from what the simulator means.
pub(super) const INJECTED: &str = "x-simulated-failure";

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
    /// 403 `userRateLimitExceeded`, Google's other way to say so.
    UsageLimit,
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
