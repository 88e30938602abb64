//! What Google's APIs have in common: JSON over HTTPS with a bearer token.

use std::time::Duration;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::answer;
use crate::providers::Error;

/// The longest a call takes: a list is two calls in a row, and API Gateway gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Sends a request and reads the answer's JSON.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder, token: &SecretString) -> Result<T, Error> {
    let body = answer(request.bearer_auth(token.expose_secret()).timeout(TIMEOUT)).await?;
    serde_json::from_slice(&body).map_err(|error| Error::Malformed { reason: format!("{:?}", error.classify()) })
}
