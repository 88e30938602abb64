//! One file per outside service. Every client is `{ http, base_url, secret }`; nothing here knows the table or a queue.

#[cfg(feature = "azure")]
pub mod azure;
#[cfg(feature = "google")]
pub mod google;
#[cfg(feature = "model-gateway")]
pub mod model_gateway;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "stripe")]
pub mod stripe;
#[cfg(feature = "telegram")]
pub mod telegram;
#[cfg(any(feature = "google", feature = "model-gateway", feature = "stripe"))]
mod wire;

use std::time::Duration;

/// Why a provider's answer cannot be used; each variant is the caller's next move.
///
/// Only [`Self::Refused`], [`Self::NotFound`] and [`Self::Unauthorized`] are the provider's own word. Nothing here
/// holds an address or a body: both can carry secrets.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No answer: refused, reset or too slow. Whether the call took effect is unknown.
    #[error("no answer ({reason})")]
    Unreachable {
        /// Whether a time limit of ours ended the wait.
        timed_out: bool,
        /// A short cause, without an address.
        reason: String,
    },
    /// Too many requests: wait before the next one.
    #[error("rate limited")]
    RateLimited {
        /// How long the provider asks us to wait, when it says so.
        retry_after: Option<Duration>,
    },
    /// The credential was not accepted (401).
    #[error("credential not accepted")]
    Unauthorized,
    /// The thing asked for does not exist (404).
    #[error("not found")]
    NotFound,
    /// The provider's final word against this request (any other 4xx).
    #[error("refused with status {status} ({reason})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The provider's machine-readable code; empty when it gave none.
        reason: String,
    },
    /// The provider failed (5xx).
    #[error("failed with status {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
    },
    /// An answer that is not of the provider's documented form.
    #[error("unreadable answer ({reason})")]
    Malformed {
        /// What was wrong with it, never its text.
        reason: String,
    },
}

impl Error {
    /// Whether the provider has surely seen nothing of the call.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreachable { timed_out: false, reason } if reason == "no connection")
    }

    /// Whether the same call may succeed later without anything else changing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::RateLimited { .. } | Self::Failed { .. } | Self::Malformed { .. } => true,
            Self::Unauthorized | Self::NotFound | Self::Refused { .. } => false,
        }
    }
}
