//! Google: sign-in and, through its APIs, a person's mailbox and calendar.

mod api;
pub mod calendar;
pub mod gmail;
pub mod oauth;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::Error;

/// Reasons of a 403 that mean "too many requests", as the APIs spell them.
/// <https://developers.google.com/workspace/gmail/api/guides/handle-errors>
const USAGE_LIMITS: [&str; 4] = ["rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"];

/// A longer wait than this is not believed: a slip of Google's must not silence an account for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Larger answers are not read. Gmail's own limit of 25 MB a message grows by a third in base64.
const MAX_ANSWER_BYTES: usize = 40 * 1024 * 1024;

/// Sends a request and returns the body of a 2xx answer; any other becomes the caller's next move.
pub(crate) async fn answer(request: RequestBuilder) -> Result<Bytes, Error> {
    let response = unless_passing(request.send().await.map_err(unreachable)?)?;
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    let body = bounded_body(response).await?;
    match status {
        status if status.is_success() => Ok(body),
        StatusCode::UNAUTHORIZED => Err(Error::Unauthorized),
        StatusCode::NOT_FOUND => Err(Error::NotFound),
        status => Err(refusal(status.as_u16(), reason(&body), retry_after)),
    }
}

/// What a machine-readable reason means: a usage limit passes, whatever its status; any other is a final word.
fn refusal(status: u16, reason: String, retry_after: Option<Duration>) -> Error {
    if USAGE_LIMITS.contains(&reason.as_str()) {
        Error::RateLimited { retry_after }
    } else {
        Error::Refused { status, reason }
    }
}

async fn bounded_body(mut response: Response) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::Malformed { reason: "larger than any answer".to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The response, unless it is a 429 or a 5xx: those are no final word, whatever their body says.
fn unless_passing(response: Response) -> Result<Response, Error> {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited { retry_after: retry_after(response.headers()) }),
        status if status.is_server_error() => Err(Error::Failed { status: status.as_u16() }),
        _ => Ok(response),
    }
}

/// No answer, without the address: it may carry an id or a secret.
fn unreachable(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "connection lost" };
    Error::Unreachable { timed_out: error.is_timeout(), reason: reason.to_owned() }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The machine-readable code of an error: `error` itself (OAuth) or the first of `error.errors[].reason` (the APIs).
fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error.as_str().or_else(|| error["errors"][0]["reason"].as_str()).or_else(|| error["status"].as_str());
    code.filter(|code| is_a_code(code)).unwrap_or_default().to_owned()
}

/// Whether a text is a short identifier and so safe to log, rather than a sentence that may quote what we sent.
fn is_a_code(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_both_shapes_of_error() {
        assert_eq!(reason(br#"{"error":"invalid_token","error_description":"Token expired"}"#), "invalid_token");
        assert_eq!(reason(br#"{"error":{"code":403,"errors":[{"reason":"rateLimitExceeded"}]}}"#), "rateLimitExceeded");
        assert_eq!(reason(br#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#), "PERMISSION_DENIED");
    }

    #[test]
    fn a_sentence_is_no_reason() {
        assert_eq!(reason(br#"{"error":"token ya29.secret is bad"}"#), "");
        assert_eq!(reason(b"<html>"), "");
    }
}
