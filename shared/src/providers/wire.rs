//! What the clients of HTTP APIs have in common, whoever the provider: addresses, and how an answer is received.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::Error;
use crate::config::{ConfigError, Env};

/// A longer wait than this is not believed: a slip of a provider's must not silence an account for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// An answer that is the provider's own word: neither a 429 nor a 5xx.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    #[cfg_attr(not(feature = "google"), expect(dead_code, reason = "only Google's 403 asks for a wait"))]
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// The root of an API: the setting `name`, or the provider's own.
pub(super) fn base(env: &Env, name: &str, default: &str) -> Result<Url, ConfigError> {
    let text = env.url(name, default)?;
    Url::parse(&text)
        .map_err(|_| ConfigError::Invalid { name: name.to_owned(), hint: "an address such as https://api.example.com" })
}

/// An address below `base`. Each segment is escaped, so that no identifier can lead elsewhere.
pub(super) fn url(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Only an address without a host has no segments, and `base` has one.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Sends a request and reads an answer of at most `max_bytes`.
pub(super) async fn receive(request: RequestBuilder, max_bytes: usize) -> Result<Answer, Error> {
    let response = unless_passing(request.send().await.map_err(unreachable)?)?;
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    Ok(Answer { status, retry_after, body: bounded_body(response, max_bytes).await? })
}

/// The response, unless it is a 429 or a 5xx: those are no final word, whatever their body says.
pub(super) fn unless_passing(response: Response) -> Result<Response, Error> {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited { retry_after: retry_after(response.headers()) }),
        status if status.is_server_error() => Err(Error::Failed { status: status.as_u16() }),
        _ => Ok(response),
    }
}

/// No answer, without the address: it may carry an id or a secret.
pub(super) fn unreachable(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "connection lost" };
    Error::Unreachable { timed_out: error.is_timeout(), reason: reason.to_owned() }
}

/// Whether a text is a short identifier and so safe to log, rather than a sentence that may quote what we sent.
pub(super) fn is_a_code(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

async fn bounded_body(mut response: Response, max_bytes: usize) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(Error::Malformed { reason: "larger than any answer".to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_stays_within_its_segment() {
        let base = Url::parse("https://gmail.test/gmail/v1").expect("an address");
        let url = url(&base, &["users", "me", "messages", "../x?y#z/%2e%2e"]);
        assert_eq!(url.as_str(), "https://gmail.test/gmail/v1/users/me/messages/..%2Fx%3Fy%23z%2F%252e%252e");
    }
}
