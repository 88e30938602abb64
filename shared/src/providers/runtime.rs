//! A tenant's runtime: it stores Telegram's updates durably and acknowledges them.
//!
//! It is called as Telegram would call it: <https://core.telegram.org/bots/api#setwebhook>. An update is delivered only
//! when the answer says that it was stored; in any other case it is sent again, and the runtime drops repeats.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::http;

const PATH: &str = "telegram-webhook";
const SECRET: &str = "x-telegram-bot-api-secret-token";
const ACCEPTED: &str = "x-openclaw-delivery-accepted";
const DURABLE: &str = "durable";
/// What the container's front sets on every answer of its own: `ready`, or `starting` while it is not up. An answer
/// without it comes from something in between, such as the platform's edge, and says nothing about the update.
const FRONT: &str = "x-nbhd-front";

/// The limit of a delivery. A runtime that is up answers within 300 ms.
const TIMEOUT: Duration = Duration::from_secs(25);
const HEALTH_PATH: &str = "healthz";
/// The limit of one health check. A runtime starts within 40 s; the caller repeats the check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest `Retry-After` of a runtime that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The outcome of a delivery; each variant is the caller's next move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The runtime stored the update: never send it again.
    Accepted,
    /// The runtime's front does not know this secret (401, 403).
    SecretRefused,
    /// The runtime's front says that this is not an update (400), which is permanent.
    Rejected,
    /// The runtime's front is ready, and the runtime fails on this update (5xx).
    Failed {
        /// The HTTP status.
        status: u16,
        /// How long the runtime asks us to wait: 1 s to 60 s.
        retry_after: Option<Duration>,
    },
    /// The runtime may accept the update later.
    Deferred {
        /// Why it was not accepted now.
        cause: RuntimeFailure,
        /// How long the runtime asks us to wait: 1 s to 60 s.
        retry_after: Option<Duration>,
    },
}

/// Who gave an answer, by its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    /// The container's front, which is up.
    ReadyFront,
    /// The container's front, which is not up yet.
    StartingFront,
    /// Something in between.
    Other,
}

/// Why a runtime cannot accept an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeFailure {
    /// No connection was made, or it broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The answer has a status without a meaning of its own.
    Status(u16),
    /// 200, but without the header that says that the update was stored.
    NotDurable,
}

impl Delivery {
    /// The stable code for log lines.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::SecretRefused => "secret_refused",
            Self::Rejected => "rejected",
            Self::Failed { .. } => "failed",
            Self::Deferred { .. } => "deferred",
        }
    }

    /// Why the update was deferred; `None` for every other outcome.
    pub const fn cause(self) -> Option<RuntimeFailure> {
        match self {
            Self::Deferred { cause, .. } => Some(cause),
            Self::Failed { status, .. } => Some(RuntimeFailure::Status(status)),
            Self::Accepted | Self::SecretRefused | Self::Rejected => None,
        }
    }
}

impl From<reqwest::Error> for RuntimeFailure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Unreachable }
    }
}

impl fmt::Display for RuntimeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotDurable => f.write_str("not durable"),
        }
    }
}

/// The client of the runtimes of all tenants.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
}

impl Client {
    /// A client over `http`, whose connect timeout applies; a delivery takes at most 25 s in all.
    pub fn new(http: reqwest::Client) -> Self {
        Self { http, timeout: TIMEOUT }
    }

    /// The same client with another limit for a delivery.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Checks that the runtime at `runtime_url` (without a trailing slash) is up; the request starts a replica when
    /// there is none.
    ///
    /// # Errors
    /// [`RuntimeFailure`] when it cannot accept an update yet.
    pub async fn check_health(&self, runtime_url: &str) -> Result<(), RuntimeFailure> {
        let answer = self.http.get(format!("{runtime_url}/{HEALTH_PATH}")).timeout(HEALTH_TIMEOUT).send().await;
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
            Ok(answer) => Err(RuntimeFailure::Status(answer.status().as_u16())),
            Err(error) => Err(error.into()),
        }
    }

    /// Delivers an update, byte for byte, to the runtime at `runtime_url` (without a trailing slash).
    pub async fn deliver(&self, runtime_url: &str, secret: &SecretString, update: Bytes) -> Delivery {
        let request = self.http.post(format!("{runtime_url}/{PATH}")).timeout(self.timeout);
        let request = request.header(SECRET, secret.expose_secret()).header(CONTENT_TYPE, "application/json");
        match request.body(update).send().await {
            Ok(answer) => interpret_answer(&answer),
            Err(error) => Delivery::Deferred { cause: error.into(), retry_after: None },
        }
    }
}

fn interpret_answer(answer: &Response) -> Delivery {
    let (status, author, retry_after) = (answer.status(), author(answer), retry_after(answer));
    let deferred = |cause| Delivery::Deferred { cause, retry_after };
    match (status, author) {
        (StatusCode::OK, _) if is_durable(answer) => Delivery::Accepted,
        (StatusCode::OK, _) => deferred(RuntimeFailure::NotDurable),
        (StatusCode::BAD_REQUEST, Author::ReadyFront) => Delivery::Rejected,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Author::ReadyFront) => Delivery::SecretRefused,
        (status, Author::ReadyFront) if status.is_server_error() => {
            Delivery::Failed { status: status.as_u16(), retry_after }
        }
        (status, Author::ReadyFront | Author::StartingFront | Author::Other) => {
            deferred(RuntimeFailure::Status(status.as_u16()))
        }
    }
}

fn author(answer: &Response) -> Author {
    match answer.headers().get(FRONT).map(HeaderValue::as_bytes) {
        Some(b"ready") => Author::ReadyFront,
        Some(b"starting") => Author::StartingFront,
        Some(_) | None => Author::Other,
    }
}

fn is_durable(answer: &Response) -> bool {
    answer.headers().get(ACCEPTED).is_some_and(|value| value.as_bytes() == DURABLE.as_bytes())
}

fn retry_after(answer: &Response) -> Option<Duration> {
    Some(http::retry_after(answer.headers())?.clamp(Duration::from_secs(1), MAX_RETRY_AFTER))
}
