//! The request that all of Google's APIs take: JSON over HTTPS with a bearer token.

use std::time::Duration;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::{Error, fetch_body};
use crate::providers;

/// The limit of one call: a list takes two calls in a row, and API Gateway gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Sends a request and parses the answer's JSON.
pub(super) async fn fetch_json<T: DeserializeOwned>(request: RequestBuilder, token: &SecretString) -> Result<T, Error> {
    let body = fetch_body(request.bearer_auth(token.expose_secret()).timeout(TIMEOUT)).await?;
    serde_json::from_slice(&body).map_err(|error| providers::Error::malformed(format!("{:?}", error.classify())).into())
}
