//! What went wrong with a renewal, by who failed it.

use super::Failed;
use crate::domain::refresh::Failure;
use crate::providers;
use crate::store;
use crate::telemetry::metric;

/// Every failure that is not final counts towards the share of failures; some concern an operator at once.
pub(super) fn count(failure: Failure) {
    metric("TokenRefreshesFailed", 1);
    match failure {
        Failure::ClientRefused | Failure::NotConfigured => metric("GoogleClientRefused", 1),
        Failure::SecretMissing | Failure::VaultUnknown => metric("SecretsMissing", 1),
        Failure::GrantEnded
        | Failure::NoRefreshToken
        | Failure::Unreachable
        | Failure::RateLimited
        | Failure::ProviderDown
        | Failure::Unreadable
        | Failure::VaultThrottled
        | Failure::VaultDown
        | Failure::TableDown => {}
    }
}

pub(super) fn of_google(error: &providers::Error) -> Failed {
    use providers::Error;
    match error {
        Error::Unreachable { .. } => Failed { failure: Failure::Unreachable, retry_after: None },
        Error::RateLimited { retry_after } => Failed { failure: Failure::RateLimited, retry_after: *retry_after },
        Error::Failed { .. } => Failed { failure: Failure::ProviderDown, retry_after: None },
        Error::Unauthorized | Error::NotFound | Error::Refused { .. } | Error::Malformed { .. } => {
            Failed { failure: Failure::Unreadable, retry_after: None }
        }
    }
}

/// The vault's 404 is read where it means something; everywhere else it is no word about the secret.
pub(super) fn of_vault(error: &providers::Error) -> Failed {
    use providers::Error;
    tracing::error!(error = %error, "the vault failed");
    metric("VaultUnavailable", 1);
    match error {
        Error::RateLimited { retry_after } => Failed { failure: Failure::VaultThrottled, retry_after: *retry_after },
        Error::Unreachable { .. }
        | Error::Failed { .. }
        | Error::Unauthorized
        | Error::NotFound
        | Error::Refused { .. }
        | Error::Malformed { .. } => Failed { failure: Failure::VaultDown, retry_after: None },
    }
}

/// Nothing could be written about it, so the lease runs out and the connection stays due.
pub(super) fn of_table(error: store::Error) -> Failed {
    tracing::error!(error = %error, "the table failed a refresh");
    Failed { failure: Failure::TableDown, retry_after: None }
}
