//! What the clients of HTTP APIs have in common: addresses, bounded answers, and what a failed answer means.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::Error;
use crate::config::{ConfigError, Env};

/// The longest wait that a provider can ask for. A longer one would be a slip, which must not stop an account for a
/// day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A longer text is not logged as a code.
const MAX_CODE_BYTES: usize = 80;

/// An answer whose body was read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The root of an API: the setting `name`, or the provider's own.
pub(super) fn base_url(env: &Env, name: &str, default: &str) -> Result<Url, ConfigError> {
    let text = env.url(name, default)?;
    Url::parse(&text).map_err(|_| ConfigError::invalid(name, "an address such as https://api.example.com"))
}

/// An address below `base`. Each segment is escaped, so that no identifier can lead elsewhere.
pub(super) fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Only an address without a host has no segments, and `base` has one.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Sends a request and reads an answer of at most `max_bytes`.
///
/// # Errors
/// [`Error::RateLimited`] and [`Error::Failed`] for a 429 and a 5xx, whatever their body says.
pub(super) async fn receive(request: RequestBuilder, max_bytes: usize) -> Result<Answer, Error> {
    read_answer(request.send().await?, max_bytes).await
}

/// Reads an answer of at most `max_bytes`, as [`receive`] does.
pub(super) async fn read_answer(response: Response, max_bytes: usize) -> Result<Answer, Error> {
    let mut response = reject_transient(response)?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    match read_body(response, max_bytes).await? {
        Some(body) => Ok(Answer { status, headers, body }),
        None => Err(Error::malformed("larger than any answer")),
    }
}

/// The response, unless it is a 429 or a 5xx: neither is a permanent error, whatever its body says.
pub(super) fn reject_transient(response: Response) -> Result<Response, Error> {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited { retry_after: retry_after(response.headers()) }),
        status if status.is_server_error() => Err(Error::Failed { status: status.as_u16() }),
        _ => Ok(response),
    }
}

/// Reads a body; `None` when it is larger than `max_bytes`, which is noticed before that much is held.
pub(super) async fn read_body(mut response: Response, max_bytes: usize) -> Result<Option<Bytes>, Error> {
    let announced = usize::try_from(response.content_length().unwrap_or_default()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Ok(None);
    }
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// How long an answer asks us to wait, in whole seconds; at most [`MAX_RETRY_AFTER`].
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?)
}

/// [`retry_after`] from the header's text.
pub(super) fn parse_retry_after(text: &str) -> Option<Duration> {
    Some(bounded_wait(Duration::from_secs(text.trim().parse().ok()?)))
}

/// The wait that a provider asks for, no longer than [`MAX_RETRY_AFTER`].
pub(super) fn bounded_wait(wait: Duration) -> Duration {
    wait.min(MAX_RETRY_AFTER)
}

/// A provider's error code, to be logged; empty when there is none, or when the text may be a sentence that quotes what
/// we sent.
pub(super) fn loggable_code(code: Option<&str>) -> String {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_code = |text: &&str| text.len() <= MAX_CODE_BYTES && text.bytes().all(is_known);
    code.filter(is_code).unwrap_or_default().to_owned()
}

impl Answer {
    /// This answer, if it is a 2xx. `reason_of` finds the provider's reason in the body of a refusal.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::NotFound`] or [`Error::Refused`].
    pub(super) fn into_success<R>(self, reason_of: impl FnOnce(&[u8]) -> R) -> Result<Self, Error<R>>
    where
        R: fmt::Display + fmt::Debug,
    {
        match self.status {
            status if status.is_success() => Ok(self),
            StatusCode::UNAUTHORIZED => Err(Error::Unauthorized),
            StatusCode::NOT_FOUND => Err(Error::NotFound),
            status => Err(Error::Refused { status: status.as_u16(), reason: reason_of(&self.body) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_stays_within_its_segment() {
        let base = Url::parse("https://gmail.test/gmail/v1").expect("an address");
        let url = join(&base, &["users", "me", "messages", "../x?y#z/%2e%2e"]);
        assert_eq!(url.as_str(), "https://gmail.test/gmail/v1/users/me/messages/..%2Fx%3Fy%23z%2F%252e%252e");
    }

    #[test]
    fn a_code_is_logged_and_a_sentence_is_not() {
        for code in ["resource_missing", "PERMISSION_DENIED", "Microsoft.App-1", &"a".repeat(MAX_CODE_BYTES)] {
            assert_eq!(loggable_code(Some(code)), code);
        }
        for text in ["No such customer", "a'b", "ä", &"a".repeat(MAX_CODE_BYTES + 1)] {
            assert_eq!(loggable_code(Some(text)), "");
        }
        assert_eq!(loggable_code(None), "");
    }

    #[test]
    fn a_wait_is_whole_seconds_and_has_a_bound() {
        assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("86400"), Some(MAX_RETRY_AFTER));
        for text in ["", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(parse_retry_after(text), None, "{text}");
        }
    }
}
