//! Maps the errors of Google, the vault and the table to failures of a refresh.

use super::RefreshError;
use crate::domain::refresh_failure::Failure;
use crate::providers;
use crate::store;
use crate::telemetry::metric;

/// Counts a failure that is retried. All count towards the share of failures; some raise an alarm of their own.
pub(super) fn count_failure(failure: Failure) {
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

pub(super) fn map_google_error(error: &providers::Error) -> RefreshError {
    use providers::Error;
    match error {
        Error::Unreachable { .. } => RefreshError { failure: Failure::Unreachable, retry_after: None },
        Error::RateLimited { retry_after } => RefreshError { failure: Failure::RateLimited, retry_after: *retry_after },
        Error::Failed { .. } => RefreshError { failure: Failure::ProviderDown, retry_after: None },
        Error::Unauthorized | Error::NotFound | Error::Refused { .. } | Error::Malformed { .. } => {
            RefreshError { failure: Failure::Unreadable, retry_after: None }
        }
    }
}

/// A 404 of the vault is handled where the secret may be missing; anywhere else it is a failure like the others.
pub(super) fn map_vault_error(error: &providers::Error) -> RefreshError {
    use providers::Error;
    tracing::error!(
        code = "vault_unavailable", error = %error, "Key vault call failed; the refresh is retried after a back-off"
    );
    metric("VaultUnavailable", 1);
    match error {
        Error::RateLimited { retry_after } => {
            RefreshError { failure: Failure::VaultThrottled, retry_after: *retry_after }
        }
        Error::Unreachable { .. }
        | Error::Failed { .. }
        | Error::Unauthorized
        | Error::NotFound
        | Error::Refused { .. }
        | Error::Malformed { .. } => RefreshError { failure: Failure::VaultDown, retry_after: None },
    }
}

/// The row cannot record this failure: the lease ends by itself and the integration stays due.
pub(super) fn map_table_error(error: store::Error) -> RefreshError {
    tracing::error!(
        code = "table_unavailable", error = %error, "Table call failed during a refresh; the integration stays due"
    );
    RefreshError { failure: Failure::TableDown, retry_after: None }
}
