//! The clients of outside services, one module for each. A client has an HTTP client, a base URL and a secret; none
//! uses the table or a queue.

#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "google")]
pub mod google;
#[cfg_attr(
    not(all(
        feature = "arm",
        feature = "google",
        feature = "model-gateway",
        feature = "stripe",
        feature = "telegram"
    )),
    allow(dead_code, reason = "a function that talks to one vendor needs a part of it")
)]
mod http;
#[cfg(feature = "model-gateway")]
pub mod model_gateway;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "stripe")]
pub mod stripe;
#[cfg(feature = "telegram")]
pub mod telegram;

use std::fmt;
use std::time::Duration;

/// Why a call to a provider failed; each variant is the caller's next move.
///
/// [`Self::Refused`], [`Self::NotFound`] and [`Self::Unauthorized`] are permanent. No variant has an address or a body:
/// both can carry secrets. `R` is the reason of a refusal: the provider's code as text, or what its client reads in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error<R: fmt::Display + fmt::Debug = String> {
    /// There was no answer. Whether the call took effect is unknown, unless [`Self::is_unsent`].
    #[error("no answer ({cause})")]
    Unreachable {
        /// What ended the call.
        cause: NetworkFailure,
    },
    /// The provider throttles (429): wait before the next call.
    #[error("rate limited")]
    RateLimited {
        /// How long the provider asks us to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// The credential was not accepted (401).
    #[error("credential not accepted")]
    Unauthorized,
    /// The resource does not exist (404).
    #[error("not found")]
    NotFound,
    /// The provider refuses this request (any other 4xx).
    #[error("refused with status {status} ({reason})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The provider's machine-readable code; empty when it gave none.
        reason: R,
    },
    /// The provider failed (5xx).
    #[error("failed with status {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not of the provider's documented form.
    #[error("unreadable answer ({reason})")]
    Malformed {
        /// What is wrong with it; never a quotation.
        reason: String,
    },
}

/// What ended a call before its whole answer arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFailure {
    /// No connection was made, in time or at all: the provider has seen nothing of the call.
    NotConnected,
    /// A time limit of ours passed while waiting for the answer.
    TimedOut,
    /// The connection broke after it was made.
    ConnectionLost,
}

impl Error {
    /// A [`Self::Malformed`]; `reason` says what is wrong with the answer and never quotes it.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed { reason: reason.into() }
    }
}

impl<R: fmt::Display + fmt::Debug> Error<R> {
    /// Whether the provider surely did not receive the call, so that it may be repeated.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreachable { cause: NetworkFailure::NotConnected })
    }

    /// Whether the same call may succeed later without anything else changing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::RateLimited { .. } | Self::Failed { .. } | Self::Malformed { .. } => true,
            Self::Unauthorized | Self::NotFound | Self::Refused { .. } => false,
        }
    }

    /// The same with another reading of a refusal's reason.
    #[cfg(feature = "google")]
    fn map_reason<S: fmt::Display + fmt::Debug>(self, read: impl FnOnce(R) -> S) -> Error<S> {
        match self {
            Self::Unreachable { cause } => Error::Unreachable { cause },
            Self::RateLimited { retry_after } => Error::RateLimited { retry_after },
            Self::Unauthorized => Error::Unauthorized,
            Self::NotFound => Error::NotFound,
            Self::Refused { status, reason } => Error::Refused { status, reason: read(reason) },
            Self::Failed { status } => Error::Failed { status },
            Self::Malformed { reason } => Error::Malformed { reason },
        }
    }
}

impl From<&reqwest::Error> for NetworkFailure {
    fn from(error: &reqwest::Error) -> Self {
        // A connection that took too long is an error of both kinds, and nothing was sent over it.
        if error.is_connect() {
            Self::NotConnected
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::ConnectionLost
        }
    }
}

impl<R: fmt::Display + fmt::Debug> From<reqwest::Error> for Error<R> {
    /// Only the kind of failure is kept: the error names its address, which may carry a secret.
    fn from(error: reqwest::Error) -> Self {
        Self::Unreachable { cause: NetworkFailure::from(&error) }
    }
}

impl fmt::Display for NetworkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "no connection",
            Self::TimedOut => "timed out",
            Self::ConnectionLost => "connection lost",
        })
    }
}
