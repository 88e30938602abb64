//! A tenant's runtime: the container's front, which takes Telegram updates into its journal and acknowledges them.
//!
//! It is addressed as Telegram would address it: <https://core.telegram.org/bots/api#setwebhook>. An update is in its
//! keeping only when the answer says so; whatever else happens, the update is sent again, and the runtime drops
//! repeats.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

const PATH: &str = "telegram-webhook";
const SECRET: &str = "x-telegram-bot-api-secret-token";
const ACCEPTED: &str = "x-openclaw-delivery-accepted";
const DURABLE: &str = "durable";

/// A delivery that takes longer has failed. A runtime that is up answers within 300 ms.
const TIMEOUT: Duration = Duration::from_secs(25);
const HEALTH_PATH: &str = "healthz";
/// A runtime that wakes up answers within 40 s; whoever waits asks again.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// No runtime may put its messages off for longer than this at a time.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What became of a delivery; each variant is the caller's next move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The update is in the runtime's keeping: never send it again.
    Accepted,
    /// The runtime does not know this secret (401, 403).
    SecretRefused,
    /// The runtime says that this is no update (400): sending it again changes nothing.
    Rejected,
    /// It may be taken later.
    NotYet {
        /// What happened.
        cause: Cause,
        /// How long the runtime asks us to wait: between 1 s and 60 s.
        retry_after: Option<Duration>,
    },
}

/// Why an update was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection, or one that broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Another answer than those with a meaning.
    Status(u16),
    /// 200, but nobody promises to keep the update.
    NotDurable,
}

impl Delivery {
    /// The stable code in log lines.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::SecretRefused => "secret_refused",
            Self::Rejected => "rejected",
            Self::NotYet { .. } => "not_yet",
        }
    }

    /// What happened, where an update was not taken.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::NotYet { cause, .. } => Some(cause),
            Self::Accepted | Self::SecretRefused | Self::Rejected => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotDurable => f.write_str("not durable"),
        }
    }
}

/// The client of all tenants' runtimes.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
}

impl Client {
    /// A client over `http`, whose connect timeout holds; a delivery takes at most 25 s in all.
    pub fn new(http: reqwest::Client) -> Self {
        Self { http, timeout: TIMEOUT }
    }

    /// The same with another limit for a whole delivery.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether the runtime at `runtime_url` (without a trailing slash) says that it is up; asking wakes it.
    ///
    /// # Errors
    /// [`Cause`], why it cannot take a message yet.
    pub async fn health(&self, runtime_url: &str) -> Result<(), Cause> {
        let answer = self.http.get(format!("{runtime_url}/{HEALTH_PATH}")).timeout(HEALTH_TIMEOUT).send().await;
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
            Ok(answer) => Err(Cause::Status(answer.status().as_u16())),
            Err(error) if error.is_timeout() => Err(Cause::TimedOut),
            Err(_) => Err(Cause::Unreachable),
        }
    }

    /// Hands an update, byte for byte, to the runtime at `runtime_url` (without a trailing slash).
    pub async fn deliver(&self, runtime_url: &str, secret: &SecretString, update: Bytes) -> Delivery {
        let request = self.http.post(format!("{runtime_url}/{PATH}")).timeout(self.timeout);
        let request = request.header(SECRET, secret.expose_secret()).header(CONTENT_TYPE, "application/json");
        match request.body(update).send().await {
            Ok(answer) => judge(&answer),
            Err(error) => {
                let cause = if error.is_timeout() { Cause::TimedOut } else { Cause::Unreachable };
                Delivery::NotYet { cause, retry_after: None }
            }
        }
    }
}

fn judge(answer: &Response) -> Delivery {
    let not_yet = |cause| Delivery::NotYet { cause, retry_after: retry_after(answer) };
    match answer.status() {
        StatusCode::OK if is_durable(answer) => Delivery::Accepted,
        StatusCode::OK => not_yet(Cause::NotDurable),
        StatusCode::BAD_REQUEST => Delivery::Rejected,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Delivery::SecretRefused,
        status => not_yet(Cause::Status(status.as_u16())),
    }
}

fn is_durable(answer: &Response) -> bool {
    answer.headers().get(ACCEPTED).is_some_and(|value| value.as_bytes() == DURABLE.as_bytes())
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), MAX_RETRY_AFTER))
}
