//! What Google's APIs have in common: JSON over HTTPS with a bearer token.

use std::time::Duration;

use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::answer;
use crate::config::{ConfigError, Env};
use crate::providers::Error;

/// The longest a call takes: a list is two calls in a row, and API Gateway gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The root of an API: the setting `name`, or Google's own.
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

/// Sends a request and reads the answer's JSON.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder, token: &SecretString) -> Result<T, Error> {
    let body = answer(request.bearer_auth(token.expose_secret()).timeout(TIMEOUT)).await?;
    serde_json::from_slice(&body).map_err(|error| Error::Malformed { reason: format!("{:?}", error.classify()) })
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
