//! Why a refresh of an integration's token can fail, and what each failure means.

use serde::{Deserialize, Serialize};

/// Why a refresh got no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Google answers `invalid_grant`, or that we may not enter the account any more, also for the latest version in
    /// the vault.
    GrantEnded,
    /// The latest version in the vault holds no refresh token.
    NoRefreshToken,
    /// Google answers `invalid_client`, `unauthorized_client` or another error about our client.
    ClientRefused,
    /// Our client at Google is not configured.
    NotConfigured,
    /// The vault has no such secret; a wrong vault address gives the same answer.
    SecretMissing,
    /// The row names a vault that is not in the settings.
    VaultUnknown,
    /// Google did not answer.
    Unreachable,
    /// Google throttles us (429).
    RateLimited,
    /// Google answers with a 5xx status.
    ProviderDown,
    /// Google's answer cannot be parsed.
    Unreadable,
    /// The vault throttles us.
    VaultThrottled,
    /// The vault does not serve, or refuses our credentials.
    VaultDown,
    /// The table is unavailable.
    TableDown,
}

/// What a failure means for the integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A permanent error: the integration is expired, and only its person can connect it again.
    Final,
    /// Our own settings are wrong: an operator has to act, and the integration stays active.
    Configuration,
    /// A temporary error: the refresh is retried.
    Transient,
}

impl Failure {
    /// Every failure, in the order of the table in [`super::refresh`].
    pub const ALL: [Self; 13] = [
        Self::GrantEnded,
        Self::NoRefreshToken,
        Self::ClientRefused,
        Self::NotConfigured,
        Self::SecretMissing,
        Self::VaultUnknown,
        Self::Unreachable,
        Self::RateLimited,
        Self::ProviderDown,
        Self::Unreadable,
        Self::VaultThrottled,
        Self::VaultDown,
        Self::TableDown,
    ];

    /// The class that decides what happens to the integration.
    pub const fn class(self) -> Class {
        match self {
            Self::GrantEnded | Self::NoRefreshToken => Class::Final,
            Self::ClientRefused | Self::NotConfigured | Self::SecretMissing | Self::VaultUnknown => {
                Class::Configuration
            }
            Self::Unreachable
            | Self::RateLimited
            | Self::ProviderDown
            | Self::Unreadable
            | Self::VaultThrottled
            | Self::VaultDown
            | Self::TableDown => Class::Transient,
        }
    }

    /// The stable name in rows, logs and an operator's listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantEnded => "grant_ended",
            Self::NoRefreshToken => "no_refresh_token",
            Self::ClientRefused => "client_refused",
            Self::NotConfigured => "not_configured",
            Self::SecretMissing => "secret_missing",
            Self::VaultUnknown => "vault_unknown",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::ProviderDown => "provider_down",
            Self::Unreadable => "unreadable",
            Self::VaultThrottled => "vault_throttled",
            Self::VaultDown => "vault_down",
            Self::TableDown => "table_down",
        }
    }
}
