//! Google: sign-in and, through its APIs, a person's mailbox and calendar.

mod api;
pub mod calendar;
pub mod gmail;
pub mod oauth;
mod refusal;

use bytes::Bytes;
use reqwest::{RequestBuilder, StatusCode};

use super::http;
pub use refusal::{Cause, Reason};

/// Why a call of Google's APIs failed.
pub type Error = super::Error<Reason>;

/// Larger answers are refused. Gmail's own limit of 25 MB a message grows by a third in base64.
const MAX_ANSWER_BYTES: usize = 40 * 1024 * 1024;

/// The body of a 429 is read for its wait alone.
const MAX_THROTTLED_BYTES: usize = 64 * 1024;

/// Sends a request and returns the body of a 2xx answer; any other is an error that names the caller's next move.
async fn fetch_body(request: RequestBuilder) -> Result<Bytes, Error> {
    let response = request.send().await?;
    let retry_after = http::retry_after(response.headers());
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        let body = http::read_body(response, MAX_THROTTLED_BYTES).await.ok().flatten().unwrap_or_default();
        return Err(Error::RateLimited { retry_after: retry_after.or_else(|| refusal::parse_wait(&body)) });
    }
    let answer = http::read_answer(response, MAX_ANSWER_BYTES).await?;
    let body = answer.body.clone();
    match answer.into_success(Reason::from_body) {
        Ok(answer) => Ok(answer.body),
        // A usage limit passes, whatever its status.
        Err(Error::Refused { reason, .. }) if reason.cause == Cause::UsageLimit => {
            Err(Error::RateLimited { retry_after: retry_after.or_else(|| refusal::parse_wait(&body)) })
        }
        Err(error) => Err(error),
    }
}

impl From<super::Error> for Error {
    fn from(error: super::Error) -> Self {
        error.map_reason(|code| Reason::from_code(&code))
    }
}
