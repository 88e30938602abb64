//! Azure: Microsoft's SDK over our shared transport, and REST for the resource manager, which has no SDK.
//!
//! Every client here takes the process's one HTTPS client and never retries: by default the SDK builds clients of its
//! own, which costs milliseconds of a cold start, and retries for a minute, which is too long for a person who waits.

pub mod credential;
#[cfg(feature = "vault")]
pub mod key_vault;
#[cfg(feature = "arm")]
pub mod resource_manager;
#[cfg(feature = "vault")]
pub mod vaults;

use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::RETRY_AFTER;
use azure_core::http::{ClientOptions, RawResponse, RetryOptions, Transport};
use serde::Deserialize;

use super::{Error, NetworkFailure, http};

fn client_options(http: &reqwest::Client) -> ClientOptions {
    ClientOptions {
        transport: Some(Transport::new(Arc::new(http.clone()))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

/// The SDK's error as ours. Its text is dropped, since it quotes bodies.
fn map_sdk_error(error: &azure_core::Error) -> Error {
    match error.kind() {
        ErrorKind::HttpResponse { status, raw_response, .. } => map_status(u16::from(*status), raw_response.as_deref()),
        // The sign-in failed; its own error is the source.
        ErrorKind::Credential => {
            let source = error.downcast_ref::<azure_core::Error>().map(map_sdk_error);
            match source.or_else(|| error.downcast_ref::<Error>().cloned()) {
                // A refusal by Entra or STS says nothing about the secret that we asked for.
                Some(Error::NotFound | Error::Unauthorized) => {
                    Error::Refused { status: 401, reason: "sign_in_refused".to_owned() }
                }
                Some(source) => source,
                None => Error::malformed("no token from the sign-in"),
            }
        }
        ErrorKind::Connection => Error::Unreachable { cause: NetworkFailure::NotConnected },
        ErrorKind::Io => {
            let timed_out = error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout);
            let cause = if timed_out { NetworkFailure::TimedOut } else { NetworkFailure::ConnectionLost };
            Error::Unreachable { cause }
        }
        ErrorKind::DataConversion => Error::malformed("not of the documented form"),
        _ => Error::malformed("the SDK gave up"),
    }
}

fn map_status(status: u16, answer: Option<&RawResponse>) -> Error {
    match status {
        429 => Error::RateLimited { retry_after: answer.and_then(retry_after) },
        500.. => Error::Failed { status },
        401 => Error::Unauthorized,
        _ => {
            let reason = answer.map(|answer| parse_code(answer.body())).unwrap_or_default();
            // Any other 404 does not come from a vault: it says nothing about the secret.
            if status == 404 && reason == "SecretNotFound" {
                Error::NotFound
            } else {
                Error::Refused { status, reason }
            }
        }
    }
}

/// How long Key Vault asks us to wait, in whole seconds.
/// <https://learn.microsoft.com/azure/key-vault/general/overview-throttling>
fn retry_after(answer: &RawResponse) -> Option<Duration> {
    http::parse_retry_after(answer.headers().get_optional_str(&RETRY_AFTER)?)
}

/// The error code of an answer: the inner error's where there is one, since it is more precise.
fn parse_code(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(Deserialize)]
    struct Detail {
        code: Option<String>,
        innererror: Option<Box<Self>>,
    }
    let Ok(Body { error }) = serde_json::from_slice(body) else { return String::new() };
    http::loggable_code(error.innererror.and_then(|inner| inner.code).or(error.code).as_deref())
}
