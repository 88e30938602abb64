//! The credential broker: takes an integration's row and returns a valid access token, or the reason why there is none.
//!
//! A token that is valid long enough is handed out without a call to Google. Any other is refreshed under the
//! integration's lease ([`refresh`](super::refresh)); a caller that finds the lease taken waits and reads the outcome.

mod cache;

use std::time::Duration;

use secrecy::SecretString;

use super::lease;
use super::refresh::{RefreshError, RefreshOutcome, Refresher, Trigger, is_same_token};
use super::stored_token::StoredFields;
use crate::clock::{Clock, Timestamp, Waiter};
use crate::config::{ConfigError, Env};
use crate::domain::integration::{Integration, Status};
use crate::domain::refresh;
use crate::domain::refresh_failure::Failure;
use crate::store::{self, Store};
use cache::Cache;

/// Why there is no access token. Each variant has its own answer to the runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The service was never connected.
    #[error("never connected")]
    NotConnected,
    /// The integration ended, and only its person can connect it again.
    #[error("integration ended")]
    Inactive {
        /// How the integration ended; never [`Status::Active`].
        status: Status,
    },
    /// The person connected without granting what reading needs.
    #[error("connected without the scope to read")]
    ScopeInsufficient,
    /// Our client at Google is not configured or is refused: an operator has to act.
    #[error("our Google client is not configured")]
    NotConfigured,
    /// Google's token endpoint failed for now, or another worker has not finished its refresh.
    #[error("the token could not be refreshed for now")]
    RefreshFailed {
        /// How long Google asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// The table or the vault is unavailable for now.
    #[error("the table or the vault is unavailable")]
    StoreUnavailable {
        /// How long the vault asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
}

/// Hands out access tokens; never a refresh token.
pub struct Broker {
    store: Store,
    refresher: Refresher,
    clock: Clock,
    waiter: Waiter,
    cache: Cache,
}

impl Broker {
    /// Builds a broker with the vaults and the Google client of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting is missing or cannot be used; a missing Google client is a [`Denial`] instead.
    pub fn from_env(env: &Env, http: &reqwest::Client, store: Store, clock: Clock) -> Result<Self, ConfigError> {
        let refresher = Refresher::from_env(env, http, store.clone(), clock.clone())?;
        Ok(Self { store, refresher, clock, waiter: Waiter::default(), cache: Cache::default() })
    }

    /// Replaces how the broker waits for other workers; a test moves its clock instead.
    #[must_use]
    pub fn with_waiter(mut self, waiter: Waiter) -> Self {
        self.waiter = waiter;
        self
    }

    /// An access token that is valid for at least two more minutes.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn access_token(&self, row: Option<&Integration>) -> Result<SecretString, Denial> {
        self.find_token(row, None).await
    }

    /// Another access token in place of `rejected`, which Google answered with 401.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn replace_token(
        &self,
        row: Option<&Integration>,
        rejected: &SecretString,
    ) -> Result<SecretString, Denial> {
        if let Some(row) = row {
            self.cache.remove(row.tenant_id, row.provider);
        }
        self.find_token(row, Some(rejected)).await
    }

    async fn find_token(
        &self,
        row: Option<&Integration>,
        rejected: Option<&SecretString>,
    ) -> Result<SecretString, Denial> {
        let mut row = self.ensure_usable(row)?;
        let mut known: Option<(String, StoredFields)> = None;
        for _ in 0..lease::MAX_POLLS {
            let now = self.clock.now();
            if let Some(token) = self.cache.get(&row, now) {
                self.record_use(&row, now).await;
                return Ok(token);
            }
            let stored = match known.take().filter(|(version, _)| *version == row.secret_version) {
                Some((_, stored)) => stored,
                None => self.refresher.read_stored(&row).await?,
            };
            if let Some((token, expires_at)) = stored
                .usable_token(now)
                .filter(|(token, _)| !rejected.is_some_and(|rejected| is_same_token(rejected, token)))
            {
                self.cache.put(&row, token.clone(), expires_at, now);
                self.record_use(&row, now).await;
                return Ok(token.clone());
            }
            if row.is_leased(now) {
                self.waiter.wait(lease::POLL_INTERVAL).await;
            } else if let RefreshOutcome::Token { row, token, expires_at } =
                Box::pin(self.refresher.refresh(&row, Some(&stored), Trigger::Runtime)).await?
            {
                self.cache.put(&row, token.clone(), expires_at, self.clock.now());
                return Ok(token);
            }
            known = Some((row.secret_version.clone(), stored));
            row = self.ensure_usable(self.store.load_integration(row.tenant_id, row.provider).await?.as_ref())?;
        }
        Err(Denial::RefreshFailed { retry_after: None })
    }

    /// The row, if its integration is in a state in which a token may exist.
    fn ensure_usable(&self, row: Option<&Integration>) -> Result<Integration, Denial> {
        let row = row.ok_or(Denial::NotConnected)?;
        match row.status {
            Status::Expired | Status::Revoked => Err(Denial::Inactive { status: row.status }),
            Status::Active if !row.provider.is_readable_with(&row.granted) => Err(Denial::ScopeInsufficient),
            Status::Active if !self.refresher.is_configured() => Err(Denial::NotConfigured),
            Status::Active => Ok(row.clone()),
        }
    }

    /// Records every few hours that the integration is in use, so that its token is refreshed ahead of time. A lost
    /// record costs one refresh while a runtime waits, so a failure to save it does not fail the call.
    async fn record_use(&self, row: &Integration, now: Timestamp) {
        if row.is_leased(now) || !refresh::needs_use_record(row, now) {
            return;
        }
        if let Err(error) = self.store.save_integration(&refresh::with_use(row, now), Some(row.version)).await {
            tracing::info!(
                tenant_id = %row.tenant_id, provider = %row.provider, error = %error,
                "Use of an integration was not recorded; the next call records it"
            );
        }
    }
}

impl From<store::Error> for Denial {
    fn from(error: store::Error) -> Self {
        tracing::error!(
            code = "table_unavailable", error = %error,
            "Table call failed; the runtime gets no access token and is told to retry"
        );
        Self::StoreUnavailable { retry_after: None }
    }
}

impl From<RefreshError> for Denial {
    fn from(RefreshError { failure, retry_after }: RefreshError) -> Self {
        match failure {
            // An integration without its secret has to be connected again, whatever lost the secret.
            Failure::GrantEnded | Failure::NoRefreshToken | Failure::SecretMissing => {
                Self::Inactive { status: Status::Expired }
            }
            Failure::ClientRefused | Failure::NotConfigured => Self::NotConfigured,
            Failure::Unreachable | Failure::RateLimited | Failure::ProviderDown | Failure::Unreadable => {
                Self::RefreshFailed { retry_after }
            }
            Failure::VaultUnknown | Failure::VaultThrottled | Failure::VaultDown | Failure::TableDown => {
                Self::StoreUnavailable { retry_after }
            }
        }
    }
}
