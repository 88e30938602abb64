//! Google: sign-in and, through its APIs, a person's mailbox and calendar.

mod api;
pub mod calendar;
pub mod gmail;
pub mod oauth;

use std::time::Duration;

use bytes::Bytes;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use super::Error;
use super::wire::{self, Answer, is_a_code};

/// Reasons of a 403 that mean "too many requests", as the APIs spell them.
/// <https://developers.google.com/workspace/gmail/api/guides/handle-errors>
const USAGE_LIMITS: [&str; 4] = ["rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"];

/// Larger answers are not read. Gmail's own limit of 25 MB a message grows by a third in base64.
const MAX_ANSWER_BYTES: usize = 40 * 1024 * 1024;

/// Sends a request and returns the body of a 2xx answer; any other becomes the caller's next move.
async fn answer(request: RequestBuilder) -> Result<Bytes, Error> {
    let Answer { status, retry_after, body } = wire::receive(request, MAX_ANSWER_BYTES).await?;
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

/// The machine-readable code of an error: `error` itself (OAuth) or the first of `error.errors[].reason` (the APIs).
fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error.as_str().or_else(|| error["errors"][0]["reason"].as_str()).or_else(|| error["status"].as_str());
    code.filter(|code| is_a_code(code)).unwrap_or_default().to_owned()
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
