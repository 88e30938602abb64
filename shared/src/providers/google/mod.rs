//! Google: sign-in and, through its APIs, a person's mailbox and calendar.

mod api;
pub mod calendar;
pub mod gmail;
pub mod oauth;

use std::time::Duration;

use bytes::Bytes;
use reqwest::RequestBuilder;
use serde_json::Value;

use super::Error;
use super::http;

/// Codes of a 403 that mean "too many requests", as the APIs spell them.
/// <https://developers.google.com/workspace/gmail/api/guides/handle-errors>
const USAGE_LIMITS: [&str; 4] = ["rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "quotaExceeded"];

/// Larger answers are refused. Gmail's own limit of 25 MB a message grows by a third in base64.
const MAX_ANSWER_BYTES: usize = 40 * 1024 * 1024;

/// Sends a request and returns the body of a 2xx answer; any other is an error that names the caller's next move.
async fn fetch_body(request: RequestBuilder) -> Result<Bytes, Error> {
    let answer = http::receive(request, MAX_ANSWER_BYTES).await?;
    let retry_after = http::retry_after(&answer.headers);
    match answer.into_success(parse_code) {
        Ok(answer) => Ok(answer.body),
        Err(Error::Refused { status, reason }) => Err(map_refusal(status, reason, retry_after)),
        Err(error) => Err(error),
    }
}

/// The error that a code stands for: a usage limit passes, whatever its status; any other code is permanent.
fn map_refusal(status: u16, reason: String, retry_after: Option<Duration>) -> Error {
    if USAGE_LIMITS.contains(&reason.as_str()) {
        Error::RateLimited { retry_after }
    } else {
        Error::Refused { status, reason }
    }
}

/// The code of an error: `error` itself (OAuth) or the first of `error.errors[].reason` (the APIs).
fn parse_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let code = error.as_str().or_else(|| error["errors"][0]["reason"].as_str()).or_else(|| error["status"].as_str());
    http::loggable_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_in_both_shapes_of_error() {
        assert_eq!(parse_code(br#"{"error":"invalid_token","error_description":"Token expired"}"#), "invalid_token");
        assert_eq!(
            parse_code(br#"{"error":{"code":403,"errors":[{"reason":"rateLimitExceeded"}]}}"#),
            "rateLimitExceeded"
        );
        assert_eq!(parse_code(br#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#), "PERMISSION_DENIED");
    }

    #[test]
    fn a_sentence_is_no_code() {
        assert_eq!(parse_code(br#"{"error":"token ya29.secret is bad"}"#), "");
        assert_eq!(parse_code(b"<html>"), "");
    }
}
