//! Azure, through Microsoft's own SDK over our shared transport; the resource manager, which has none, by REST.
//!
//! Every client here takes the process's one HTTPS client and retries nothing: left to itself the SDK builds clients of
//! its own, which costs milliseconds of a cold start, and retries for a minute, which no person waits for.

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

use super::Error;

fn client_options(http: &reqwest::Client) -> ClientOptions {
    ClientOptions {
        transport: Some(Transport::new(Arc::new(http.clone()))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

/// The SDK's error as our caller's next move. The SDK's own text is dropped: it quotes bodies.
fn error(error: &azure_core::Error) -> Error {
    match error.kind() {
        ErrorKind::HttpResponse { status, raw_response, .. } => refusal(u16::from(*status), raw_response.as_deref()),
        // The token could not be had: what stopped it lies within.
        ErrorKind::Credential => {
            let within = error.downcast_ref::<azure_core::Error>().map(self::error);
            match within.or_else(|| error.downcast_ref::<Error>().cloned()) {
                // Another identity's refusal says nothing of the secret we asked for.
                Some(Error::NotFound | Error::Unauthorized) => {
                    Error::Refused { status: 401, reason: "sign-in refused".to_owned() }
                }
                Some(within) => within,
                None => Error::Malformed { reason: "no token from the sign-in".to_owned() },
            }
        }
        ErrorKind::Connection => Error::Unreachable { timed_out: false, reason: "no connection".to_owned() },
        ErrorKind::Io => {
            let timed_out = error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout);
            Error::Unreachable { timed_out, reason: "connection lost".to_owned() }
        }
        ErrorKind::DataConversion => Error::Malformed { reason: "not of the documented form".to_owned() },
        _ => Error::Malformed { reason: "the SDK gave up".to_owned() },
    }
}

fn refusal(status: u16, answer: Option<&RawResponse>) -> Error {
    match status {
        429 => Error::RateLimited { retry_after: answer.and_then(retry_after) },
        500.. => Error::Failed { status },
        401 => Error::Unauthorized,
        _ => {
            let reason = answer.map(|answer| code(answer.body())).unwrap_or_default();
            // Any other 404 comes from something that is no vault: it says nothing of the secret.
            if status == 404 && reason == "SecretNotFound" {
                Error::NotFound
            } else {
                Error::Refused { status, reason }
            }
        }
    }
}

/// Key Vault gives whole seconds. <https://learn.microsoft.com/azure/key-vault/general/overview-throttling>
fn retry_after(answer: &RawResponse) -> Option<Duration> {
    answer.headers().get_optional_str(&RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}

/// The most precise error code of an answer.
fn code(body: &[u8]) -> String {
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
    error.innererror.and_then(|inner| inner.code).or(error.code).unwrap_or_default()
}
